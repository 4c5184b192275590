//! Packages on top of an image: installed once by the image's own apt, in a sandbox, and kept as a
//! layer of the store.
//!
//! The network is open for this step alone. apt's lists, downloads and logs are in the sandbox's
//! `/tmp` and gone with it; what is left is what dpkg has put there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::base::Draft;
use super::layer::{self, Finished};
use super::printed::Printed;
use super::{Package, Tools, installed, owner};
use crate::model::{Amount, Hasher, Sha256};
use crate::sandbox::{
    self, Access, Bind, Changes, Command, End, Identity, Input, Limits, Network, Output,
    Privileges, Root, SandboxError, SandboxSpec,
};
use crate::store::StoreError;
use crate::sys::fs::{self as sysfs, FsError};
use crate::sys::inroot::{self, Links};

/// Counted up whenever the same packages on the same image would become another layer.
const REVISION: u32 = 1;
/// Whom to ask for addresses, on this host and in the sandbox.
const RESOLVER: &str = "/etc/resolv.conf";
/// Of this process's environment, what apt needs to get out.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "all_proxy",
    "HTTPS_PROXY",
];
/// With which the script says that there is no apt, which itself ends with 100 and less.
const NO_APT: i32 = 120;

/// Why packages cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The image has no apt.
    #[error("packages cannot be installed in an image without apt-get: {}", packages.join(", "))]
    NoApt {
        /// Those that were to be installed.
        packages: Vec<String>,
    },
    /// apt, dpkg or a package's script failed.
    #[error("the image's apt could not install {}: it {end}", packages.join(", "))]
    Failed {
        /// Those that were to be installed.
        packages: Vec<String>,
        /// How it ended.
        end: End,
        /// Why, as far as what it printed says.
        cause: Cause,
        /// The last lines that it printed.
        log: String,
    },
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why apt fails, as far as what it prints says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its mirrors have the release no more.
    Moved,
    /// Its mirrors cannot be reached.
    Network,
    /// There is no package of such a name.
    Unknown,
    /// Something else.
    Other,
}

impl Cause {
    fn of(log: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|words| log.contains(words));
        if says(&[
            "does not have a Release file",
            "404  Not Found",
            "410  Gone",
        ]) {
            Self::Moved
        } else if says(&[
            "Could not resolve",
            "Temporary failure resolving",
            "Could not connect",
            "Unable to connect",
            "Connection failed",
            "Connection timed out",
            "Network is unreachable",
        ]) {
            Self::Network
        } else if says(&["Unable to locate package", "has no installation candidate"]) {
            Self::Unknown
        } else {
            Self::Other
        }
    }
}

/// The image with these packages, and with what they depend on: one more layer, unless the store
/// has it or nothing is wanted.
pub(super) fn install(
    below: Draft,
    wanted: &[String],
    sources: &[String],
    tools: &Tools<'_>,
) -> Result<Draft, AptError> {
    if wanted.is_empty() {
        return Ok(below);
    }
    let key = key(&below.digest, wanted, sources);
    let store = tools.store;
    let packages = if let Some(packages) = layer::packages(store, &key)? {
        packages
    } else {
        let _lock = store.lock(&format!("layer-{key}"), tools.observer, tools.interrupt)?;
        // Whoever held the lock may have made it.
        match layer::packages(store, &key)? {
            Some(packages) => packages,
            None => make(&below, key, wanted, sources, tools)?,
        }
    };
    let digest = digest(&below.digest, wanted, &packages);
    let Draft {
        mut layers,
        mut trees,
        digest: _,
        packages: _,
        source,
    } = below;
    layers.push(key);
    trees.push(layer::tree(&store.layer_path(&key)));
    Ok(Draft {
        layers,
        trees,
        digest,
        packages,
        source,
    })
}

/// What the store files a layer under: of what is asked for, not of the versions that come.
fn key(below: &Sha256, wanted: &[String], sources: &[String]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(format!("apt {REVISION} {below}\n").as_bytes());
    for (list, name) in [(wanted, "package"), (sources, "source")] {
        for item in list {
            hasher.update(format!("{name} {item}\n").as_bytes());
        }
    }
    hasher.finish()
}

/// What identifies the image: the same on every host that got the same versions.
fn digest(below: &Sha256, wanted: &[String], packages: &[Package]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(format!("apt {REVISION} {below}\n").as_bytes());
    for name in wanted {
        hasher.update(format!("package {name}\n").as_bytes());
    }
    for package in packages {
        let Package {
            name,
            version,
            arch,
        } = package;
        hasher.update(format!("{name} {version} {arch}\n").as_bytes());
    }
    hasher.finish()
}

