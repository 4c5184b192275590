//! How much a tree holds where: bytes of files, by directory.

use std::collections::BTreeMap;

use super::shown;

/// How many directories are told, the largest.
const MOST: usize = 256;
/// How many are counted: a hostile archive may have any number.
const COUNTED: usize = 100_000;

/// Bytes of the files below each directory at the top, and one below.
#[derive(Debug, Clone, Default)]
pub struct Sizes(BTreeMap<Vec<u8>, u64>);

impl Sizes {
    /// Counts a file. A hard link has no bytes of its own.
    pub fn add(&mut self, path: &[u8], bytes: u64) {
        for end in memchr::memchr_iter(b'/', path).take(2) {
            let directory = &path[..end];
            if let Some(size) = self.0.get_mut(directory) {
                *size = size.saturating_add(bytes);
            } else if self.0.len() < COUNTED {
                self.0.insert(directory.to_owned(), bytes);
            }
        }
    }

    /// The largest, by path; bytes that are no text are escaped.
    pub fn largest(&self) -> BTreeMap<String, u64> {
        let mut sizes: Vec<_> = self.0.iter().collect();
        sizes.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let sizes = sizes.into_iter().take(MOST);
        sizes.map(|(path, size)| (shown(path), *size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_for_two_directories_above_them() {
        let mut sizes = Sizes::default();
        for (path, bytes) in [
            ("top", 1),
            ("bin/a", 2),
            ("lib/a/b/c", 4),
            ("lib/a/x", 8),
            ("lib/x", 16),
            ("share/doc/empty", 0),
        ] {
            sizes.add(path.as_bytes(), bytes);
        }
        let told: Vec<_> = sizes.largest().into_iter().collect();
        let expected = [
            ("bin", 2),
            ("lib", 28),
            ("lib/a", 12),
            ("share", 0),
            ("share/doc", 0),
        ];
        assert_eq!(told, expected.map(|(path, size)| (path.to_owned(), size)));
    }

    #[test]
    fn of_many_the_largest_are_told() {
        let mut sizes = Sizes::default();
        for n in 0..1000u64 {
            sizes.add(format!("{n}/x").as_bytes(), n);
        }
        let told = sizes.largest();
        assert_eq!(told.len(), MOST);
        assert_eq!(told.get("999"), Some(&999));
        assert_eq!(told.get("0"), None);
    }
}
