//! `pybuild stack push`: a stack on this host, put to a target for other hosts.
//!
//! What others read first goes last: the layers, the small documents, then the index under the
//! stack's name. All but that is known by its digest, so a run that is killed leaves nothing that
//! anybody takes for a stack, and the next one puts what is missing.

use crate::cli::{Global, StackPush, Targets};
use crate::cmd::locking;
use crate::cmd::mirrors::Seen;
use crate::cmd::publisher::check_writable;
use crate::cmd::session::{Opened, Session, host_arch, jobs, manifest};
use crate::cmd::target::Outlets;
use crate::cmd::{Done, Failure, registries};
use crate::model::{Amount, Bytes, Elapsed, Observer, Sha256, StackKey};
use crate::publish::{self, Mode, PublishError, Put, Remote};
use crate::rootfs::export::{Compression, Exporter};
use crate::rootfs::{self, Blob, Content, MirrorError, Parcel, Rootfs, There};
use crate::store::STACKS;
use crate::sys::fs as sysfs;
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, Align, ExitKind, Table};

/// What became of it.
struct Pushed {
    /// The digest of the index.
    index: Sha256,
    /// Objects, the index under the stack's name among them, and how many bytes they have.
    objects: usize,
    size: u64,
    /// How many of them were put now, and how many bytes those have.
    written: usize,
    sent: u64,
}

/// Prepares the stack, if need be, and pushes what is missing there.
pub(super) fn run(global: &Global, args: &StackPush) -> Result<Done, Failure> {
    let manifest = manifest(&args.stack, &args.sources)?;
    let outlets = Outlets::to_publish(&Targets {
        target: Some(args.target.clone()),
        upstream: None,
        env_file: None,
    })?;
    registries::ahead(global, [&manifest], &args.sources)?;
    let session = match outlets.session(global)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let remote = outlets.remote()?;
    // Before a stack is prepared that could not be put there.
    check_writable(&session, &remote)?;
    // Nobody removes what is being packed.
    let (observer, interrupt) = (session.observer(), &session.interrupt);
    let _stacks = session.store.lock_shared(STACKS, observer, interrupt)?;
    let rootfs = session.rootfs(&manifest, &args.sources)?;
    let locked = locking::locked(&manifest, &args.sources)?;
    let wanted = locking::wanted(locked.as_ref());
    let key = rootfs::filed(&manifest, host_arch()?, wanted, &session.store)?.ok_or_else(|| {
        let vanished = format!(
            "the stack {} has just been removed from the store",
            args.stack
        );
        Failure::new(ExitKind::TryAgain, vanished)
    })?;
    let push = Push {
        session: &session,
        remote: &remote,
        rootfs: &rootfs,
        key,
    };
    let pushed = match push.there(args.overwrite)? {
        Some(there) => there,
        None => push.push(args.overwrite)?,
    };
    report(global, &session, &remote, &rootfs, &pushed)?;
    Ok(Done::Here)
}

struct Push<'a> {
    session: &'a Session,
    remote: &'a Remote,
    rootfs: &'a Rootfs,
    /// What the store files the stack under.
    key: Sha256,
}

