//! What differs between two lists of packages. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::Package;
use super::debian::version;

/// A package that is not the same in two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name; with its architecture (`libc6:i386`) if one list has it for several.
    pub name: String,
    /// Its version in the one list, if it is there.
    pub from: Option<String>,
    /// Its version in the other, if it is there.
    pub to: Option<String>,
}

impl Moved {
    /// How the versions compare, as Debian orders them (Debian policy, 5.6.12); `None` if only one
    /// list has the package. `Less` is an upgrade.
    pub fn order(&self) -> Option<Ordering> {
        Some(version::compare(self.from.as_ref()?, self.to.as_ref()?))
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to } = self;
        match (from, to) {
            (Some(from), Some(to)) => write!(f, "{name} {from} → {to}"),
            (Some(from), None) => write!(f, "{name} {from} is gone"),
            (None, Some(to)) => write!(f, "{name} {to} is new"),
            (None, None) => write!(f, "{name}"),
        }
    }
}

/// What differs, sorted by name.
pub fn moved(from: &[Package], to: &[Package]) -> Vec<Moved> {
    let (one, other) = (by_name(from, to), by_name(to, from));
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| Moved {
            name: name.clone(),
            from: one.get(name).map(|&version| version.to_owned()),
            to: other.get(name).map(|&version| version.to_owned()),
        })
        .collect()
}

/// Versions by name; the name says the architecture where either list has several of them.
fn by_name<'a>(packages: &'a [Package], others: &[Package]) -> BTreeMap<String, &'a str> {
    let count = |list: &[Package], name: &str| list.iter().filter(|p| p.name == name).count();
    packages
        .iter()
        .map(|package| {
            let Package {
                name,
                version,
                arch,
            } = package;
            let is_several = count(packages, name) > 1 || count(others, name) > 1;
            let name = if is_several {
                format!("{name}:{arch}")
            } else {
                name.clone()
            };
            (name, version.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(text: &str) -> Vec<Package> {
        let each = text.split_terminator(", ").map(|text| {
            let mut words = text.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            Package {
                name: word(),
                version: word(),
                arch: word(),
            }
        });
        each.collect()
    }

    #[test]
    fn what_differs_is_told_once() {
        let table = [
            ("", "", ""),
            ("a 1 all", "a 1 all", ""),
            // another architecture of the same version is the same package
            ("a 1 all", "a 1 amd64", ""),
            ("a 1 all, b 1 all", "a 2 all", "a 1 → 2, b 1 is gone"),
            ("b 2 all", "a 1 all, b 2 all", "a 1 is new"),
            (
                "c 1 amd64, c 1 i386",
                "c 2 amd64",
                "c:amd64 1 → 2, c:i386 1 is gone",
            ),
            ("a 2 all", "a 10 all", "a 2 → 10"),
        ];
        for (from, to, told) in table {
            let found = moved(&packages(from), &packages(to));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(", "), told, "{from} to {to}");
        }
    }

    #[test]
    fn versions_are_ordered_as_debian_orders_them() {
        let order = |from: &str, to: &str| {
            let found = moved(&packages(from), &packages(to));
            found.first().and_then(Moved::order)
        };
        assert_eq!(order("a 2 all", "a 10 all"), Some(Ordering::Less));
        assert_eq!(order("a 1 all", "a 1~rc1 all"), Some(Ordering::Greater));
        assert_eq!(order("a 1 all", ""), None);
    }
}
