//! Runs work that depends on other work, several pieces at once, on the processors of this host.
//! A piece that fails takes only those with it that need it.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::sys::interrupt::{Interrupt, Interrupted};

/// How much goes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crew {
    /// How many pieces of work are under way at once.
    pub at_once: usize,
    /// The processors that they share.
    pub processors: usize,
}

impl Crew {
    /// As many builds at once as are asked for. Else two: while one configures, which takes one
    /// processor, another compiles; and one more for each four processors from the ninth on.
    pub fn new(asked: Option<NonZeroUsize>, processors: usize) -> Self {
        let usual = (processors / 4).max(2);
        Self {
            at_once: asked.map_or(usual, NonZeroUsize::get),
            processors: processors.max(1),
        }
    }

    /// The processors for a piece that begins when so many, itself among them, are under way or
    /// could be.
    fn share(self, busy: usize) -> usize {
        (self.processors / busy.clamp(1, self.at_once.max(1))).max(1)
    }
}

/// Why a piece of work was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// What it needs (by its place in the list) has failed.
    Needs(usize),
    /// Someone asked for the work to stop.
    Interrupted(Interrupted),
}

/// How a piece of work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T, E> {
    /// Well.
    Done(T),
    /// Not well.
    Failed(E),
    /// It was not begun.
    Stopped(Stopped),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    /// Failed or not begun: what needs it is not begun either.
    Lost,
}

struct Board {
    states: Vec<State>,
    stopped: Vec<Option<Stopped>>,
}

/// Gives what a piece of work has resulted in, if it is done.
pub type Results<'a, T> = &'a dyn Fn(usize) -> Option<T>;

/// Does one piece of work: which, on how many processors, with what has resulted from others.
pub type Labour<'a, T, E> = dyn Fn(usize, usize, Results<'_, T>) -> Result<T, E> + Sync + 'a;

