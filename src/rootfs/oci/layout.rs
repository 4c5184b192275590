//! Images in directories: the OCI image layout (`image-layout.md`), 1.0.0.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::document::{Descriptor, Document, DocumentError, LIMIT, json};
use super::error::OciError;
use super::reference::Reference;
use super::walk::{Role, Root, Source, verify};
use super::{Resolved, Tools};
use crate::model::Sha256;
use crate::net::Download;
use crate::sys::fs::FsError;

/// A directory that is one.
pub(super) struct Layout<'a> {
    dir: &'a Path,
    shown: String,
}

impl<'a> Layout<'a> {
    pub(super) fn open(dir: &'a Path, shown: String) -> Result<Self, OciError> {
        let bytes = read(&dir.join("oci-layout"))?;
        check_version(&bytes).map_err(|source| OciError::Document {
            what: format!("the file oci-layout of {shown}"),
            source,
        })?;
        Ok(Self { dir, shown })
    }

    /// What the name gives.
    pub(super) fn root(&mut self, name: Option<&str>) -> Result<Root, OciError> {
        let bytes = read(&self.dir.join("index.json"))?;
        root(&bytes, name, self)
    }

    /// Copies the layers into the store.
    pub(super) fn fetch(
        &self,
        resolved: &Resolved,
        tools: &Tools<'_>,
        progress: &(dyn Fn(u64) + Sync),
        each: &(dyn Fn() + Sync),
    ) -> Result<(), OciError> {
        let mut downloads = Vec::new();
        for layer in resolved.unique() {
            let path = self.blob(layer.digest);
            let absolute = std::path::absolute(&path).map_err(FsError::new("getcwd", &path))?;
            let url = Url::from_file_path(&absolute).map_err(|()| OciError::Place {
                place: self.shown.clone(),
                why: "its name is no path".to_owned(),
            })?;
            downloads.push(Download {
                what: format!("the layer {} of {}", layer.digest.short(), self.shown),
                urls: vec![url.into()],
                digest: layer.digest,
                size: Some(layer.size),
            });
        }
        let done = |_: usize, _: &Path| each();
        tools
            .client
            .fetch_all(&downloads, tools.store, tools.interrupt, progress, &done)
            .map_err(OciError::of_net)
    }

    fn blob(&self, digest: Sha256) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.to_string())
    }
}

impl Source for Layout<'_> {
    fn what(&self) -> String {
        self.shown.clone()
    }

    fn read(&mut self, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError> {
        let bytes = read(&self.blob(descriptor.digest))?;
        let what = format!("{} of {}", role.what(), self.shown);
        verify(&bytes, descriptor.digest, &what)?;
        Ok(bytes)
    }
}

/// Fails unless the file `oci-layout` says what it should.
pub(super) fn check_version(bytes: &[u8]) -> Result<(), DocumentError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        image_layout_version: String,
    }
    let version: Version = json(bytes, "an OCI layout's version")?;
    if version.image_layout_version == "1.0.0" {
        return Ok(());
    }
    Err(DocumentError::Refused("its version is not 1.0.0"))
}

/// What a name gives in an `index.json`; without one there must be but one image.
pub(super) fn root(
    index: &[u8],
    name: Option<&str>,
    source: &mut dyn Source,
) -> Result<Root, OciError> {
    let place = source.what();
    let wrong = |what: &str, source| OciError::Document {
        what: format!("{what} of {place}"),
        source,
    };
    let entries = match Document::parse(index, None) {
        Ok(Document::Index(entries)) => entries,
        Ok(Document::Manifest(_)) => {
            let why = DocumentError::Refused("it is an image's manifest");
            return Err(wrong("the file index.json", why));
        }
        Err(error) => return Err(wrong("the file index.json", error)),
    };
    let mut fits: Vec<&Descriptor> = entries
        .iter()
        .filter(|entry| name.is_none_or(|name| is_named(entry, name)))
        .collect();
    // The same image may be there under several names.
    fits.sort_by_key(|entry| entry.digest);
    fits.dedup_by_key(|entry| entry.digest);
    let [chosen] = fits[..] else {
        return Err(OciError::Which {
            place,
            wanted: name.filter(|_| fits.is_empty()).map(str::to_owned),
            names: entries.into_iter().flat_map(|entry| entry.names).collect(),
        });
    };
    if chosen.size > LIMIT {
        let why = DocumentError::Refused("it is too large");
        return Err(wrong("the manifest", why));
    }
    let bytes = source.read(chosen, Role::Manifest)?;
    let document = Document::parse(&bytes, Some(&chosen.media_type))
        .map_err(|error| wrong("the manifest", error))?;
    Ok(Root {
        document,
        digest: chosen.digest,
    })
}

fn is_named(entry: &Descriptor, name: &str) -> bool {
    entry.names.iter().any(|found| same_name(found, name))
}

/// Whether two names mean one image: `debian:12` and `docker.io/library/debian:12`.
pub(super) fn same_name(found: &str, wanted: &str) -> bool {
    if found == wanted {
        return true;
    }
    // `12` alone is a tag and no image, whatever it could be read as.
    let full = |text: &str| text.contains([':', '/']);
    let parsed = |text: &str| text.parse::<Reference>().ok();
    full(found) && full(wanted) && parsed(found).is_some() && parsed(found) == parsed(wanted)
}

/// A document that lies here: a regular file of at most [`LIMIT`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, OciError> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    let read = (&mut file).take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(FsError::new("read", path))?;
    if bytes.len() as u64 > LIMIT {
        let why = io::Error::from(io::ErrorKind::FileTooLarge);
        return Err(FsError::new("read", path)(why).into());
    }
    Ok(bytes)
}

/// Opens what must be a regular file: a pipe would be waited for.
pub(super) fn open(path: &Path) -> Result<std::fs::File, OciError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(FsError::new("open", path))?;
    let found = file.metadata().map_err(FsError::new("stat", path))?;
    if found.is_file() {
        return Ok(file);
    }
    let why = io::Error::other("it is no regular file");
    Err(FsError::new("open", path)(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_docker_means_by_them() {
        let table = [
            ("12", "12", true),
            ("12", "debian:12", false),
            ("12", "docker.io/library/12:latest", false),
            ("docker.io/library/debian:12", "debian:12", true),
            ("debian:12", "docker.io/debian:12", true),
            ("debian:12", "debian:13", false),
            ("a b", "a b", true),
            ("a b:c", "a c:b", false),
        ];
        for (found, wanted, same) in table {
            assert_eq!(same_name(found, wanted), same, "{found} {wanted}");
        }
    }

    #[test]
    fn another_version_of_the_layout_is_refused() {
        assert_eq!(check_version(br#"{"imageLayoutVersion": "1.0.0"}"#), Ok(()));
        for other in ["", "{}", r#"{"imageLayoutVersion": "2.0.0"}"#] {
            assert!(check_version(other.as_bytes()).is_err(), "{other}");
        }
    }
}
