//! Whether the three objects of an artifact agree, and in what they do not. Pure.

use super::content::Head;
use super::layout::{Keys, Layout, Named, keys, profile_keys, read_key};
use crate::artifact::checksum::{ChecksumError, parse_sha256_line};
use crate::artifact::record::{Record, RecordError};
use crate::model::{Kind, Sha256, StackName};

/// Why what is there is no whole artifact. Texts may hold what the target says: not for a terminal
/// as they are.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// Some of the three are not there.
    #[error("{} missing", missing(*tarball, *sha256, *record))]
    Missing {
        /// Whether it is the tarball.
        tarball: bool,
        /// Whether it is the `.sha256`.
        sha256: bool,
        /// Whether it is the record.
        record: bool,
    },
    /// The tarball's key, or that of what belongs to it, can be none below a target.
    #[error("its key cannot be one: {0}")]
    Key(String),
    /// A sidecar is larger than any.
    #[error("what lies beside it has more than {limit} bytes")]
    TooLong {
        /// What it may have.
        limit: u64,
    },
    /// The record is none.
    #[error("its record is not one: {0}")]
    Record(#[from] RecordError),
    /// The `.sha256` is none.
    #[error("its .sha256 is not one: {0}")]
    Checksum(#[from] ChecksumError),
    /// The sidecars do not say the same.
    #[error("its .sha256 says {checksum}, its record {record}")]
    Sidecars {
        /// The `.sha256`'s digest.
        checksum: Sha256,
        /// The record's.
        record: Sha256,
    },
    /// A sidecar is of another file.
    #[error("its {which} is of `{file}`")]
    File {
        /// Which sidecar.
        which: &'static str,
        /// Of what.
        file: String,
    },
    /// The tarball has another size.
    #[error("it has {is} bytes, its record says {said}")]
    Size {
        /// What it has.
        is: u64,
        /// What it should have.
        said: u64,
    },
    /// The store knows another digest of it.
    #[error("the store says that its SHA-256 is {is}, its record says {said}")]
    Digest {
        /// The store's.
        is: Sha256,
        /// The record's.
        said: Sha256,
    },
    /// It lies where something else belongs.
    #[error("its record is of what belongs at `{should}`")]
    Place {
        /// Where it belongs.
        should: String,
    },
    /// It lies among another stack's.
    #[error("its record is of the stack {0}")]
    Stack(StackName),
    /// It says more of itself than is believed.
    #[error("what its record says of it would take {size} bytes of the index")]
    Entry {
        /// What it would take.
        size: usize,
    },
}

fn missing(tarball: bool, sha256: bool, record: bool) -> String {
    let parts = [
        (tarball, "its tarball"),
        (sha256, "its .sha256"),
        (record, "its record"),
    ];
    let parts: Vec<&str> = parts
        .into_iter()
        .filter_map(|(missing, what)| missing.then_some(what))
        .collect();
    let verb = if parts.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", parts.join(" and "))
}

/// The record of an artifact whose three objects agree. The tarball is known by what the target
/// says of it.
pub(super) fn agreed(
    keys: &Keys,
    record: &[u8],
    checksum: &[u8],
    tarball: &Head,
) -> Result<Record, Flaw> {
    let record = Record::parse(&String::from_utf8_lossy(record))?;
    let (digest, file) = parse_sha256_line(&String::from_utf8_lossy(checksum))?;
    let said = &record.artifact;
    if digest != said.sha256 {
        return Err(Flaw::Sidecars {
            checksum: digest,
            record: said.sha256,
        });
    }
    for (which, file) in [(".sha256", &file), ("record", &said.file)] {
        if file != keys.file_name() {
            let file = file.clone();
            return Err(Flaw::File { which, file });
        }
    }
    if tarball.size != said.size {
        let (is, said) = (tarball.size, said.size);
        return Err(Flaw::Size { is, said });
    }
    match tarball.sha256 {
        Some(is) if is != said.sha256 => Err(Flaw::Digest {
            is,
            said: said.sha256,
        }),
        _ => Ok(record),
    }
}

/// What is wrong with the place of a tarball, by its record, if anything. One under a name of its
/// own may lie anywhere below its stack; what a training gave lies under that training's id.
pub fn misplaced(tarball: &str, record: &Record) -> Option<Flaw> {
    let product = &record.product;
    let top = tarball.split_once('/').map(|(first, _)| first);
    if product.kind == Kind::Profile {
        let (stack, arch, id) = (&product.stack, product.arch, product.build_id);
        let place = |layout| profile_keys(layout, stack, &record.reference(), arch, id).tarball;
        let (tree, flat) = (place(Layout::Tree), place(Layout::Flat));
        let is_flat = top == Some(Kind::Profile.directory());
        let should = if is_flat { flat } else { tree };
        return (should != tarball).then_some(Flaw::Place { should });
    }
    let Some(Named { layout, codec, .. }) = read_key(tarball) else {
        return top
            .is_some_and(|directory| directory != product.stack.as_str())
            .then(|| Flaw::Stack(product.stack.clone()));
    };
    let reference = record.reference();
    let (stack, kind, arch) = (&product.stack, product.kind, product.arch);
    let should = keys(layout, stack, kind, &reference, arch, codec, None).tarball;
    (should != tarball).then_some(Flaw::Place { should })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let said = |tarball, sha256, record| {
            let flaw = Flaw::Missing {
                tarball,
                sha256,
                record,
            };
            flaw.to_string()
        };
        assert_eq!(said(false, true, false), "its .sha256 is missing");
        assert_eq!(
            said(true, false, true),
            "its tarball and its record are missing"
        );
    }
}
