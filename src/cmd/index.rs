//! `pybuild index`: writes what a target has as `index.json` and `index.html` beside it.

use std::time::Instant;

use super::session::{Opened, terminal};
use super::target::Outlets;
use super::{Done, Failure};
use crate::artifact::record::FileRecord;
use crate::cli::{self, Global, Targets};
use crate::model::{Bytes, Observer, Sha256};
use crate::publish::{
    Date, Entry, INDEX_HTML, INDEX_JSON, INDEX_LIMIT, Index, MadeOf, PublishError, Put, Remote,
    Role, Surveyed, replace, survey,
};
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, ExitKind, Fact, Indexed, Listed, Page, Value, Writing};

/// Indexes what is sound, and tells of the rest.
pub(super) fn run(global: &Global, args: &cli::Index) -> Result<Done, Failure> {
    let started = Instant::now();
    let outlets = Outlets::to_publish(&Targets {
        target: args.target.clone(),
        upstream: None,
        env_file: args.env_file.clone(),
    })?;
    if args.dry_run {
        let remote = outlets.look(global)?;
        let interrupt = Interrupt::install()
            .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("sigaction: {errno}")))?;
        let work = Work {
            remote: &remote,
            observer: &terminal(global),
            interrupt: &interrupt,
            dry_run: true,
        };
        return work.run(global, started);
    }
    let session = match outlets.session(global)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let remote = outlets.remote()?;
    let work = Work {
        remote: &remote,
        observer: session.observer(),
        interrupt: &session.interrupt,
        dry_run: false,
    };
    work.run(global, started)
}

struct Work<'a> {
    remote: &'a Remote,
    observer: &'a dyn Observer,
    interrupt: &'a Interrupt,
    dry_run: bool,
}

impl Work<'_> {
    fn run(&self, global: &Global, started: Instant) -> Result<Done, Failure> {
        let surveyed = match survey(self.remote, self.observer, self.interrupt) {
            Err(PublishError::TooLong { key, .. }) if key == INDEX_JSON => {
                return Err(self.too_long(INDEX_JSON));
            }
            other => other?,
        };
        let Surveyed { index, unlisted } = surveyed.ok_or_else(|| PublishError::ReadOnly {
            target: self.remote.target().to_string(),
        })?;
        let nothing = index.archives().is_empty() && unlisted.is_empty();
        if nothing && self.remote.head(INDEX_JSON, self.interrupt)?.is_none() {
            let message = format!("{} holds no archives to index", self.remote.target());
            return Err(Failure::new(ExitKind::Usage, message)
                .hint("see --target, S3_BUCKET and S3_PREFIX: nothing was written"));
        }
        let json = index.to_json();
        let html = page(&index).render();
        for (key, text) in [(INDEX_HTML, &html), (INDEX_JSON, &json)] {
            if text.len() as u64 > INDEX_LIMIT {
                return Err(self.too_long(key));
            }
        }
        for (key, flaw) in &unlisted {
            self.observer.warn(format!("{key} is not listed: {flaw}"));
        }
        // The page first: whoever sees the new index.json, which machines go by, sees the new page.
        let html = self.write(INDEX_HTML, html.as_bytes())?;
        let json = self.write(INDEX_JSON, json.as_bytes())?;
        let complete = unlisted.is_empty();
        let indexed = Indexed {
            target: self.remote.target().to_string(),
            archives: index.archives().len(),
            stacks: stacks(&index),
            bytes: index.archives().iter().map(|entry| entry.size).sum(),
            html,
            json,
            unlisted: unlisted
                .into_iter()
                .map(|(key, flaw)| (key, flaw.to_string()))
                .collect(),
            elapsed: started.elapsed(),
        };
        if global.json {
            ui::print_json(&indexed)?;
        } else {
            ui::print(&indexed.render(terminal(global).palette()))?;
        }
        Ok(if complete {
            Done::Here
        } else {
            Done::Code(ExitKind::Found.code())
        })
    }

    /// One that no reader would take.
    fn too_long(&self, key: &str) -> Failure {
        let target = self.remote.shown();
        let message = format!("{target}{key} would have more than {INDEX_LIMIT} bytes");
        Failure::new(ExitKind::BuildFailed, message)
            .hint("publish to several targets, and index each; nothing was written")
    }

    fn write(&self, key: &str, bytes: &[u8]) -> Result<Writing, Failure> {
        if self.dry_run {
            let there = self.remote.read_small(key, INDEX_LIMIT, self.interrupt);
            let there = match there {
                Err(PublishError::TooLong { .. }) => None,
                other => other?,
            };
            return Ok(if there.is_some_and(|there| there == bytes) {
                Writing::Unchanged
            } else {
                Writing::Would
            });
        }
        Ok(match replace(self.remote, key, bytes, self.interrupt)? {
            Put::Written => Writing::Written,
            Put::AlreadySame => Writing::Unchanged,
        })
    }
}

