//! Progress as lines that stay: for logs, pipes and `--verbose`. Pure: events in, lines out.

use std::time::{Duration, Instant};

use crate::model::{Amount, Bytes, Elapsed, Event, PhaseId};

use super::style::Palette;
use super::text;

/// How often a phase that is still running says so.
const BEAT: Duration = Duration::from_secs(30);
/// Columns of the newest detail in a heartbeat.
const DETAIL_COLUMNS: usize = 100;

/// What of the talk is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volume {
    /// Warnings alone.
    Quiet,
    /// Beginnings, ends, notes, heartbeats.
    Normal,
    /// Every detail too.
    Verbose,
}

/// The phases under way, and how they are told.
pub(super) struct Plain {
    palette: Palette,
    volume: Volume,
    /// In the order in which they began.
    running: Vec<Running>,
}

struct Running {
    id: PhaseId,
    title: String,
    total: Amount,
    position: u64,
    detail: String,
    began: Instant,
    next_beat: Instant,
}

impl Plain {
    /// With nothing under way.
    pub(super) fn new(palette: Palette, volume: Volume) -> Self {
        Self {
            palette,
            volume,
            running: Vec::new(),
        }
    }

    /// Takes in an event at `now` and gives the line it is worth, if any.
    pub(super) fn event(&mut self, event: &Event, now: Instant) -> Option<String> {
        let loud = self.volume != Volume::Quiet;
        match event {
            Event::Begin { id, title, total } => {
                let title = text::clean(title);
                let line = format!("  {title}");
                self.running.push(Running {
                    id: *id,
                    title,
                    total: *total,
                    position: 0,
                    detail: String::new(),
                    began: now,
                    next_beat: now + BEAT,
                });
                loud.then_some(line)
            }
            Event::Advance { id, by } => {
                if let Some(running) = self.running(*id) {
                    running.position = running.position.saturating_add(*by);
                }
                None
            }
            Event::Detail { id, text } => {
                let detail = text::redact(&text::clean(text));
                let verbose = self.volume == Volume::Verbose && !detail.is_empty();
                let line = verbose.then(|| self.palette.faint(format_args!("  | {detail}")));
                if let Some(running) = self.running(*id).filter(|_| !detail.is_empty()) {
                    running.detail = detail;
                }
                line
            }
            Event::Done {
                id,
                elapsed,
                outcome,
            } => {
                let running = self.end(*id)?;
                let line = done_line(self.palette, &running.title, *elapsed, outcome.as_deref());
                loud.then_some(line)
            }
            Event::Abandoned { id, elapsed } => {
                let running = self.end(*id)?;
                loud.then(|| abandoned_line(self.palette, &running.title, *elapsed))
            }
            Event::Note(text) => loud.then(|| note_line(self.palette, text)),
            Event::Warning(text) => Some(warning_line(self.palette, text)),
        }
    }

    /// The lines of the phases that have been silent for long enough at `now`.
    pub(super) fn beat(&mut self, now: Instant) -> Vec<String> {
        let due = self.running.iter_mut().filter(|it| it.next_beat <= now);
        due.map(|running| {
            // From now, not from when it was due: after a suspended machine wakes up, one line
            // is enough.
            running.next_beat = now + BEAT;
            running.line(now)
        })
        .collect()
    }

    /// When [`Self::beat`] has something to say next, if anything runs and may be told.
    pub(super) fn next_beat(&self) -> Option<Instant> {
        if self.volume == Volume::Quiet {
            return None;
        }
        self.running.iter().map(|running| running.next_beat).min()
    }

    fn running(&mut self, id: PhaseId) -> Option<&mut Running> {
        self.running.iter_mut().find(|running| running.id == id)
    }

    fn end(&mut self, id: PhaseId) -> Option<Running> {
        let at = self.running.iter().position(|running| running.id == id)?;
        Some(self.running.remove(at))
    }
}