/// Makes the layer, and tells what is installed then.
fn make(
    below: &Draft,
    key: Sha256,
    wanted: &[String],
    sources: &[String],
    tools: &Tools<'_>,
) -> Result<Vec<Package>, AptError> {
    let store = tools.store;
    store.sweep()?;
    let scratch = store.scratch()?;
    let path = scratch.path().join("packages");
    let (tree, work) = (layer::tree(&path), scratch.path().join("work"));
    owner::create_dir(&path, tools.host)?;
    for dir in [&tree, &work] {
        owner::create_dir(dir, tools.host)?;
    }
    let title = match wanted {
        [one] => format!("installing {one} with the image's apt"),
        many => format!("installing {} packages with the image's apt", many.len()),
    };
    let phase = tools.observer.phase(title, Amount::Unknown);
    let spec = spec(below.trees.clone(), tree.clone(), work, wanted, sources);
    let mut printed = Printed::new(&phase);
    let outcome = sandbox::run(
        &spec,
        tools.host,
        Input::Null,
        Output::Lines(&mut |bytes| printed.take(bytes)),
        tools.interrupt,
    )?;
    let packages = wanted.to_vec();
    match outcome.end {
        End::Exited(0) => {}
        End::Exited(NO_APT) => return Err(AptError::NoApt { packages }),
        end => {
            let log = printed.text();
            let cause = Cause::of(&log);
            return Err(AptError::Failed {
                packages,
                end,
                cause,
                log,
            });
        }
    }
    {
        let _owner = owner::assume(tools.host);
        tidy(&tree)?;
    }
    let trees = [&below.trees[..], &[tree]].concat();
    let packages = installed::packages(&trees)?;
    let added = packages.len().saturating_sub(below.packages.len());
    phase.done_with(format!("{added} packages more"));
    let phase = tools.observer.phase("writing to disk", Amount::Unknown);
    let finished = Finished {
        key,
        path,
        packages: packages.clone(),
    };
    layer::keep(store, &[finished])?;
    phase.done();
    Ok(packages)
}

/// Takes out the empty file that the host's resolver was bound to, if the image had none.
fn tidy(tree: &Path) -> Result<(), FsError> {
    let root = sysfs::open(tree)?;
    let Ok(etc) = inroot::open(root.as_fd(), Path::new("etc"), Links::Refused) else {
        return Ok(());
    };
    let path = Path::new(RESOLVER);
    let name = path.file_name().unwrap_or_default();
    match fstatat(&etc, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(found) if found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_size == 0 => {
            unlinkat(&etc, name, UnlinkatFlags::NoRemoveDir).map_err(FsError::new(
                "unlinkat",
                &tree.join(path.strip_prefix("/").unwrap_or(path)),
            ))
        }
        _ => Ok(()),
    }
}

fn spec(
    layers: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    wanted: &[String],
    sources: &[String],
) -> SandboxSpec {
    let mut env: BTreeMap<String, String> = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBIAN_PRIORITY", "critical"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBCONF_NOWARNINGS", "yes"),
        ("APT_CONFIG", "/tmp/apt/apt.conf"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let set = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    env.extend(PROXIES.into_iter().filter_map(set));
    // Without it, the host resolves names in a way of its own, which the image may not know.
    let resolver = Path::new(RESOLVER).exists().then(|| Bind {
        source: RESOLVER.into(),
        target: RESOLVER.parse().expect("an absolute path"),
        access: Access::ReadOnly,
    });
    SandboxSpec {
        root: Root {
            layers,
            changes: Changes::Kept { upper, work },
        },
        binds: resolver.into_iter().collect(),
        identity: Identity::ROOT,
        privileges: Privileges::Prepare,
        network: Network::Host,
        limits: Limits {
            wall: Duration::from_secs(2 * 3600),
            memory: 4 << 30,
            processes: 4096,
            file_size: 4 << 30,
            output: 256 << 20,
            tmpfs: 4 << 30,
        },
        terminal: None,
        command: Command {
            argv: ["/bin/sh", "-c", &script(wanted, sources)]
                .map(str::to_owned)
                .to_vec(),
            env,
            cwd: "/".parse().expect("the root is a path"),
        },
    }
}

/// apt as it is to be: as root, who is the only user there is; without recommendations; with all
/// that it keeps for itself in `/tmp`.
const CONFIGURATION: &str = r#"APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "/tmp/apt/cache";
Dir::Log "/tmp/apt/log";
Dir::State::Lists "/tmp/apt/lists";
Dpkg::Use-Pty "false";
Dpkg::Options { "--force-confdef"; "--force-confold"; "--force-unsafe-io"; "--log=/tmp/apt/dpkg.log"; };
"#;

