//! The observer behind the command line: hears every room, tells a person at standard error.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::model::{Event, Observer, PhaseId};

use super::live::Live;
use super::plain::{Plain, Volume};
use super::style::{Manner, Palette, Wish};
use super::summary::PhaseTime;
use super::text;

/// Shows progress: bars on a terminal, plain lines elsewhere. Starts no thread and draws nothing
/// before the first event.
pub struct Terminal {
    shared: Arc<Shared>,
    palette: Palette,
}

struct Shared {
    state: Mutex<State>,
    /// The next heartbeat may have changed, or there will be none.
    changed: Condvar,
}

struct State {
    voice: Voice,
    /// Phases under way, to know a phase's title at its end.
    titles: Vec<(PhaseId, String)>,
    times: Vec<PhaseTime>,
    heart: Option<JoinHandle<()>>,
    closed: bool,
}

enum Voice {
    Live(Live),
    Plain(Plain, Box<dyn Write + Send>),
}

impl Terminal {
    /// Standard error, in the manner that the flags and the environment ask for.
    pub fn new(wish: Wish) -> Self {
        let manner = Manner::decide(wish, io::stderr().is_terminal(), |name| {
            std::env::var(name).ok()
        });
        let palette = Palette::new(manner.color);
        let voice = if manner.live {
            Voice::Live(Live::stderr(palette))
        } else {
            let plain = Plain::new(palette, Volume::of(wish));
            Voice::Plain(plain, Box::new(io::stderr()))
        };
        Self::with(voice, palette)
    }

    fn with(voice: Voice, palette: Palette) -> Self {
        let state = State {
            voice,
            titles: Vec::new(),
            times: Vec::new(),
            heart: None,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Condvar::new(),
            }),
            palette,
        }
    }

    /// How to paint on standard error.
    pub fn palette(&self) -> Palette {
        self.palette
    }

    /// What each phase that ended well took, in the order in which they ended.
    pub fn times(&self) -> Vec<PhaseTime> {
        self.shared.lock().times.clone()
    }

    /// Clears the bars while `work` has the terminal to itself: an interactive shell, say.
    pub fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        let multi = match &self.shared.lock().voice {
            Voice::Live(live) => Some(live.multi()),
            Voice::Plain(..) => None,
        };
        match multi {
            Some(multi) => multi.suspend(work),
            None => work(),
        }
    }
}

impl Observer for Terminal {
    fn event(&self, event: Event) {
        let mut state = self.shared.lock();
        state.keep_time(&event);
        let begins = matches!(event, Event::Begin { .. });
        match &mut state.voice {
            Voice::Live(live) => live.event(&event),
            Voice::Plain(plain, out) => {
                if let Some(line) = plain.event(&event, Instant::now()) {
                    write_line(out, &line);
                }
                if begins && plain.next_beat().is_some() {
                    self.shared.keep_alive(&mut state);
                }
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let heart = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.heart.take()
        };
        self.shared.changed.notify_all();
        if let Some(heart) = heart {
            // A heart that panicked has been told on standard error already.
            let _ = heart.join();
        }
    }
}

impl State {
    fn keep_time(&mut self, event: &Event) {
        let (id, ended_well) = match event {
            Event::Begin { id, title, .. } => {
                self.titles.push((*id, text::clean(title)));
                return;
            }
            Event::Done { id, elapsed, .. } => (id, Some(*elapsed)),
            Event::Abandoned { id, .. } => (id, None),
            Event::Advance { .. } | Event::Detail { .. } | Event::Note(_) | Event::Warning(_) => {
                return;
            }
        };
        if let Some(at) = self.titles.iter().position(|(known, _)| known == id) {
            let (_, title) = self.titles.remove(at);
            self.times
                .extend(ended_well.map(|elapsed| PhaseTime::new(title, elapsed)));
        }
    }
}

impl Shared {
    /// A panic elsewhere must not take the progress with it: the state is whole between events.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that writes heartbeats, or tells it of a new phase.
    fn keep_alive(self: &Arc<Self>, state: &mut State) {
        if state.heart.is_some() {
            self.changed.notify_all();
            return;
        }
        let shared = Arc::clone(self);
        // Without a thread there are no heartbeats, which is no reason to stop.
        state.heart = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || shared.beat())
            .ok();
    }

    fn beat(&self) {
        let mut state = self.lock();
        while !state.closed {
            let now = Instant::now();
            let Voice::Plain(plain, out) = &mut state.voice else {
                return;
            };
            for line in plain.beat(now) {
                write_line(out, &line);
            }
            state = match plain.next_beat() {
                Some(at) => {
                    let pause = at.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(state, pause);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Volume {
    fn of(wish: Wish) -> Self {
        match wish {
            Wish { quiet: true, .. } => Self::Quiet,
            Wish { verbose: true, .. } => Self::Verbose,
            Wish { .. } => Self::Normal,
        }
    }
}

/// One write a line, so that lines of several processes in one log stay whole. Nobody can be told
/// that standard error is gone.
fn write_line(out: &mut Box<dyn Write + Send>, line: &str) {
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Amount;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic holds it").extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn plain(volume: Volume) -> (Paper, Terminal) {
        let paper = Paper::default();
        let voice = Voice::Plain(
            Plain::new(Palette::default(), volume),
            Box::new(paper.clone()),
        );
        (paper, Terminal::with(voice, Palette::default()))
    }

    fn written(paper: &Paper) -> String {
        let bytes = paper.0.lock().expect("no panic holds it").clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
    }

    #[test]
    fn phases_of_many_threads_are_told_and_timed() {
        let (paper, terminal) = plain(Volume::Normal);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let observer: &dyn Observer = &terminal;
                scope.spawn(move || {
                    let phase = observer.phase(format!("fetching {n}"), Amount::Items(1));
                    phase.detail("x");
                    phase.advance(1);
                    phase.done_with("whole");
                });
            }
        });
        let mut titles: Vec<_> = terminal.times().into_iter().map(|it| it.phase).collect();
        titles.sort();
        assert_eq!(titles, ["fetched 0", "fetched 1", "fetched 2", "fetched 3"]);
        drop(terminal);
        let text = written(&paper);
        assert_eq!(text.lines().count(), 8, "{text}");
        assert_eq!(text.matches("(whole)").count(), 4, "{text}");
    }

    #[test]
    fn a_phase_that_failed_has_no_time_and_dropping_never_hangs() {
        let (paper, terminal) = plain(Volume::Quiet);
        let observer: &dyn Observer = &terminal;
        let left_open = observer.phase("making", Amount::Unknown);
        drop(observer.phase("proving", Amount::Unknown));
        observer.warn("look");
        std::mem::forget(left_open);
        assert_eq!(terminal.times(), []);
        assert_eq!(terminal.suspend(|| 7), 7);
        drop(terminal);
        assert_eq!(written(&paper), "warning: look\n");
    }
}
