//! Downloads that the store has kept from earlier: read again before they are believed.

use std::path::{Path, PathBuf};

use super::DebianError;
use crate::model::Sha256;
use crate::net::Download;
use crate::rootfs::Tools;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::interrupt::Interrupt;

/// The blob of a download that is sure to be what its digest says. One that a disk has spoilt is
/// set aside and fetched again.
pub(super) fn sound(
    blob: &Path,
    download: &Download,
    tools: &Tools<'_>,
    stop: &Interrupt,
) -> Result<PathBuf, DebianError> {
    let mut file = sysfs::open(blob)?;
    let (digest, _) = Sha256::of_reader(&mut file).map_err(FsError::new("read", blob))?;
    if digest == download.digest {
        return Ok(blob.to_owned());
    }
    let aside = tools.store.set_aside(blob)?;
    let what = &download.what;
    let aside = aside.display();
    tools.observer.warn(format!(
        "{what} was spoilt in the store: it is at {aside}, and fetched again"
    ));
    Ok(tools.client.fetch(download, tools.store, stop, &|_| {})?)
}
