//! When to try again, which URL and how soon: a pure function of what went wrong.

use std::time::{Duration, SystemTime};

use super::{Settings, Trouble};

/// How many tries a URL deserves that failed like this.
pub(crate) fn tries(trouble: &Trouble, settings: &Settings) -> u32 {
    match trouble {
        // The server is busy or broken, the line is bad, or what was there before was.
        Trouble::Status {
            code: 408 | 425 | 429 | 500 | 502..=504 | 506..=599,
            ..
        }
        | Trouble::ConnectTimeout(_)
        | Trouble::Idle(_)
        | Trouble::Slow { .. }
        | Trouble::Broken(_)
        | Trouble::Short { .. }
        | Trouble::Unfit => settings.tries,
        // Mostly for good (no network, no such host), but a server may be restarting.
        Trouble::Name | Trouble::Connect(_) => settings.tries.min(2),
        Trouble::Status { .. }
        | Trouble::Url(_)
        | Trouble::Tls(_)
        | Trouble::Redirect(_)
        | Trouble::Protocol(_)
        | Trouble::Size { .. }
        | Trouble::TooLong(_)
        | Trouble::Digest(_)
        | Trouble::Unauthorized(_)
        | Trouble::File(_) => 1,
    }
}

/// How long to wait after so many failures: doubling from `backoff` up to `backoff_max`, and of
/// that between half and all, as `jitter` (0 to 1) says, so that many clients do not come back
/// together.
pub(crate) fn backoff(failures: u32, jitter: f64, settings: &Settings) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    let most = settings.backoff.saturating_mul(doubled);
    most.min(settings.backoff_max)
        .mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.5, 0.5))
}

/// Reads a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let at = SystemTime::from(date.timestamp());
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Try the URL of this number, after so long.
    Try { url: usize, wait: Duration },
    /// There is nothing left to try.
    GiveUp,
}

/// The course of one download over its URLs. Times are counted from its beginning.
pub(super) struct Schedule<'a> {
    settings: &'a Settings,
    urls: Vec<Course>,
}

#[derive(Clone, Copy, Default)]
struct Course {
    failures: u32,
    due: Duration,
    dead: bool,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(urls: usize, settings: &'a Settings) -> Self {
        Self {
            settings,
            urls: vec![Course::default(); urls],
        }
    }

    /// Whichever URL is due first, in order of preference: so each is tried once, without a
    /// pause, before any is tried again.
    pub(super) fn next(&self, now: Duration) -> Step {
        let alive = self.urls.iter().enumerate().filter(|(_, url)| !url.dead);
        match alive.min_by_key(|(_, url)| url.due) {
            Some((url, course)) if course.due <= self.settings.deadline => Step::Try {
                url,
                wait: course.due.saturating_sub(now),
            },
            _ => Step::GiveUp,
        }
    }

    /// Takes note of a failure. One that got further than any before (`progressed`) does not
    /// count against the URL: a long download over a bad line is to end some day.
    pub(super) fn failed(
        &mut self,
        url: usize,
        trouble: &Trouble,
        progressed: bool,
        now: Duration,
        jitter: f64,
    ) {
        let course = &mut self.urls[url];
        course.failures = if progressed { 1 } else { course.failures + 1 };
        course.dead = course.failures >= tries(trouble, self.settings);
        let asked = match trouble {
            Trouble::Status {
                retry_after: Some(asked),
                ..
            } => (*asked).min(self.settings.retry_after_max),
            _ => Duration::ZERO,
        };
        course.due = now + backoff(course.failures, jitter, self.settings).max(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sha256;

    const fn status(code: u16) -> Trouble {
        Trouble::Status {
            code,
            retry_after: None,
        }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let settings = Settings::default();
        for code in [408, 425, 429, 500, 502, 503, 504, 520, 599] {
            assert_eq!(tries(&status(code), &settings), settings.tries, "{code}");
        }
        for code in [300, 304, 400, 401, 403, 404, 410, 416, 418, 451, 501, 505] {
            assert_eq!(tries(&status(code), &settings), 1, "{code}");
        }
        let refused = Trouble::Connect("refused".into());
        assert_eq!(tries(&refused, &settings), 2);
        assert_eq!(tries(&Trouble::Digest(Sha256::of(b"")), &settings), 1);
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let settings = Settings::default();
        let table = [
            (1, 0.5),
            (2, 1.0),
            (3, 2.0),
            (5, 8.0),
            (6, 10.0),
            (60, 10.0),
        ];
        for (failures, most) in table {
            assert_eq!(backoff(failures, 1.0, &settings), seconds(most));
            assert_eq!(backoff(failures, 0.0, &settings), seconds(most / 2.0));
        }
    }

    #[test]
    fn servers_are_left_alone_as_they_ask() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let table = [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
        ];
        for (value, expected) in table {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value}");
        }
    }

    #[test]
    fn every_url_has_its_turn_before_any_pause() {
        let settings = Settings::default();
        let mut schedule = Schedule::new(3, &settings);
        let now = seconds(1.0);
        for (url, trouble) in [status(503), status(404), Trouble::Name].iter().enumerate() {
            let wait = Duration::ZERO;
            assert_eq!(schedule.next(now), Step::Try { url, wait });
            schedule.failed(url, trouble, false, now, 1.0);
        }
        // The second is gone for good; the third has one try more, the first all of them.
        let wait = seconds(0.5);
        assert_eq!(schedule.next(now), Step::Try { url: 0, wait });
        schedule.failed(0, &status(503), false, seconds(1.5), 1.0);
        let later = seconds(1.6);
        let wait = Duration::ZERO;
        assert_eq!(schedule.next(later), Step::Try { url: 2, wait });
        schedule.failed(2, &Trouble::Name, false, later, 1.0);
        let mut now = later;
        for tried in 2..settings.tries {
            let Step::Try { url: 0, wait } = schedule.next(now) else {
                panic!("tried only {tried} times");
            };
            now += wait;
            schedule.failed(0, &status(503), false, now, 1.0);
        }
        assert_eq!(schedule.next(now), Step::GiveUp);
    }

    #[test]
    fn what_servers_ask_is_bounded_and_the_deadline_holds() {
        let settings = Settings::default();
        let mut schedule = Schedule::new(1, &settings);
        let busy = Trouble::Status {
            code: 429,
            retry_after: Some(Duration::from_secs(86_400)),
        };
        schedule.failed(0, &busy, false, Duration::ZERO, 0.0);
        let wait = settings.retry_after_max;
        assert_eq!(schedule.next(Duration::ZERO), Step::Try { url: 0, wait });
        schedule.failed(0, &busy, false, settings.deadline, 0.0);
        assert_eq!(schedule.next(settings.deadline), Step::GiveUp);
    }

    #[test]
    fn progress_forgives() {
        let settings = Settings::default();
        let mut schedule = Schedule::new(1, &settings);
        let broken = Trouble::Broken("reset".into());
        for _ in 0..10 * settings.tries {
            schedule.failed(0, &broken, true, Duration::ZERO, 0.0);
            assert_ne!(schedule.next(Duration::ZERO), Step::GiveUp);
        }
        for _ in 1..settings.tries {
            schedule.failed(0, &broken, false, Duration::ZERO, 0.0);
        }
        assert_eq!(schedule.next(Duration::ZERO), Step::GiveUp);
    }

    #[test]
    fn without_urls_there_is_nothing_to_try() {
        let settings = Settings::default();
        assert_eq!(
            Schedule::new(0, &settings).next(Duration::ZERO),
            Step::GiveUp
        );
    }
}
