//! Progress as lines that redraw themselves: for a person at a terminal.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::model::{Amount, Bytes, Elapsed, Event, PhaseId};

use super::plain::{abandoned_line, done_line, note_line, warning_line};
use super::style::Palette;
use super::text;

/// How often the screen changes: often enough to look alive, seldom enough to cost nothing.
const REFRESH_HZ: u8 = 10;
/// Columns of a title in a line that redraws itself; the line that stays has all of it.
const TITLE_COLUMNS: usize = 40;

/// A line or two for each phase under way, below lines that stay.
pub(super) struct Live {
    multi: MultiProgress,
    /// The same terminal, for the lines that stay.
    out: Box<dyn Write + Send>,
    palette: Palette,
    phases: Vec<Drawn>,
}

struct Drawn {
    id: PhaseId,
    title: String,
    total: Amount,
    detailed: bool,
    bar: ProgressBar,
}

impl Live {
    /// On standard error.
    pub(super) fn stderr(palette: Palette) -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(REFRESH_HZ);
        Self::on(target, Box::new(io::stderr()), palette)
    }

    /// On any terminal.
    pub(super) fn on(
        target: ProgressDrawTarget,
        out: Box<dyn Write + Send>,
        palette: Palette,
    ) -> Self {
        Self {
            multi: MultiProgress::with_draw_target(target),
            out,
            palette,
            phases: Vec::new(),
        }
    }

    /// The terminal itself, to clear it while someone else writes to it.
    pub(super) fn multi(&self) -> MultiProgress {
        self.multi.clone()
    }

    /// Shows an event.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Begin { id, title, total } => self.begin(*id, title, *total),
            Event::Advance { id, by } => {
                if let Some(phase) = self.phase(*id) {
                    phase.bar.inc(*by);
                }
            }
            Event::Detail { id, text } => {
                let palette = self.palette;
                if let Some(phase) = self.phase(*id) {
                    phase.detail(palette, text);
                }
            }
            Event::Done {
                id,
                elapsed,
                outcome,
            } => {
                if let Some(phase) = self.end(*id) {
                    let outcome = outcome.as_deref();
                    self.say(&done_line(self.palette, &phase.title, *elapsed, outcome));
                }
            }
            Event::Abandoned { id, elapsed } => {
                if let Some(phase) = self.end(*id) {
                    self.say(&abandoned_line(self.palette, &phase.title, *elapsed));
                }
            }
            Event::Note(text) => self.say(&note_line(self.palette, text)),
            Event::Warning(text) => self.say(&warning_line(self.palette, text)),
        }
    }

    fn begin(&mut self, id: PhaseId, title: &str, total: Amount) {
        let title = text::clean(title);
        let length = match total {
            Amount::Bytes(total) | Amount::Items(total) if total > 0 => Some(total),
            _ => None,
        };
        let bar = match length {
            Some(length) => ProgressBar::new(length),
            None => ProgressBar::no_length(),
        };
        let bar = bar
            .with_style(style(total, self.palette, false))
            .with_prefix(text::truncate(&title, TITLE_COLUMNS));
        let bar = self.multi.add(bar);
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(REFRESH_HZ)));
        self.phases.push(Drawn {
            id,
            title,
            total,
            detailed: false,
            bar,
        });
    }

    fn phase(&mut self, id: PhaseId) -> Option<&mut Drawn> {
        self.phases.iter_mut().find(|phase| phase.id == id)
    }

    fn end(&mut self, id: PhaseId) -> Option<Drawn> {
        let at = self.phases.iter().position(|phase| phase.id == id)?;
        let phase = self.phases.remove(at);
        phase.bar.finish_and_clear();
        self.multi.remove(&phase.bar);
        Some(phase)
    }

    /// A line that stays. Not `MultiProgress::println`: that fills lines up with spaces instead of
    /// ending them, and what is written next would continue the line. A terminal that went away
    /// is nobody's error.
    fn say(&mut self, line: &str) {
        let out = &mut self.out;
        self.multi.suspend(|| {
            let _ = out.write_all(format!("{line}\n").as_bytes());
            let _ = out.flush();
        });
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.multi.clear();
    }
}

impl Drawn {
    fn detail(&mut self, palette: Palette, text: &str) {
        let text = text::redact(&text::clean(text));
        if text.is_empty() {
            return;
        }
        if !self.detailed {
            self.detailed = true;
            self.bar.set_style(style(self.total, palette, true));
        }
        self.bar.set_message(text);
    }
}

