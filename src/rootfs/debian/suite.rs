//! What a mirror offers for a manifest: its suites' signed release files, and the indexes that
//! those name by digest.

use std::io::Read as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::openpgp::Keyring;
use super::release::Release;
use super::{DebianError, blob};
use crate::archive;
use crate::model::{Amount, Arch, Sha256};
use crate::net::Download;
use crate::rootfs::Tools;
use crate::rootfs::origin::Debian;
use crate::sys::fs as sysfs;

/// Debian's own `InRelease` files take 150 kB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// Debian's own indexes take 50 MB.
const INDEX_LIMIT: u64 = 1 << 30;

/// A suite's release file, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Released {
    /// The suite that was asked for.
    pub suite: String,
    /// When it was made (RFC 3339).
    pub date: String,
    /// The digest of its signed text, `InRelease`.
    pub sha256: Sha256,
}

/// What a mirror offers.
pub(super) struct Offer {
    /// Of each suite its release file.
    pub(super) releases: Vec<Released>,
    /// The texts of all indexes: of each suite those of all components, in the manifest's order.
    pub(super) texts: Vec<String>,
}

/// What the mirror offers today.
pub(super) fn offer(
    debian: &Debian,
    arch: Arch,
    mirror: &str,
    tools: &Tools<'_>,
) -> Result<Offer, DebianError> {
    let keyring = Keyring::parse(&debian.keys).map_err(|source| DebianError::Keyring {
        name: debian.keyring.clone(),
        source,
    })?;
    let title = format!("reading the index of {}", debian.suites.join(", "));
    let phase = tools.observer.phase(title, Amount::Unknown);
    let (mut releases, mut texts) = (Vec::new(), Vec::new());
    for suite in &debian.suites {
        let (release, sha256) = release(suite, &keyring, mirror, tools)?;
        releases.push(Released {
            suite: suite.clone(),
            date: release.date.to_string(),
            sha256,
        });
        for component in &debian.components {
            let path = format!("{component}/binary-{arch}/Packages.xz");
            let download = download(&release, suite, &path, mirror)?;
            let blob = tools
                .client
                .fetch(&download, tools.store, tools.interrupt, &|_| {})?;
            let blob = blob::sound(&blob, &download, tools, tools.interrupt)?;
            let mut text = String::new();
            archive::decoder(sysfs::open(&blob)?)
                .map_err(|source| DebianError::Decode {
                    what: download.what.clone(),
                    source,
                })?
                .take(INDEX_LIMIT)
                .read_to_string(&mut text)
                .map_err(|source| DebianError::Read {
                    what: download.what,
                    source,
                })?;
            texts.push(text);
        }
    }
    phase.done();
    Ok(Offer { releases, texts })
}

fn release(
    suite: &str,
    keyring: &Keyring,
    mirror: &str,
    tools: &Tools<'_>,
) -> Result<(Release, Sha256), DebianError> {
    let url = format!("{mirror}/dists/{suite}/InRelease");
    let bytes = tools.client.get(&url, RELEASE_LIMIT, tools.interrupt)?;
    let now = Timestamp::now();
    let signed = keyring
        .verify(&String::from_utf8_lossy(&bytes), now)
        .map_err(|source| DebianError::Signature {
            url: url.clone(),
            source,
        })?;
    let wrong = |source| DebianError::Release {
        suite: suite.to_owned(),
        url: url.clone(),
        source,
    };
    let release = Release::parse(&signed.text).map_err(wrong)?;
    release.check(suite, now).map_err(wrong)?;
    Ok((release, Sha256::of(&bytes)))
}

/// How to get a file of a suite. By its digest first: while a mirror is being updated, the file
/// of that name may already be a newer one.
fn download(
    release: &Release,
    suite: &str,
    path: &str,
    mirror: &str,
) -> Result<Download, DebianError> {
    let (digest, size) = release.file(path).map_err(|source| DebianError::Release {
        suite: suite.to_owned(),
        url: format!("{mirror}/dists/{suite}/InRelease"),
        source,
    })?;
    let dir = format!("{mirror}/dists/{suite}");
    let mut urls = Vec::new();
    if let Some((folder, _)) = path.rsplit_once('/').filter(|_| release.by_hash) {
        urls.push(format!("{dir}/{folder}/by-hash/SHA256/{digest}"));
    }
    urls.push(format!("{dir}/{path}"));
    Ok(Download {
        what: format!("the index {suite}/{path}"),
        urls,
        digest,
        size: Some(size),
    })
}