impl Running {
    /// `… making python-3.11.2  1 min 30 s  43 %`
    fn line(&self, now: Instant) -> String {
        let elapsed = Elapsed(now.saturating_duration_since(self.began));
        let mut line = format!("… {}  {elapsed}", self.title);
        let known = progress(self.total, self.position);
        for part in [known.as_str(), &self.detail] {
            if !part.is_empty() {
                line.push_str("  ");
                line.push_str(&text::truncate(part, DETAIL_COLUMNS));
            }
        }
        line
    }
}

/// How far a phase is: `43 % of 101.2 MB`, `12 of 143`, or nothing.
fn progress(total: Amount, position: u64) -> String {
    match total {
        Amount::Bytes(total) if total > 0 => {
            format!("{} % of {}", percent(position, total), Bytes(total))
        }
        Amount::Items(total) if total > 0 => format!("{} of {total}", position.min(total)),
        Amount::Bytes(_) if position > 0 => Bytes(position).to_string(),
        _ => String::new(),
    }
}

fn percent(position: u64, total: u64) -> u64 {
    let percent = u128::from(position.min(total)) * 100 / u128::from(total.max(1));
    u64::try_from(percent).unwrap_or(100)
}

/// `✓ configured python-3.11.2  28.1 s  (outcome)`
pub(super) fn done_line(
    palette: Palette,
    title: &str,
    elapsed: Duration,
    outcome: Option<&str>,
) -> String {
    let mark = palette.good('✓');
    let (past, elapsed) = (text::past(title), Elapsed(elapsed));
    let mut line = format!("{mark} {past}  {elapsed}");
    if let Some(outcome) = outcome {
        let outcome = format!("({})", text::redact(&text::clean(outcome)));
        line.push_str("  ");
        line.push_str(&palette.faint(outcome));
    }
    line
}

/// `✗ making python-3.11.2  12.3 s`
pub(super) fn abandoned_line(palette: Palette, title: &str, elapsed: Duration) -> String {
    format!("{} {title}  {}", palette.bad('✗'), Elapsed(elapsed))
}

/// `· reusing sqlite-3.46.1`
pub(super) fn note_line(palette: Palette, text: &str) -> String {
    let text = text::redact(&text::clean(text));
    format!("{} {text}", palette.faint('·'))
}

