//! What `pybuild stack remove` ends with: what went, and how much room that made.

use std::collections::BTreeSet;
use std::fmt::Write as _; // into a String, which takes everything

use serde::Serialize;

use crate::model::{Bytes, Sha256, StackName};

/// The result of one run. As JSON its keys are stable: they are added to, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Whether nothing was to be removed.
    pub dry_run: bool,
    /// The stacks, one for each place that one of them was made from.
    pub stacks: Vec<StackName>,
    /// The layers.
    pub layers: Vec<Sha256>,
    /// The downloads.
    pub blobs: Vec<Sha256>,
    /// Bytes of the disk.
    pub bytes: u64,
    /// Layers that nothing refers to and somebody still uses.
    pub used: Vec<Sha256>,
}

impl Removed {
    /// For people.
    pub fn render(&self) -> String {
        let Self {
            dry_run,
            stacks,
            layers,
            blobs,
            bytes,
            used,
        } = self;
        let names: BTreeSet<&str> = stacks.iter().map(StackName::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let what = match names[..] {
            [] => "what removed stacks had left".to_owned(),
            _ => names.join(", "),
        };
        let verb = if *dry_run { "would remove" } else { "removed" };
        let (layers, blobs) = (layers.len(), blobs.len());
        let many = |count| if count == 1 { "" } else { "s" };
        let mut line = format!(
            "{verb} {what}: {layers} layer{}, {blobs} download{}, {}\n",
            many(layers),
            many(blobs),
            Bytes(*bytes)
        );
        if !used.is_empty() {
            let _ = writeln!(
                line,
                "{} layer{} still in use by another pybuild: the next `stack remove` takes what is \
                 left",
                used.len(),
                if used.len() == 1 { " is" } else { "s are" }
            );
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_told_in_a_line() {
        let name = |name: &str| name.parse().expect("a name");
        let key = Sha256::of(b"x");
        let mut removed = Removed {
            dry_run: true,
            stacks: vec![name("debian-12"), name("debian-12"), name("debian-11")],
            layers: vec![key, key],
            blobs: vec![key],
            bytes: 456_700_000,
            used: Vec::new(),
        };
        let line = "would remove debian-11, debian-12: 2 layers, 1 download, 456.7 MB\n";
        assert_eq!(removed.render(), line);
        removed.dry_run = false;
        removed.stacks.clear();
        removed.layers.truncate(1);
        removed.used.push(key);
        assert_eq!(
            removed.render(),
            "removed what removed stacks had left: 1 layer, 1 download, 456.7 MB\n1 layer is still \
             in use by another pybuild: the next `stack remove` takes what is left\n"
        );
    }
}