/// What root of the sandbox runs. Names and lines were checked when the manifest was read: nothing
/// in them ends a here-document or is an option.
fn script(wanted: &[String], sources: &[String]) -> String {
    let mut script = format!(
        "set -eu\n\
         command -v apt-get >/dev/null || exit {NO_APT}\n\
         umask 022\n\
         mkdir -p /tmp/apt/cache/archives/partial /tmp/apt/log /tmp/apt/lists/partial\n\
         cat >/tmp/apt/apt.conf <<'END'\n{CONFIGURATION}"
    );
    if !sources.is_empty() {
        script.push_str(
            "Dir::Etc::SourceList \"/tmp/apt/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n",
        );
    }
    script.push_str("END\n");
    if !sources.is_empty() {
        script.push_str("cat >/tmp/apt/sources.list <<'END'\n");
        for line in sources {
            let _ = writeln!(script, "{line}");
        }
        script.push_str("END\n");
    }
    // Told to whatever would start a service: do not (invoke-rc.d(8)).
    script.push_str(
        "policy=/usr/sbin/policy-rc.d ours=\n\
         if [ -d /usr/sbin ] && [ ! -e $policy ]; then\n\
         \tours=$policy\n\
         \tprintf '#!/bin/sh\\nexit 101\\n' >$policy\n\
         \tchmod 755 $policy\n\
         fi\n",
    );
    // Of many sources one may be gone that nothing is wanted of: whether it matters, is seen then.
    script.push_str("apt-get update || echo \"apt-get update: exit code $?\"\n");
    let _ = writeln!(script, "apt-get install {}", wanted.join(" "));
    script.push_str(
        "[ -z \"$ours\" ] || rm -f \"$ours\"\n\
         rm -f /var/log/alternatives.log /var/log/dpkg.log /var/lib/dpkg/*-old \\\n\
         \t/var/cache/debconf/*-old /var/cache/ldconfig/aux-cache\n",
    );
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_says_why_it_failed() {
        let table = [
            (
                "E: The repository 'http://x trusty Release' does not have a Release file.",
                Cause::Moved,
            ),
            (
                "W: Failed to fetch http://x/Packages  404  Not Found [IP: 192.0.2.1 80]\n\
                 E: Unable to locate package a",
                Cause::Moved,
            ),
            ("Temporary failure resolving 'x'", Cause::Network),
            ("Could not connect to x:80 (192.0.2.1).", Cause::Network),
            ("E: Unable to locate package a", Cause::Unknown),
            (
                "E: Package 'a' has no installation candidate",
                Cause::Unknown,
            ),
            ("dpkg: error processing package a", Cause::Other),
            ("", Cause::Other),
        ];
        for (log, cause) in table {
            assert_eq!(Cause::of(log), cause, "{log}");
        }
    }

    #[test]
    fn what_is_asked_for_decides_the_key_and_what_came_the_digest() {
        let list = |text: &str| -> Vec<String> {
            let words = text.split(' ').filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let (below, other) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let keys = [
            key(&below, &list("a"), &[]),
            key(&other, &list("a"), &[]),
            key(&below, &list("a b"), &[]),
            key(&below, &list("b a"), &[]),
            key(&below, &list("a"), &list("b")),
            key(&below, &list("a"), &list("c")),
        ];
        let package = |version: &str| Package {
            name: "a".to_owned(),
            version: version.to_owned(),
            arch: "all".to_owned(),
        };
        let digests = [
            digest(&below, &list("a"), &[package("1")]),
            digest(&other, &list("a"), &[package("1")]),
            digest(&below, &list("a"), &[package("2")]),
            digest(&below, &list("a b"), &[package("1")]),
        ];
        for all in [&keys[..], &digests] {
            for (n, one) in all.iter().enumerate() {
                assert!(!all[..n].contains(one), "number {n}");
            }
        }
    }

    #[test]
    fn apt_is_given_sources_only_if_there_are_some() {
        let wanted = ["a".to_owned(), "g++".to_owned()];
        let own = script(&wanted, &[]);
        assert!(own.contains("\napt-get install a g++\n"), "{own}");
        assert!(!own.contains("sources.list"), "{own}");
        let line = "deb http://mirror.example.org/a $b `c` main".to_owned();
        let given = script(&wanted, std::slice::from_ref(&line));
        assert!(
            given.contains(&format!("<<'END'\n{line}\nEND\n")),
            "{given}"
        );
        assert!(
            given.contains("Dir::Etc::SourceParts \"/dev/null\""),
            "{given}"
        );
    }
}
