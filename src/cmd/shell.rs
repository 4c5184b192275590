//! `pybuild shell`: a person at a terminal in a fresh sandbox of a stack.

use std::fs;
use std::path::{Path, PathBuf};

use super::by_hand::{ByHand, absolute, bind, guest};
use super::session::Session;
use super::{Done, Failure};
use crate::cli::{Global, ImageKind, Shell};
use crate::model::{GuestPath, Observer};
use crate::sandbox::{self, Access, Launcher, SandboxSpec};

/// Where formulae are looked for if nobody says.
const HERE: &str = "formulae";
/// Where the shell sees them.
const FORMULAE: &str = "/formulae";
/// Where the shell sees the patches that belong to them.
const PATCHES: &str = "/patches";

/// Opens the shell; ends as it ends.
pub(super) fn run(global: &Global, args: &Shell) -> Result<Done, Failure> {
    let Shell {
        stack,
        inside,
        dry_run,
    } = args;
    let by_hand = ByHand {
        global,
        stack,
        inside,
        dry_run: *dry_run,
    };
    by_hand.execute(&Launcher::default(), |session, spec| {
        let formulae = inside.sources.formulae_dir.as_deref();
        let shown = show_formulae(session, spec, formulae)?;
        let (command, prompt) = shell(&spec.root.layers);
        spec.command.argv = command;
        let prompt = format!("{stack}{prompt}");
        spec.command.env.insert("PS1".to_owned(), prompt);
        spec.terminal = sandbox::terminal::here();
        if !dry_run {
            greet(session.observer(), args, &shown);
        }
        Ok(())
    })
}

/// Bash if the image has it, else what every image has; and what follows the stack in its prompt.
fn shell(layers: &[PathBuf]) -> (Vec<String>, &'static str) {
    let has = |path: &str| {
        let mut layers = layers.iter();
        layers.any(|layer| fs::symlink_metadata(layer.join(path)).is_ok())
    };
    let (command, prompt): (&[&str], _) = if has("bin/bash") || has("usr/bin/bash") {
        // The image's own settings name a user whom it does not have.
        (&["/bin/bash", "--norc"], r":\w\$ ")
    } else {
        (&["/bin/sh"], "$ ")
    };
    (command.iter().map(|&arg| arg.to_owned()).collect(), prompt)
}

/// A directory of this host, and where the shell sees it.
type Shown = (PathBuf, GuestPath);

/// Shows the formulae and patches that are being worked on: those that are given, which must be
/// there; else those that are here.
fn show_formulae(
    session: &Session,
    spec: &mut SandboxSpec,
    given: Option<&Path>,
) -> Result<Vec<Shown>, Failure> {
    let formulae = match given {
        Some(given) => absolute(given)?,
        None => match absolute(Path::new(HERE)) {
            Ok(here) if here.is_dir() => here,
            _ => return Ok(Vec::new()),
        },
    };
    if given.is_none() && fs::read_dir(&formulae).is_err() {
        let who = session.host.outside().uid;
        let note = format!("uid {who} may not read {}: not shown", formulae.display());
        session.observer().warn(note);
        return Ok(Vec::new());
    }
    let beside = formulae.parent().map(|parent| parent.join("patches"));
    let patches = [Some(formulae.join("patches")), beside];
    let patches = patches
        .into_iter()
        .flatten()
        .find(|dir| fs::read_dir(dir).is_ok());
    let mut shown = vec![(formulae, guest(FORMULAE))];
    shown.extend(patches.map(|patches| (patches, guest(PATCHES))));
    for (source, target) in &shown {
        bind(spec, source.clone(), target.clone(), Access::ReadOnly);
    }
    Ok(shown)
}

fn greet(observer: &dyn Observer, args: &Shell, shown: &[Shown]) {
    let image = match args.inside.image {
        ImageKind::Build => "build",
        ImageKind::Run => "run",
    };
    observer.note(format!(
        "a shell in the {image} image of {}; what it changes there is discarded",
        args.stack
    ));
    for (source, target) in shown {
        observer.note(format!("{target} is {}, read-only", source.display()));
    }
}