impl Push<'_> {
    fn interrupt(&self) -> &Interrupt {
        &self.session.interrupt
    }

    fn observer(&self) -> &dyn Observer {
        self.session.observer()
    }

    fn index_key(&self) -> StackKey {
        StackKey::Index(self.rootfs.stack.clone(), self.rootfs.arch)
    }

    /// Whether all of it is there, without packing anything.
    fn there(&self, overwrite: bool) -> Result<Option<Pushed>, Failure> {
        let found = rootfs::there(&Seen(self.remote), self.rootfs, self.key, self.interrupt());
        let There {
            index,
            is_same,
            objects,
        } = match found {
            Ok(Some(there)) => there,
            Ok(None) | Err(MirrorError::Missing { .. }) => return Ok(None),
            Err(
                error @ (MirrorError::Digest { .. }
                | MirrorError::Size { .. }
                | MirrorError::Document { .. }
                | MirrorError::Other { .. }
                | MirrorError::Oci(_)),
            ) => {
                self.observer()
                    .warn(format!("what is there is no stack: {error}"));
                return Ok(None);
            }
            Err(error) => return Err(error.of(&self.rootfs.stack, self.remote.shown()).into()),
        };
        if !is_same {
            return if overwrite {
                Ok(None)
            } else {
                Err(self.other(&index))
            };
        }
        let (mut size, count) = (0, objects.len());
        for (key, expected) in objects {
            let head = self.remote.head(&key.to_string(), self.interrupt())?;
            if head.is_none_or(|head| head.size != expected) {
                return Ok(None);
            }
            size += expected;
        }
        Ok(Some(Pushed {
            index,
            objects: count,
            size,
            written: 0,
            sent: 0,
        }))
    }

    /// Another stack has the name.
    fn other(&self, index: &Sha256) -> Failure {
        let (at, key) = (self.remote.shown(), self.index_key());
        let message = format!(
            "{at}{key} is another {} (sha256:{index})",
            self.rootfs.stack
        );
        Failure::new(ExitKind::BuildFailed, message)
            .hint("nothing was put there; --overwrite puts this one in its place")
            .hint("it was prepared from another manifest, or other packages have come since")
    }

    fn push(&self, overwrite: bool) -> Result<Pushed, Failure> {
        let scratch = self.session.store.scratch()?;
        let exporter = Exporter {
            scratch: scratch.path(),
            compression: Compression::Zstd,
            threads: jobs(None),
            observer: self.observer(),
            interrupt: self.interrupt(),
        };
        let Parcel { blobs, index } = rootfs::parcel(self.rootfs, self.key, &exporter)?;
        let size = blobs.iter().map(|blob| blob.size).sum();
        let mut pushed = Pushed {
            index: Sha256::of(&index),
            objects: blobs.len(),
            size,
            written: 0,
            sent: 0,
        };
        let title = format!(
            "uploading {} to {}",
            self.rootfs.stack,
            self.remote.target()
        );
        let phase = self.observer().phase(title, Amount::Bytes(size));
        for blob in &blobs {
            if self.blob(blob, &|bytes| phase.advance(bytes))? == Put::Written {
                pushed.written += 1;
                pushed.sent += blob.size;
            }
        }
        self.name(&index, overwrite)?;
        phase.done_with(format!("{} of {} objects", pushed.written, pushed.objects));
        Ok(pushed)
    }

    fn blob(&self, blob: &Blob, progress: &(dyn Fn(u64) + Sync)) -> Result<Put, Failure> {
        let key = StackKey::Blob(blob.digest).to_string();
        let put = |content| {
            let put = self
                .remote
                .put(&key, content, Mode::Create, progress, self.interrupt());
            put.map_err(|error| match error {
                error @ PublishError::Exists { .. } => Failure::new(ExitKind::BuildFailed, error)
                    .hint("it is not what its name says: remove it and run this again"),
                error => error.into(),
            })
        };
        match &blob.content {
            Content::Bytes(bytes) => put(publish::Content::Bytes(bytes)),
            Content::File(path) => put(publish::Content::File {
                file: &sysfs::open(path)?,
                size: blob.size,
                digest: blob.digest,
            }),
        }
    }

    /// Puts the index under the stack's name.
    fn name(&self, index: &[u8], overwrite: bool) -> Result<(), Failure> {
        let key = self.index_key().to_string();
        if overwrite {
            publish::replace(self.remote, &key, index, self.interrupt())?;
            return Ok(());
        }
        let content = publish::Content::Bytes(index);
        let put = self
            .remote
            .put(&key, content, Mode::Create, &|_| {}, self.interrupt());
        match put {
            Ok(_) => Ok(()),
            Err(error @ PublishError::Exists { .. }) => {
                Err(Failure::new(ExitKind::BuildFailed, error)
                    .hint("--overwrite puts this one in its place"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn report(
    global: &Global,
    session: &Session,
    remote: &Remote,
    rootfs: &Rootfs,
    pushed: &Pushed,
) -> Result<(), Failure> {
    let Pushed {
        index,
        objects,
        size,
        written,
        sent,
    } = pushed;
    let images = [("run", &rootfs.run), ("build", &rootfs.build)];
    if global.json {
        let image = |image: &rootfs::Image| serde_json::json!({ "digest": image.digest, "packages": image.packages.len() });
        ui::print_json(&serde_json::json!({
            "stack": rootfs.stack,
            "arch": rootfs.arch,
            "target": remote.target().to_string(),
            "digest": format!("sha256:{index}"),
            "run": image(&rootfs.run),
            "build": image(&rootfs.build),
            "objects": objects,
            "size": size,
            "written": written,
            "sent": sent,
        }))?;
        return Ok(());
    }
    let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
    for (kind, image) in images {
        let packages = format!("{} packages", image.packages.len());
        table.row([format!("{kind} image"), packages, image.digest.to_string()]);
    }
    ui::print(&table.render())?;
    let said = match written {
        0 => "already there".to_owned(),
        _ => format!("{written} of {objects} objects put, {}", Bytes(*sent)),
    };
    let at = remote.target();
    ui::print(&format!(
        "{} in {at}: {said}\nits digest is sha256:{index}\nin all {}\n",
        rootfs.stack,
        Elapsed(session.started.elapsed())
    ))?;
    Ok(())
}
