//! `pybuild stack lock`: what stacks are made of, written down.

use std::io::{Seek as _, Write as _};

use super::locked_stacks;
use crate::cli::{Global, StackLock};
use crate::cmd::locking;
use crate::cmd::session::{Opened, Session, host_arch};
use crate::cmd::{Done, Failure, registries};
use crate::rootfs::lock::{self, Lock, Locked, MadeOf};
use crate::rootfs::{Manifest, Package, moved};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{self, Align, Table};

/// Locks each stack in turn.
pub(super) fn run(global: &Global, args: &StackLock) -> Result<Done, Failure> {
    let sources = &args.sources;
    let manifests = locked_stacks(&args.stacks, sources)?;
    registries::ahead_of_today(global, &manifests, sources)?;
    let dir = locking::dir(sources);
    let session = match Session::open(global, Some(dir))? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let arch = host_arch()?;
    let mut table = Table::new([Align::Left, Align::Left, Align::Left, Align::Left]);
    let mut json = Vec::new();
    for manifest in &manifests {
        let name = manifest.name();
        let mut file = before(&session, manifest, args)?;
        let old = file.part(arch).cloned();
        let new = session.with_tools(sources, |tools| Ok(lock::today(manifest, arch, tools)?))?;
        let path = dir.join(locking::file(name));
        let change = Change::of(old.as_ref(), &new);
        file.set(arch, new.clone());
        if change != Change::Nothing {
            write(&session, &file)?;
        }
        table.row([
            name.to_string(),
            change.told(),
            new.from.clone(),
            path.display().to_string(),
        ]);
        json.push(serde_json::json!({
            "stack": name,
            "arch": arch,
            "lock": path,
            "from": new.from,
            "run": new.run,
            "build": new.build,
            "change": change.word(),
        }));
    }
    if global.json {
        ui::print_json(&json)?;
    } else {
        ui::print(&table.render())?;
    }
    Ok(Done::Here)
}

/// The lock as it is, else one that says nothing. One that cannot be read is written anew.
fn before(session: &Session, manifest: &Manifest, args: &StackLock) -> Result<Lock, Failure> {
    match locking::look(manifest.name(), &args.sources)? {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Ok(Lock::new(manifest.name().clone())),
        Err(error) => {
            session
                .observer()
                .warn(format!("{error}; it is written anew"));
            Ok(Lock::new(manifest.name().clone()))
        }
    }
}

fn write(session: &Session, lock: &Lock) -> Result<(), Failure> {
    let scratch = session.store.scratch()?;
    let path = scratch.path().join("lock");
    let mut content = sysfs::create_new(&path)?;
    let written = content.write_all(lock.render().as_bytes());
    let written = written.and_then(|()| content.rewind());
    written.map_err(FsError::new("write", &path))?;
    let content = sysfs::open(&path)?;
    Ok(session
        .delivery
        .put(&locking::file(lock.stack()), &content)?)
}

/// What a new lock says that the old one did not. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    New,
    Nothing,
    /// So many packages have other versions, or nothing but the images' digests is another.
    Packages(usize),
}

impl Change {
    fn of(old: Option<&Locked>, new: &Locked) -> Self {
        match old {
            None => Self::New,
            Some(old) if old == new => Self::Nothing,
            Some(old) => Self::Packages(moved(&packages(old), &packages(new)).len()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Nothing => "none",
            Self::Packages(_) => "changed",
        }
    }

    fn told(self) -> String {
        match self {
            Self::New => "locked".to_owned(),
            Self::Nothing => "unchanged".to_owned(),
            Self::Packages(0) => "changed, with the same packages".to_owned(),
            Self::Packages(1) => "changed, one package".to_owned(),
            Self::Packages(count) => format!("changed, {count} packages"),
        }
    }
}

/// What is in the build image, which has most.
fn packages(locked: &Locked) -> Vec<Package> {
    match &locked.made_of {
        MadeOf::Debian(today) => {
            let [_, build] = today.selection.packages();
            build
        }
        MadeOf::Images { build, .. } => build.packages.clone(),
    }
}
