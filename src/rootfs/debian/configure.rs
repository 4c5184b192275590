//! The packages' own scripts, run in the sandbox: before, `preinst`; then `dpkg --configure`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use super::dpkg::{self, Before, DatabaseFile, Unpacked};
use super::stamp::stamp;
use super::unpack::within;
use super::{DebianError, deb822};
use crate::archive::Ownership;
use crate::model::Amount;
use crate::rootfs::Tools;
use crate::rootfs::owner;
use crate::rootfs::owners::{self, Below};
use crate::rootfs::printed::Printed;
use crate::sandbox::{
    self, Changes, Command, Identity, Input, Limits, Network, Output, Privileges, Root, SandboxSpec,
};
use crate::sys::fs::FsError;

const DATABASE: &str = "var/lib/dpkg";
/// Told to whatever would start a service: do not (invoke-rc.d(8)).
const POLICY: &str = "usr/sbin/policy-rc.d";

/// What is configured: packages whose files are in `tree`, on top of the layers `below`.
pub(super) struct Stage<'a> {
    /// `run` or `build`.
    pub(super) image: &'static str,
    /// The layers below, the lowest first. Empty for a first layer.
    pub(super) below: &'a [Below],
    /// Where the packages were unpacked; it is changed.
    pub(super) tree: &'a Path,
    /// An empty directory on the same file system, for the sandbox.
    pub(super) work: &'a Path,
    /// Another, in place of a layer below where there is none.
    pub(super) nothing: &'a Path,
}

/// Writes dpkg's database and runs the packages' scripts. Gives what of the tree is not as it lies
/// on the disk then.
pub(super) fn configure(
    stage: &Stage<'_>,
    packages: &[Unpacked],
    tools: &Tools<'_>,
) -> Result<Ownership, DebianError> {
    let title = format!("configuring the {} image", stage.image);
    let total = Amount::Items(packages.len() as u64);
    let phase = tools.observer.phase(title, total);
    {
        let _owner = owner::assume(tools.host);
        write_database(stage, packages)?;
        stamp(stage.tree, packages, stage.below)?;
    }
    let spec = spec(stage, &script(packages));
    let mut nobody = |_: &str| {};
    let mut log = Printed::new(&phase, &mut nobody);
    let mut take = |bytes: &[u8]| log.take(bytes);
    let outcome = sandbox::run(
        &spec,
        tools.host,
        Input::Null,
        Output::Lines(&mut take),
        tools.interrupt,
    )?;
    let log = log.text();
    if outcome.end != sandbox::End::Exited(0) {
        return Err(DebianError::Configure {
            image: stage.image,
            end: outcome.end,
            log,
        });
    }
    let packages = unfinished(stage.tree)?;
    if !packages.is_empty() {
        return Err(DebianError::NotInstalled {
            image: stage.image,
            packages,
            log,
        });
    }
    let ownership = {
        let _owner = owner::assume(tools.host);
        tidy(stage.tree)?;
        owners::take(stage.tree, stage.below)?
    };
    phase.done();
    owners::tell(outcome.owners, tools.observer);
    Ok(ownership)
}

fn write_database(stage: &Stage<'_>, packages: &[Unpacked]) -> Result<(), DebianError> {
    let before = stage.below.last().map_or_else(
        || Ok(Before::default()),
        |below| read_database(&below.tree.join(DATABASE)),
    )?;
    let database = stage.tree.join(DATABASE);
    for dir in ["info", "triggers", "updates", "alternatives", "parts"] {
        owner::open_dir(&database.join(dir))?;
    }
    within(&database.join("info"), stage.tree)?;
    within(&database.join("triggers"), stage.tree)?;
    for file in dpkg::unpacked(&before, packages) {
        let DatabaseFile {
            path,
            content,
            program,
        } = file;
        write(&database.join(path), &content, program)?;
    }
    if stage.below.is_empty() {
        for name in ["available", "diversions", "statoverride"] {
            write(&database.join(name), b"", false)?;
        }
    }
    let policy = stage.tree.join(POLICY);
    let dir = policy.parent().unwrap_or(stage.tree);
    owner::open_dir(dir)?;
    within(dir, stage.tree)?;
    write(&policy, b"#!/bin/sh\nexit 101\n", true)?;
    Ok(())
}