/// Does all the work: `needs` says for each piece which pieces, all earlier in the list, must be
/// done before. `work` is told which piece, how many processors it may use, and how to look up the
/// results of what it needs; pieces are begun in the order of the list as far as possible.
pub fn run<T: Clone + Send + Sync, E: Send + Sync>(
    needs: &[Vec<usize>],
    crew: Crew,
    interrupt: &Interrupt,
    work: &Labour<'_, T, E>,
) -> Vec<Ended<T, E>> {
    let board = Mutex::new(Board {
        states: vec![State::Waiting; needs.len()],
        stopped: vec![None; needs.len()],
    });
    let changed = Condvar::new();
    let results: Vec<OnceLock<Result<T, E>>> = needs.iter().map(|_| OnceLock::new()).collect();
    let result_of = |n: usize| results.get(n)?.get()?.as_ref().ok().cloned();
    let hand = || {
        let mut held = lock(&board);
        loop {
            settle(&mut held, needs, interrupt);
            let Some(next) = ready(&held.states, needs) else {
                if held
                    .states
                    .iter()
                    .all(|it| matches!(it, State::Done | State::Lost))
                {
                    changed.notify_all();
                    return;
                }
                if !held.states.contains(&State::Running) {
                    return; // a circle, which the caller promised not to make
                }
                held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            held.states[next] = State::Running;
            let share = crew.share(could_be_busy(&held.states, needs));
            drop(held);
            let result = work(next, share, &result_of);
            let state = if result.is_ok() {
                State::Done
            } else {
                State::Lost
            };
            // Nobody else has this piece.
            let _ = results[next].set(result);
            held = lock(&board);
            held.states[next] = state;
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..crew.at_once.min(needs.len()) {
            scope.spawn(hand);
        }
        hand();
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    let ended = results.into_iter().zip(board.stopped).enumerate();
    ended
        .map(
            |(n, (result, stopped))| match (result.into_inner(), stopped) {
                (Some(Ok(done)), _) => Ended::Done(done),
                (Some(Err(error)), _) => Ended::Failed(error),
                (None, Some(stopped)) => Ended::Stopped(stopped),
                (None, None) => Ended::Stopped(Stopped::Needs(n)),
            },
        )
        .collect()
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives up what cannot be begun any more.
fn settle(board: &mut Board, needs: &[Vec<usize>], interrupt: &Interrupt) {
    let interrupted = interrupt.check().err();
    for (n, needs) in needs.iter().enumerate() {
        if board.states[n] != State::Waiting {
            continue;
        }
        let lost = needs
            .iter()
            .find(|need| board.states[**need] == State::Lost);
        let why = match (interrupted, lost) {
            (Some(interrupted), _) => Stopped::Interrupted(interrupted),
            (None, Some(lost)) => match board.stopped[*lost] {
                // The first of the line is what a person wants to hear of.
                Some(Stopped::Needs(first)) => Stopped::Needs(first),
                _ => Stopped::Needs(*lost),
            },
            (None, None) => continue,
        };
        board.states[n] = State::Lost;
        board.stopped[n] = Some(why);
    }
}

fn is_ready(states: &[State], needs: &[usize]) -> bool {
    needs.iter().all(|need| states[*need] == State::Done)
}

/// The first piece that can be begun now.
fn ready(states: &[State], needs: &[Vec<usize>]) -> Option<usize> {
    let mut waiting = (0..states.len()).filter(|n| states[*n] == State::Waiting);
    waiting.find(|n| is_ready(states, &needs[*n]))
}

/// How many pieces are under way or could be begun now.
fn could_be_busy(states: &[State], needs: &[Vec<usize>]) -> usize {
    let busy = |n: &usize| match states[*n] {
        State::Running => true,
        State::Waiting => is_ready(states, &needs[*n]),
        State::Done | State::Lost => false,
    };
    (0..states.len()).filter(busy).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const TWO: Crew = Crew {
        at_once: 2,
        processors: 8,
    };

    fn interrupt() -> Interrupt {
        Interrupt::manual().expect("an eventfd")
    }

    #[test]
    fn processors_are_shared_by_what_is_under_way() {
        let crew = |at_once: usize, processors| Crew::new(NonZeroUsize::new(at_once), processors);
        // asked, processors → at once, share of one, of two, of ten
        let table = [
            (0, 1, 2, [1, 1, 1]),
            (0, 2, 2, [2, 1, 1]),
            (0, 8, 2, [8, 4, 4]),
            (0, 64, 16, [64, 32, 6]),
            (1, 8, 1, [8, 8, 8]),
            (3, 8, 3, [8, 4, 2]),
            (100, 8, 100, [8, 4, 1]),
        ];
        for (asked, processors, at_once, shares) in table {
            let crew = crew(asked, processors);
            assert_eq!(crew.at_once, at_once, "{asked} {processors}");
            let found = [1, 2, 10].map(|busy| crew.share(busy));
            assert_eq!(found, shares, "{asked} {processors}");
        }
    }

    #[test]
    fn what_is_needed_is_done_before_and_its_result_is_there() {
        let needs = vec![vec![], vec![0], vec![0], vec![1, 2]];
        let ended = run::<usize, ()>(&needs, TWO, &interrupt(), &|n, _, result| {
            Ok(1 + needs[n]
                .iter()
                .map(|need| result(*need).expect("done"))
                .sum::<usize>())
        });
        assert_eq!(ended, [1, 2, 2, 5].map(Ended::Done));
    }

    #[test]
    fn a_failure_takes_only_those_with_it_that_need_it() {
        let needs = vec![vec![], vec![0], vec![1], vec![], vec![3]];
        for at_once in [1, 2, 9] {
            let crew = Crew { at_once, ..TWO };
            let ended = run(&needs, crew, &interrupt(), &|n, _, _| {
                if n == 0 { Err("broken") } else { Ok(n) }
            });
            assert_eq!(
                ended,
                [
                    Ended::Failed("broken"),
                    Ended::Stopped(Stopped::Needs(0)),
                    Ended::Stopped(Stopped::Needs(0)),
                    Ended::Done(3),
                    Ended::Done(4),
                ]
            );
        }
    }

    #[test]
    fn never_more_at_once_than_asked_for_and_the_last_has_all_processors() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut needs = vec![vec![]; 20];
        needs.push((0..20).collect());
        let ended = run::<usize, ()>(&needs, TWO, &interrupt(), &|_, share, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(share)
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(ended[20], Ended::Done(8));
        assert_eq!(ended[0], Ended::Done(4));
    }

    #[test]
    fn an_interrupt_ends_what_is_under_way_and_begins_nothing() {
        let stop = interrupt();
        let crew = Crew { at_once: 1, ..TWO };
        let ended = run(&vec![vec![]; 3], crew, &stop, &|n, _, _| {
            if n == 1 {
                stop.raise(nix::sys::signal::Signal::SIGINT);
                return Err(());
            }
            Ok(n)
        });
        let interrupted = stop.check().expect_err("raised");
        assert_eq!(
            ended,
            [
                Ended::Done(0),
                Ended::Failed(()),
                Ended::Stopped(Stopped::Interrupted(interrupted)),
            ]
        );
    }

    #[test]
    fn no_work_is_soon_done() {
        assert_eq!(run::<(), ()>(&[], TWO, &interrupt(), &|_, _, _| Ok(())), []);
    }
}
