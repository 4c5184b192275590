//! `pybuild gc`: gives up the uploads to a target that nobody is going to finish.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::session::Opened;
use super::target::Outlets;
use super::{Done, Failure};
use crate::cli::{Gc, Global};
use crate::model::Elapsed;
use crate::publish::{Remote, StaleUpload};
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, Align, ExitKind, Table};

/// Gives up what is old enough, and tells what that was.
pub(super) fn run(global: &Global, args: &Gc) -> Result<Done, Failure> {
    let outlets = Outlets::to_publish(&args.targets)?;
    if args.dry_run {
        let remote = outlets.look(global)?;
        let interrupt = Interrupt::install()
            .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("sigaction: {errno}")))?;
        let (old, young) = look(&remote, args.older_than, &interrupt)?;
        return tell(global, &remote, "would be given up", &old, &young);
    }
    let session = match outlets.session(global)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let remote = outlets.remote()?;
    let (old, young) = look(&remote, args.older_than, &session.interrupt)?;
    for upload in &old {
        remote.abort(upload, &session.interrupt)?;
    }
    tell(global, &remote, "given up", &old, &young)
}

fn look(
    remote: &Remote,
    older_than: Duration,
    interrupt: &Interrupt,
) -> Result<(Vec<StaleUpload>, Vec<StaleUpload>), Failure> {
    let Some(uploads) = remote.stale_uploads(interrupt)? else {
        let why = format!("{} does not list its unfinished uploads", remote.target());
        let failure = Failure::new(ExitKind::Usage, why);
        return Err(failure.hint(
            "a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) gives them up",
        ));
    };
    Ok(by_age(uploads, now(), older_than))
}

/// Those at least so old, and the others: an upload that is under way looks just the same.
fn by_age(
    uploads: Vec<StaleUpload>,
    now: i64,
    older_than: Duration,
) -> (Vec<StaleUpload>, Vec<StaleUpload>) {
    let least = i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX);
    uploads
        .into_iter()
        .partition(|upload| now.saturating_sub(upload.started) >= least)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn tell(
    global: &Global,
    remote: &Remote,
    done: &str,
    old: &[StaleUpload],
    young: &[StaleUpload],
) -> Result<Done, Failure> {
    if global.json {
        ui::print_json(&serde_json::json!({
            "target": remote.target().to_string(),
            "old": old,
            "young": young,
        }))?;
        return Ok(Done::Here);
    }
    let now = now();
    let mut table = Table::new([Align::Left, Align::Right]);
    for upload in old {
        let age = u64::try_from(now.saturating_sub(upload.started)).unwrap_or(0);
        let age = Elapsed(Duration::from_secs(age));
        table.row([upload.key.clone(), format!("begun {age} ago")]);
    }
    ui::print(&table.render())?;
    ui::print(&format!(
        "{} unfinished uploads {done} in {}, {} younger ones left alone\n",
        old.len(),
        remote.target(),
        young.len()
    ))?;
    Ok(Done::Here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_enough_is_given_up() {
        let upload = |started| StaleUpload {
            key: "k".to_owned(),
            id: "i".to_owned(),
            started,
        };
        let now = 100_000;
        let hour = Duration::from_secs(3600);
        // (when it was begun, whether it is given up); one of the future is a clock's mistake.
        for (started, old) in [
            (now - 3600, true),
            (now - 3599, false),
            (now, false),
            (now + 50, false),
            (0, true),
            (i64::MIN, true),
        ] {
            let (given_up, left) = by_age(vec![upload(started)], now, hour);
            assert_eq!(
                (given_up.len() == 1, left.is_empty()),
                (old, old),
                "{started}"
            );
        }
        let (given_up, _) = by_age(vec![upload(0)], now, Duration::MAX);
        assert!(given_up.is_empty());
    }
}