/// What a running phase looks like: a bar where the amount is known, else a spinner, and below it
/// the newest detail once there is one.
fn style(total: Amount, palette: Palette, detailed: bool) -> ProgressStyle {
    let first = match total {
        Amount::Bytes(1..) => {
            "{spinner} {prefix}  [{bar:16}] {percent:>3} % of {all_bytes}  {rate}  {took}"
        }
        Amount::Items(1..) => "{spinner} {prefix}  [{bar:16}] {pos} of {len}  {took}",
        Amount::Bytes(0) => "{spinner} {prefix}  {done_bytes}  {rate}  {took}",
        Amount::Items(0) | Amount::Unknown => "{spinner} {prefix}  {took}",
    };
    let template = if detailed {
        // Not `{wide_msg:.dim}`: indicatif would ask standard output whether to colour.
        format!("{first}\n  {}", palette.faint("{wide_msg}"))
    } else {
        first.to_owned()
    };
    ProgressStyle::with_template(&template)
        .expect("the templates above are well-formed")
        .progress_chars("=> ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        .with_key(
            "done_bytes",
            |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{}", Bytes(state.pos()));
            },
        )
        .with_key(
            "all_bytes",
            |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{}", Bytes(state.len().unwrap_or_default()));
            },
        )
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}/s", Bytes(whole(state.per_sec())));
        })
        .with_key("took", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", ticking(state.elapsed()));
        })
}

/// A rate as a number of bytes: indicatif's estimate can be any float.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, NaN becomes 0
fn whole(rate: f64) -> u64 {
    rate as u64
}

/// A duration that is still growing: seconds are precise enough, and do not flicker.
fn ticking(elapsed: Duration) -> String {
    if elapsed < Duration::from_secs(60) {
        format!("{} s", elapsed.as_secs())
    } else {
        Elapsed(elapsed).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plain::tests::phase_ids;
    use super::*;
    use indicatif::TermLike;
    use std::sync::{Arc, Mutex};

    /// A terminal that remembers what was written to it.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn take(&self) -> String {
            std::mem::take(&mut self.0.lock().expect("no panic holds it"))
        }

        fn put(&self, text: &str) {
            self.0.lock().expect("no panic holds it").push_str(text);
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.put(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.put(text);
            self.put("\n");
            Ok(())
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.put(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on_screen(palette: Palette) -> (Screen, Live) {
        let screen = Screen::default();
        // No rate limit: every change is drawn, whenever the test runs.
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        (screen.clone(), Live::on(target, Box::new(screen), palette))
    }

    fn begin(id: PhaseId, total: Amount) -> Event {
        let title = "making python-3.11.2".to_owned();
        Event::Begin { id, title, total }
    }

    #[test]
    fn a_phase_is_drawn_while_it_runs_and_stays_as_a_line() {
        let (screen, mut live) = on_screen(Palette::default());
        let [id] = phase_ids();
        live.event(&begin(id, Amount::Items(4)));
        live.event(&Event::Advance { id, by: 1 });
        let text = format!("\x1b[31mgcc\x07 -c {}", "x".repeat(200));
        live.event(&Event::Detail { id, text });
        live.phases[0].bar.force_draw();
        let drawn = screen.take();
        assert!(drawn.contains("making python-3.11.2  ["), "{drawn:?}");
        assert!(drawn.contains("1 of 4"), "{drawn:?}");
        assert!(drawn.contains("  gcc -c xxx"), "{drawn:?}");
        assert!(!drawn.contains(['\x1b', '\x07']), "{drawn:?}");
        // 60 columns, less `  gcc -c `.
        assert!(drawn.contains(&"x".repeat(51)), "{drawn:?}");
        assert!(!drawn.contains(&"x".repeat(52)), "{drawn:?}");
        live.event(&Event::Done {
            id,
            elapsed: Duration::from_secs(2),
            outcome: Some("fine".to_owned()),
        });
        let drawn = screen.take();
        let said = "✓ made python-3.11.2  2.0 s  (fine)";
        assert!(drawn.contains(said), "{drawn:?}");
        assert!(live.phases.is_empty());
    }

    #[test]
    fn lines_stay_while_nothing_runs() {
        let (screen, mut live) = on_screen(Palette::new(true));
        live.event(&Event::Warning("slow".to_owned()));
        live.event(&Event::Note("reusing".to_owned()));
        let [id] = phase_ids();
        live.event(&begin(id, Amount::Bytes(10)));
        let elapsed = Duration::from_secs(1);
        live.event(&Event::Abandoned { id, elapsed });
        let drawn = screen.take();
        assert!(
            drawn.contains("\x1b[1;33mwarning:\x1b[0m slow"),
            "{drawn:?}"
        );
        assert!(drawn.contains("reusing"), "{drawn:?}");
        assert!(
            drawn.contains("✗\x1b[0m making python-3.11.2  1.0 s"),
            "{drawn:?}"
        );
    }

    #[test]
    fn every_kind_of_amount_has_a_look() {
        for total in [
            Amount::Unknown,
            Amount::Items(0),
            Amount::Items(9),
            Amount::Bytes(0),
            Amount::Bytes(9),
        ] {
            let (screen, mut live) = on_screen(Palette::default());
            let [id] = phase_ids();
            live.event(&begin(id, total));
            live.phases[0].bar.force_draw();
            let drawn = screen.take();
            assert!(drawn.contains("making python-3.11.2"), "{drawn:?}");
            assert!(!drawn.contains('{'), "{drawn:?}");
        }
    }

    #[test]
    fn growing_durations_do_not_flicker() {
        assert_eq!(ticking(Duration::from_millis(2900)), "2 s");
        assert_eq!(ticking(Duration::from_secs(61)), "1 min 01 s");
        assert_eq!(whole(f64::NAN), 0);
        assert_eq!(whole(1e300), u64::MAX);
    }
}