fn read_database(database: &Path) -> Result<Before, FsError> {
    let text = |path: &Path| match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(FsError::new("read", path)),
    };
    let triggers = database.join("triggers");
    let mut named_triggers = BTreeMap::new();
    for entry in fs::read_dir(&triggers).map_err(FsError::new("readdir", &triggers))? {
        let entry = entry.map_err(FsError::new("readdir", &triggers))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["File", "Lock", "Unincorp"].contains(&name.as_str()) {
            named_triggers.insert(name, text(&entry.path())?);
        }
    }
    Ok(Before {
        status: text(&database.join("status"))?,
        file_triggers: text(&triggers.join("File"))?,
        named_triggers,
    })
}

fn write(path: &Path, content: &[u8], program: bool) -> Result<(), FsError> {
    let mode = if program { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(FsError::new("create", path))?;
    file.write_all(content)
        .map_err(FsError::new("write", path))?;
    // The umask may have taken some of it.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(FsError::new("chmod", path))
}

/// What root of the sandbox runs. `preinst` comes after the unpacking here, where dpkg runs it
/// before: on a first installation these scripts only look, or make what must be there before
/// `postinst`; none of them minds that the files are there.
fn script(packages: &[Unpacked]) -> String {
    let mut script = String::from(
        "set -eu\n\
         for file in passwd group; do\n\
         \tmaster=/usr/share/base-passwd/$file.master\n\
         \t[ -e /etc/$file ] || [ ! -e $master ] || cp $master /etc/$file\n\
         done\n\
         export DPKG_ROOT= DPKG_ADMINDIR=/var/lib/dpkg DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1\n\
         preinst() {\n\
         \tDPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=$1 DPKG_MAINTSCRIPT_ARCH=$2 \\\n\
         \t\t/var/lib/dpkg/info/$3.preinst install\n\
         }\n",
    );
    for package in packages.iter().filter(|package| package.has("preinst")) {
        let (name, arch) = (&package.name, &package.arch);
        let _ = writeln!(script, "preinst {name} {arch} {}", package.qualified());
    }
    // Triggers once, at the end: each package with a library in it would rebuild ld.so's cache.
    script.push_str(
        "unset DPKG_ROOT DPKG_ADMINDIR DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT\n\
         dpkg --log=/dev/null --no-triggers --configure --pending\n\
         dpkg --log=/dev/null --triggers-only --pending\n",
    );
    script
}

fn spec(stage: &Stage<'_>, script: &str) -> SandboxSpec {
    let layers = if stage.below.is_empty() {
        vec![stage.nothing.to_owned()]
    } else {
        stage.below.iter().map(|below| below.tree.clone()).collect()
    };
    let env = [
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
    ];
    SandboxSpec {
        root: Root {
            layers,
            changes: Changes::Kept {
                upper: stage.tree.to_owned(),
                work: stage.work.to_owned(),
            },
        },
        binds: Vec::new(),
        identity: Identity::ROOT,
        privileges: Privileges::Prepare,
        network: Network::None,
        limits: Limits {
            wall: Duration::from_secs(30 * 60),
            memory: 4 << 30,
            processes: 4096,
            file_size: 4 << 30,
            output: 64 << 20,
            tmpfs: 1 << 30,
        },
        terminal: None,
        command: Command {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            cwd: "/".parse().expect("the root is a path"),
        },
    }
}

/// The packages that dpkg's status does not call installed.
fn unfinished(tree: &Path) -> Result<Vec<String>, FsError> {
    let path = tree.join(DATABASE).join("status");
    let status = fs::read_to_string(&path).map_err(FsError::new("read", &path))?;
    Ok(deb822::stanzas(&status)
        .filter(|stanza| stanza.get("Status") != Some("install ok installed"))
        .map(|stanza| stanza.get("Package").unwrap_or_default().to_owned())
        .collect())
}

/// Takes out what is of the bootstrap and not of the packages.
fn tidy(tree: &Path) -> Result<(), DebianError> {
    for path in [
        POLICY,
        "etc/hostname",
        "etc/machine-id",
        "etc/resolv.conf",
        "var/log/alternatives.log",
    ] {
        let path = tree.join(path);
        within(path.parent().unwrap_or(tree), tree)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FsError::new("unlink", &path)(error).into());
            }
            _ => {}
        }
    }
    Ok(())
}
