//! `pybuild doctor`: what this host can do.

use super::session::{Opened, Session};
use super::{Done, Failure};
use crate::cli::Global;
use crate::sandbox::doctor::{self, Verdict};
use crate::ui::{self, Doctor, ExitKind, Line, Mark};

/// Examines the host. What is missing makes the exit code 3.
pub(super) fn run(global: &Global) -> Result<Done, Failure> {
    let session = match Session::open(global, None)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let scratch = session.store.scratch()?;
    let line = |finding: doctor::Finding| Line {
        what: finding.what.to_owned(),
        verdict: match finding.verdict {
            Verdict::Fine => Mark::Fine,
            Verdict::Degraded => Mark::Degraded,
            Verdict::Missing => Mark::Missing,
        },
        detail: finding.detail,
        remedy: finding.remedy,
    };
    let found = doctor::examine(scratch.path());
    let report = Doctor::new(found.into_iter().map(line).collect());
    if global.json {
        ui::print_json(&report)?;
    } else {
        ui::print(&report.render(session.ui.palette()))?;
    }
    Ok(if report.able {
        Done::Here
    } else {
        Done::Code(ExitKind::CannotSandbox.code())
    })
}