fn stacks(index: &Index) -> usize {
    let stacks = index.archives().iter().map(|entry| &entry.stack);
    stacks.collect::<std::collections::BTreeSet<_>>().len()
}

/// The page that shows an index.
fn page(index: &Index) -> Page {
    Page {
        archives: index.archives().iter().map(listed).collect(),
    }
}

fn listed(entry: &Entry) -> Listed {
    let Entry {
        key,
        stack,
        formula,
        version,
        kind,
        arch,
        layout: _, // the key shows it
        size,
        sha256,
        date,
        made_of,
    } = entry;
    Listed {
        key: key.clone(),
        sidecars: [Role::Sha256.suffix(), Role::Record.suffix()],
        stack: stack.clone(),
        formula: formula.clone(),
        version: version.clone(),
        kind: *kind,
        arch: *arch,
        size: *size,
        sha256: *sha256,
        date: date.to_string(),
        facts: facts(made_of),
    }
}

/// What something is made of, in the order in which a person asks.
fn facts(made_of: &MadeOf) -> Vec<Fact> {
    let MadeOf {
        build_id,
        profile,
        prefix,
        source,
        patches,
        files,
        dependencies,
        build_image,
        run_image,
        network,
        modules,
        glibc_floor,
        libraries,
        unpacked_size,
        entries,
        source_date_epoch,
        pybuild,
    } = made_of;
    let file = |file: &FileRecord| Value {
        text: file.path.clone(),
        digest: Some(file.sha256),
        url: None,
    };
    let digest = |text: &str, digest: &Sha256| Value {
        text: text.to_owned(),
        digest: Some(*digest),
        url: None,
    };
    let list = |names: Vec<String>| vec![text(names.join(", "))];
    let glibc = glibc_floor.iter().map(|version| format!("glibc {version}"));
    let needs = glibc.chain(libraries.iter().cloned()).collect();
    let all = [
        (
            "source",
            vec![Value {
                text: source.file.clone(),
                url: source.url.clone(),
                digest: Some(source.sha256),
            }],
        ),
        ("released", vec![text(Date::of(*source_date_epoch).day())]),
        ("patches", patches.iter().map(file).collect()),
        (
            "built against",
            dependencies
                .iter()
                .map(|one| digest(&one.reference.to_string(), &one.sha256))
                .collect(),
        ),
        (
            "build",
            vec![digest(&format!("profile {profile}"), build_id)],
        ),
        (
            "network",
            if *network {
                vec![text("open while it was built".to_owned())]
            } else {
                Vec::new()
            },
        ),
        ("image it was built in", vec![digest("", build_image)]),
        ("image it was proven in", vec![digest("", run_image)]),
        (
            "holds",
            vec![text(format!(
                "{entries} files, links and directories, {} unpacked, for {prefix}",
                Bytes(*unpacked_size)
            ))],
        ),
        ("needs", list(needs)),
        ("modules proven", list(modules.clone())),
        ("files of the formula", files.iter().map(file).collect()),
        (
            "built by",
            vec![text(format!(
                "pybuild {}, revision {}",
                pybuild.version, pybuild.build_revision
            ))],
        ),
    ];
    let told = all.into_iter().filter(|(_, values): &(_, Vec<Value>)| {
        let says = |value: &Value| !value.text.is_empty() || value.digest.is_some();
        values.iter().any(says)
    });
    told.map(|(what, values)| Fact { what, values }).collect()
}

fn text(text: String) -> Value {
    Value {
        text,
        ..Value::default()
    }
}
