//! What an image's apt would install today, without installing it.

use super::error::AptError;
use super::script::{self, spec};
use super::{Order, run};
use crate::model::Amount;
use crate::rootfs::base::Draft;
use crate::rootfs::{Package, Tools, owner};
use crate::sandbox::Changes;

/// All that would be installed then, sorted by name. Asks the mirrors, and changes nothing.
pub(in crate::rootfs) fn today(
    below: &Draft,
    order: &Order<'_>,
    tools: &Tools<'_>,
) -> Result<Vec<Package>, AptError> {
    if order.wanted.is_empty() {
        return Ok(below.packages.clone());
    }
    let phase = tools
        .observer
        .phase("asking the image's apt what is new", Amount::Unknown);
    let scratch = tools.store.scratch()?;
    let [upper, work] = ["upper", "work"].map(|name| scratch.path().join(name));
    for dir in [&upper, &work] {
        owner::create_dir(dir, tools.host)?;
    }
    let command = script::simulate(order.wanted, order.sources);
    let spec = spec(below.trees.clone(), Changes::Kept { upper, work }, &command);
    let mut after = Simulated::new(&below.packages);
    run(&spec, order, &phase, &mut |line| after.take(line), tools)?;
    phase.done();
    Ok(after.packages)
}

/// A list of packages, changed as `apt-get --simulate` says.
struct Simulated {
    packages: Vec<Package>,
}

impl Simulated {
    fn new(packages: &[Package]) -> Self {
        let packages = packages.to_vec();
        Self { packages }
    }

    /// `Inst name [old] (version suite [arch]) …` and `Remv name [old] …`; others are passed over.
    /// Where a name is said with its architecture (`name:arch`), it is not the image's own.
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (verb, name) = (words.next().unwrap_or_default(), words.next());
        let Some(name) = name.filter(|_| matches!(verb, "Inst" | "Remv")) else {
            return;
        };
        let (name, arch) = match name.split_once(':') {
            Some((name, arch)) => (name, Some(arch)),
            None => (name, None),
        };
        let found = (line.split_once(" (")).and_then(|(_, rest)| new_version(rest));
        let of_arch = |package: &Package| match (arch, &found) {
            (Some(arch), _) => package.arch == arch,
            (None, Some((_, arch))) => {
                package.arch == *arch || package.arch == "all" || arch == "all"
            }
            (None, None) => true,
        };
        self.packages
            .retain(|package| package.name != name || !of_arch(package));
        if let ("Inst", Some((version, arch))) = (verb, found) {
            self.packages.push(Package {
                name: name.to_owned(),
                version,
                arch,
            });
        }
        self.packages
            .sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
    }
}

/// `1.2-3 Debian:12.5/stable [amd64])`: the version and the architecture.
fn new_version(rest: &str) -> Option<(String, String)> {
    let (inside, _) = rest.split_once(')')?;
    let version = inside.split(' ').next()?;
    let (_, arch) = inside.rsplit_once('[')?;
    let arch = arch.trim_end_matches(']');
    Some((version.to_owned(), arch.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_do_is_read_from_what_it_prints() {
        let package = |name: &str, version: &str, arch: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: arch.to_owned(),
        };
        let before = [
            package("gone", "1", "all"),
            package("libc6", "2.36-9", "amd64"),
            package("libc6", "2.36-9", "i386"),
            package("stays", "1", "all"),
        ];
        let mut after = Simulated::new(&before);
        let printed = "Reading package lists...\n\
            The following NEW packages will be installed:\n  tcl\n\
            Remv gone [1]\n\
            Inst libc6 [2.36-9] (2.36-9+deb12u14 Debian:12.12/oldstable [amd64]) []\n\
            Inst tcl (8.6.13 Debian:12.12/oldstable, Debian-Security:12/oldstable-security [all])\n\
            Conf tcl (8.6.13 Debian:12.12/oldstable [all])\n";
        printed.lines().for_each(|line| after.take(line));
        assert_eq!(
            after.packages,
            [
                package("libc6", "2.36-9+deb12u14", "amd64"),
                package("libc6", "2.36-9", "i386"),
                package("stays", "1", "all"),
                package("tcl", "8.6.13", "all"),
            ]
        );
    }
}