/// `warning: …`
pub(super) fn warning_line(palette: Palette, text: &str) -> String {
    let text = text::redact(&text::clean(text));
    format!("{} {text}", palette.warn("warning:"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::Observer;
    use std::sync::Mutex;

    /// Phase ids can only come from phases: makes some.
    pub(in crate::ui) fn phase_ids<const N: usize>() -> [PhaseId; N] {
        struct Ids(Mutex<Vec<PhaseId>>);
        impl Observer for Ids {
            fn event(&self, event: Event) {
                if let Event::Begin { id, .. } = event {
                    self.0.lock().expect("no panic holds it").push(id);
                }
            }
        }
        let ids = Ids(Mutex::default());
        let observer: &dyn Observer = &ids;
        for _ in 0..N {
            drop(observer.phase("", Amount::Unknown));
        }
        let ids = ids.0.into_inner().expect("no panic holds it");
        ids.try_into().expect("one id a phase")
    }

    /// A build told at made-up times: seconds, then the event.
    fn script() -> Vec<(u64, Event)> {
        let [fetch, make] = phase_ids();
        let detail = |text: &str| Event::Detail {
            id: make,
            text: text.to_owned(),
        };
        vec![
            (
                0,
                Event::Begin {
                    id: fetch,
                    title: "fetching 143 packages".to_owned(),
                    total: Amount::Bytes(100_000_000),
                },
            ),
            (
                20,
                Event::Advance {
                    id: fetch,
                    by: 25_000_000,
                },
            ),
            (
                31,
                Event::Advance {
                    id: fetch,
                    by: 18_000_000,
                },
            ),
            (
                32,
                Event::Warning("the mirror https://u:p@example.org is \x1b[31mslow".to_owned()),
            ),
            (
                40,
                Event::Done {
                    id: fetch,
                    elapsed: Duration::from_secs(40),
                    outcome: Some("143 packages, 101.2 MB".to_owned()),
                },
            ),
            (40, Event::Note("reusing sqlite-3.46.1".to_owned())),
            (
                40,
                Event::Begin {
                    id: make,
                    title: "making python-3.11.2".to_owned(),
                    total: Amount::Unknown,
                },
            ),
            (41, detail("\x1b[2Kgcc -c Parser/parser.c\r\n")),
            (42, detail("")),
            (101, detail("gcc -c Objects/\x1b]0;owned\x07longobject.c")),
            (
                110,
                Event::Abandoned {
                    id: make,
                    elapsed: Duration::from_secs(70),
                },
            ),
        ]
    }

    /// What a log would hold if the clock were looked at every second.
    fn told(volume: Volume, palette: Palette) -> String {
        let start = Instant::now();
        let mut plain = Plain::new(palette, volume);
        let mut lines = Vec::new();
        let mut script = script().into_iter().peekable();
        for second in 0..=120 {
            let now = start + Duration::from_secs(second);
            while let Some((_, event)) = script.next_if(|(at, _)| *at <= second) {
                lines.extend(plain.event(&event, now));
            }
            if plain.next_beat().is_some_and(|at| at <= now) {
                lines.extend(plain.beat(now));
            }
        }
        assert_eq!(plain.next_beat(), None);
        lines.join("\n")
    }

    #[test]
    fn a_log_tells_beginnings_ends_and_that_it_is_alive() {
        insta::assert_snapshot!(told(Volume::Normal, Palette::default()), @r"
          fetching 143 packages
        … fetching 143 packages  30.0 s  25 % of 100.0 MB
        warning: the mirror https://***@example.org is slow
        ✓ fetched 143 packages  40.0 s  (143 packages, 101.2 MB)
        · reusing sqlite-3.46.1
          making python-3.11.2
        … making python-3.11.2  30.0 s  gcc -c Parser/parser.c
        … making python-3.11.2  1 min 00 s  gcc -c Parser/parser.c
        ✗ making python-3.11.2  1 min 10 s
        ");
    }

    #[test]
    fn verbose_tells_every_detail_and_quiet_only_warnings() {
        let verbose = told(Volume::Verbose, Palette::default());
        assert!(verbose.contains("\n  | gcc -c Parser/parser.c\n"));
        assert!(verbose.contains("\n  | gcc -c Objects/longobject.c\n"));
        assert_eq!(
            told(Volume::Quiet, Palette::default()),
            "warning: the mirror https://***@example.org is slow"
        );
    }

    #[test]
    fn without_colour_there_is_no_control_character() {
        let controls = |text: String| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!controls(told(Volume::Verbose, Palette::new(false))));
        assert!(controls(told(Volume::Verbose, Palette::new(true))));
    }

    #[test]
    fn nobody_waits_for_a_heartbeat_that_is_never_told() {
        let [id] = phase_ids();
        let begin = Event::Begin {
            id,
            title: "making".to_owned(),
            total: Amount::Unknown,
        };
        let now = Instant::now();
        for (volume, at) in [(Volume::Quiet, None), (Volume::Normal, Some(now + BEAT))] {
            let mut plain = Plain::new(Palette::default(), volume);
            plain.event(&begin, now);
            assert_eq!(plain.next_beat(), at);
        }
    }

    #[test]
    fn an_end_without_a_beginning_says_nothing() {
        let [id] = phase_ids();
        let elapsed = Duration::from_secs(1);
        let mut plain = Plain::new(Palette::default(), Volume::Normal);
        let event = Event::Abandoned { id, elapsed };
        assert_eq!(plain.event(&event, Instant::now()), None);
    }

    #[test]
    fn progress_is_told_as_far_as_it_is_known() {
        let table = [
            (Amount::Bytes(200), 50, "25 % of 200 B"),
            (Amount::Bytes(200), 500, "100 % of 200 B"),
            (Amount::Bytes(0), 0, ""),
            (Amount::Bytes(0), 7, "7 B"),
            (Amount::Items(143), 12, "12 of 143"),
            (Amount::Items(3), 12, "3 of 3"),
            (Amount::Unknown, 12, ""),
            (Amount::Bytes(u64::MAX), u64::MAX, "100 % of 18446744.1 TB"),
        ];
        for (total, position, text) in table {
            assert_eq!(progress(total, position), text);
        }
    }
}
