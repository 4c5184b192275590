//! What the rooms tell of their progress: values, never text on a terminal.
//!
//! A room is handed an [`Observer`] and reports [`Event`]s; `ui` decides what a person sees.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells one phase from another while several run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PhaseId(u64);

/// What a phase counts, and how much of it there is where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many items (packages, files).
    Items(u64),
    /// Nothing that can be counted ahead.
    Unknown,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A phase began; `title` is in the present participle: `bootstrapping debian-12`.
    Begin {
        /// Which phase.
        id: PhaseId,
        /// What it does.
        title: String,
        /// How much there is to do.
        total: Amount,
    },
    /// A phase got on by so many of what it counts.
    Advance {
        /// Which phase.
        id: PhaseId,
        /// Bytes or items.
        by: u64,
    },
    /// What a phase is at just now: the newest line of a build log, the package being fetched.
    Detail {
        /// Which phase.
        id: PhaseId,
        /// One line.
        text: String,
    },
    /// A phase ended well.
    Done {
        /// Which phase.
        id: PhaseId,
        /// How long it took.
        elapsed: Duration,
        /// What came of it, where there is something to say (`143 packages, 101.2 MB`).
        outcome: Option<String>,
    },
    /// A phase ended otherwise; the error itself travels as the function's result.
    Abandoned {
        /// Which phase.
        id: PhaseId,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something worth a line: `reusing sqlite-3.46.1`.
    Note(String),
    /// Something that a person should look at, though the work goes on.
    Warning(String),
}

/// Takes events; shared between threads.
pub trait Observer: Send + Sync {
    /// Takes one event. Must not block for long.
    fn event(&self, event: Event);
}

impl dyn Observer + '_ {
    /// Begins a phase. It ends when the guard is [`Phase::done`] or dropped.
    pub fn phase(&self, title: impl Into<String>, total: Amount) -> Phase<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = PhaseId(NEXT.fetch_add(1, Ordering::Relaxed));
        self.event(Event::Begin {
            id,
            title: title.into(),
            total,
        });
        Phase {
            observer: self,
            id,
            started: Instant::now(),
            ended: false,
        }
    }

    /// Says something worth a line.
    pub fn note(&self, text: impl Into<String>) {
        self.event(Event::Note(text.into()));
    }

    /// Says something that a person should look at.
    pub fn warn(&self, text: impl Into<String>) {
        self.event(Event::Warning(text.into()));
    }
}

/// A phase under way.
pub struct Phase<'a> {
    observer: &'a dyn Observer,
    id: PhaseId,
    started: Instant,
    ended: bool,
}

impl Phase<'_> {
    /// Got on by so many of what the phase counts.
    pub fn advance(&self, by: u64) {
        self.observer.event(Event::Advance { id: self.id, by });
    }

    /// What the phase is at just now, in one line.
    pub fn detail(&self, text: impl Into<String>) {
        self.observer.event(Event::Detail {
            id: self.id,
            text: text.into(),
        });
    }

    /// Ends the phase well and tells how long it took.
    pub fn done(self) -> Duration {
        self.end(None)
    }

    /// Ends the phase well, with a word on what came of it, and tells how long it took.
    pub fn done_with(self, outcome: impl Into<String>) -> Duration {
        self.end(Some(outcome.into()))
    }

    fn end(mut self, outcome: Option<String>) -> Duration {
        self.ended = true;
        let elapsed = self.started.elapsed();
        self.observer.event(Event::Done {
            id: self.id,
            elapsed,
            outcome,
        });
        elapsed
    }
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.observer.event(Event::Abandoned {
                id: self.id,
                elapsed: self.started.elapsed(),
            });
        }
    }
}

/// Hears everything, says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn event(&self, _event: Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn event(&self, event: Event) {
            self.0
                .lock()
                .expect("no test panics while holding it")
                .push(event);
        }
    }

    #[test]
    fn a_phase_that_is_dropped_is_told_as_abandoned() {
        let heard = Heard::default();
        let observer: &dyn Observer = &heard;
        drop(observer.phase("one", Amount::Unknown));
        observer.phase("two", Amount::Items(1)).done();
        let events = heard
            .0
            .into_inner()
            .expect("no test panics while holding it");
        assert!(matches!(events[1], Event::Abandoned { .. }));
        assert!(matches!(events[3], Event::Done { .. }));
    }
}
