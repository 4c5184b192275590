//! Images' documents as a fuzzer writes them: texts that name each other by placeholders, so that
//! changing one does not break every digest.

use std::path::Path;
use std::{fs, io};

use pybuild::model::Sha256;

/// What lies between two documents.
const BETWEEN: &str = "\n---\n";

/// Documents, the first of which is `index.json`; every one after it is a blob.
pub struct Layout {
    pub index: Vec<u8>,
    /// By digest, in hexadecimal.
    pub blobs: Vec<(String, Vec<u8>)>,
}

impl Layout {
    /// Reads the documents. In each, `@N` is the digest of the N-th, counted from 0, and `#N` its
    /// length; both only of later ones, since a digest covers the digests in it.
    pub fn parse(text: &str) -> Self {
        let mut done: Vec<Option<(String, Vec<u8>)>> = Vec::new();
        let texts: Vec<&str> = text.split(BETWEEN).take(10).collect();
        done.resize(texts.len(), None);
        for (at, text) in texts.iter().enumerate().rev() {
            let mut text = (*text).to_owned();
            for (n, later) in done.iter().enumerate() {
                if let Some((digest, bytes)) = later {
                    text = text.replace(&format!("@{n}"), &format!("sha256:{digest}"));
                    text = text.replace(&format!("#{n}"), &bytes.len().to_string());
                }
            }
            let bytes = text.into_bytes();
            done[at] = Some((Sha256::of(&bytes).to_string(), bytes));
        }
        let mut done = done.into_iter().flatten();
        let index = done.next().map(|(_, bytes)| bytes).unwrap_or_default();
        Self {
            index,
            blobs: done.collect(),
        }
    }

    fn files(&self) -> impl Iterator<Item = (String, &[u8])> {
        let version = &br#"{"imageLayoutVersion": "1.0.0"}"#[..];
        let first = [
            ("oci-layout".to_owned(), version),
            ("index.json".to_owned(), &self.index[..]),
        ];
        let blobs = self.blobs.iter();
        let blobs = blobs.map(|(digest, bytes)| (format!("blobs/sha256/{digest}"), &bytes[..]));
        first.into_iter().chain(blobs)
    }

    /// Writes it as a directory.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        for (name, bytes) in self.files() {
            fs::write(dir.join(name), bytes)?;
        }
        Ok(())
    }

    /// The same as an archive.
    pub fn tar(&self) -> Vec<u8> {
        tar(self.files())
    }

    /// What `docker save` writes in its old form: the first document is `manifest.json`, and the
    /// others have their numbers as names.
    pub fn docker(&self) -> Vec<u8> {
        let first = ("manifest.json".to_owned(), &self.index[..]);
        let others = self.blobs.iter().enumerate();
        let others = others.map(|(n, (_, bytes))| ((n + 1).to_string(), &bytes[..]));
        tar(std::iter::once(first).chain(others))
    }
}

fn tar<'a>(files: impl Iterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (name, bytes) in files {
        // Two documents that are the same are one blob.
        if names.contains(&name) {
            continue;
        }
        let mut member = vec![crate::archive::member(name.as_bytes(), b'0', b"", bytes)];
        crate::archive::seal(&mut member);
        archive.extend(member.concat());
        names.push(name);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
