//! How what there is differs from what was locked.

use super::super::{Moved, Package, moved};
use crate::model::{Arch, Sha256};

/// How many packages an error names.
const NAMED: usize = 10;

/// Why a stack cannot be what it was when it was locked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Drift {
    /// It was never locked for this architecture.
    #[error("it was not locked for {arch}")]
    Architecture {
        /// For which it is wanted.
        arch: Arch,
    },
    /// The manifest does not name what was locked any more.
    #[error("its manifest has changed since it was locked, when it was made from {from}")]
    Manifest {
        /// What it was made from.
        from: String,
    },
    /// There is another image, tarball or directory.
    #[error("{place} is not what it was: its layers have the chain id {found}, locked is {locked}")]
    Base {
        /// Where it is.
        place: String,
        /// The chain id of its layers.
        found: Sha256,
        /// The chain id that was locked.
        locked: Sha256,
    },
    /// Other packages can be had.
    #[error("of its packages {}", told(.0))]
    Packages(Vec<Moved>),
    /// apt's sources do not have these versions any more: `name=version`.
    #[error("apt's sources have no more of its packages {}", .0.join(", "))]
    Gone(Vec<String>),
    /// What was made is not what was locked.
    #[error("its {image} image became {found}, locked is {locked}")]
    Image {
        /// Which.
        image: &'static str,
        /// Its digest.
        found: Sha256,
        /// The digest that was locked.
        locked: Sha256,
    },
}

impl Drift {
    /// How packages differ from those that were locked, if they do.
    pub(crate) fn of_packages(locked: &[Package], found: &[Package]) -> Option<Self> {
        Some(moved(locked, found))
            .filter(|moved| !moved.is_empty())
            .map(Self::Packages)
    }
}

fn told(moved: &[Moved]) -> String {
    let mut named: Vec<String> = moved.iter().take(NAMED).map(ToString::to_string).collect();
    let more = moved.len().saturating_sub(NAMED);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_packages_are_told_in_short() {
        let list = |version: &str| -> Vec<Package> {
            let each = (10..23).map(|n| Package {
                name: format!("p{n}"),
                version: version.to_owned(),
                arch: "all".to_owned(),
            });
            each.collect()
        };
        assert_eq!(Drift::of_packages(&list("1"), &list("1")), None);
        let one = Drift::of_packages(&list("1")[..1], &list("2")[..1]).expect("it moved");
        assert_eq!(one.to_string(), "of its packages p10 1 → 2");
        let all = Drift::of_packages(&list("1"), &list("2")).expect("they moved");
        let text = all.to_string();
        assert!(text.ends_with("p19 1 → 2, and 3 more"), "{text}");
    }
}
