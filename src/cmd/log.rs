//! `pybuild log`: what a build printed.

use std::io::BufReader;

use super::session::{Opened, Session};
use super::{Done, Failure};
use crate::build::log::{LogHead, logs};
use crate::cli::{Global, Log};
use crate::model::{FormulaRef, nearest};
use crate::sys::fs as sysfs;
use crate::ui::{self, ExitKind};

/// Prints the newest log that is meant.
pub(super) fn run(global: &Global, args: &Log) -> Result<Done, Failure> {
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let logs = logs(&session.store.root().join("logs"))?;
    let wanted = args.build.as_deref();
    let Some((_, path)) = logs.iter().find(|(head, _)| is_meant(head, wanted)) else {
        return Err(none(
            wanted,
            &logs.iter().map(|(head, _)| head).collect::<Vec<_>>(),
        ));
    };
    ui::print_log(BufReader::new(sysfs::open(path)?))?;
    Ok(Done::Here)
}

/// Whether a log is one that the user may mean: by a formula, or by the beginning of a build id.
fn is_meant(head: &LogHead, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    match wanted.parse::<FormulaRef>() {
        Ok(reference) => head.reference == reference,
        Err(_) => wanted.len() >= 4 && head.build.to_string().starts_with(wanted),
    }
}

fn none(wanted: Option<&str>, heads: &[&LogHead]) -> Failure {
    let Some(wanted) = wanted else {
        return Failure::new(ExitKind::Usage, "nothing has been built on this host yet");
    };
    let failure = Failure::new(ExitKind::Usage, format!("there is no log of `{wanted}`"));
    let names: Vec<String> = heads
        .iter()
        .map(|head| head.reference.to_string())
        .collect();
    match nearest(wanted, names.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("there is one of {near}")),
        None => failure.hint("name a formula (python-3.11.2) or the beginning of a build id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    #[test]
    fn a_log_is_meant_by_its_formula_or_its_build_id() {
        let head = LogHead {
            build: Sha256::of(b"abc"), // ba7816bf…
            stack: "debian-12".parse().expect("a name"),
            reference: "python-3.11.2".parse().expect("a reference"),
            profile: "plain".to_owned(),
        };
        let table = [
            (None, true),
            (Some("python-3.11.2"), true),
            (Some("python-3.11.3"), false),
            (Some("ba7816"), true),
            (Some("ba7"), false),
            (Some("ba7817"), false),
        ];
        for (wanted, meant) in table {
            assert_eq!(is_meant(&head, wanted), meant, "{wanted:?}");
        }
    }
}
