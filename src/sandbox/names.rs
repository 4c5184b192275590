//! How names become addresses: what a sandbox with the host's network needs of this host's files.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::spec::{Access, Bind};
use crate::model::GuestPath;

/// What says on the host how names become addresses.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Shows, in an image of these layers, how names become addresses on this host.
pub fn host_names(layers: &[PathBuf]) -> Vec<Bind> {
    let mut binds = Vec::new();
    for name in NAMES {
        // Where it is in a chroot of that image, were it started as a system: often nowhere yet.
        let mut layers = layers.iter().rev();
        let link = layers.find_map(|layer| fs::read_link(layer.join(&name[1..])).ok());
        let target = match link {
            Some(link) => behind(name, &link),
            None => guest(name),
        };
        if let Ok(source) = fs::canonicalize(name) {
            binds.push(Bind {
                source,
                target,
                access: Access::ReadOnly,
            });
        }
    }
    binds
}

/// The path that a symlink leads to, as far as its text says.
fn behind(name: &str, link: &Path) -> GuestPath {
    let start = Path::new(name).parent().unwrap_or(Path::new("/"));
    let mut path = PathBuf::new();
    for component in start.join(link).components() {
        if component == Component::ParentDir {
            path.pop();
        } else {
            path.push(component);
        }
    }
    let path = path.to_str().and_then(|path| path.parse().ok());
    path.unwrap_or_else(|| guest(name))
}

fn guest(path: &str) -> GuestPath {
    path.parse().expect("an absolute path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_where_an_images_link_leads() {
        for (link, target) in [
            (
                "../run/systemd/resolve/stub-resolv.conf",
                "/run/systemd/resolve/stub-resolv.conf",
            ),
            ("/run/resolv.conf", "/run/resolv.conf"),
            ("../../../../x", "/x"),
            ("other", "/etc/other"),
        ] {
            let found = behind("/etc/resolv.conf", Path::new(link));
            assert_eq!(found.as_str(), target, "{link}");
        }
    }
}
