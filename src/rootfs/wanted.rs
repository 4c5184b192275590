//! Which state of a stack is wanted: the one that is on this host, today's, or a locked one.

use super::lock::{Locked, LockedImage, MadeOf};
use super::{Package, Rootfs, record};
use crate::model::{Arch, Sha256, StackName};
use crate::store::{Store, StoreError};

/// Which state of a stack is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// The one that is on this host; if there is none, today's.
    Here,
    /// As it would be made today, whatever is on this host.
    Today,
    /// As it was when it was locked, or none.
    Locked(&'a Locked),
}

/// Which versions of packages apt is to install.
#[derive(Debug, Clone, Copy)]
pub(super) enum Versions<'a> {
    /// Those that were installed when this was asked for on this host; else the newest.
    Any,
    /// The newest.
    Newest,
    /// All that will be installed then.
    Exactly(&'a [Package]),
}

impl<'a> Wanted<'a> {
    /// Whether a stack that is on this host is what is wanted.
    pub(super) fn is(self, rootfs: &Rootfs) -> bool {
        match self {
            Self::Here => true,
            Self::Today => false,
            Self::Locked(locked) => locked.is(rootfs),
        }
    }

    /// What the store is to file a stack under that it would file under `key`: a locked state that is
    /// not the first of the stack on this host leaves the other in its place.
    pub(super) fn filed(
        self,
        key: Sha256,
        stack: &StackName,
        arch: Arch,
        store: &Store,
    ) -> Result<Sha256, StoreError> {
        Ok(match self {
            Self::Locked(locked) if record::rootfs(&key, store)?.is_some() => {
                locked.key(stack, arch)
            }
            Self::Locked(_) | Self::Here | Self::Today => key,
        })
    }

    /// What the run image and the build image must be made of, if that is locked.
    pub(super) fn images(self) -> Option<[&'a LockedImage; 2]> {
        match self {
            Self::Locked(Locked {
                made_of: MadeOf::Images { run, build },
                ..
            }) => Some([run, build]),
            Self::Locked(_) | Self::Here | Self::Today => None,
        }
    }

    /// The versions of an image's packages.
    pub(super) fn versions(self, image: Option<&'a LockedImage>) -> Versions<'a> {
        match (self, image) {
            (Self::Locked(_), Some(image)) => Versions::Exactly(&image.packages),
            (Self::Today, _) => Versions::Newest,
            (Self::Locked(_) | Self::Here, _) => Versions::Any,
        }
    }
}
