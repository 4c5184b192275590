//! What a proof found wrong, and how a person is told.

use std::collections::VecDeque;
use std::fmt;

use super::check::Check;
use super::contents::COMPONENTS;
use super::elf::ElfError;
use super::loader::Unresolved;
use super::rules::Violation;
use super::scan::Hit;
use crate::model::{GuestPath, command_line};

/// Lines of a failing check's output that are kept: a Python traceback with some talk before it.
const TAIL_LINES: usize = 30;
/// Bytes of each that are kept.
const LINE_BYTES: usize = 400;
/// Failures of one kind that are shown one by one; thousands of files can hold a build path.
const SHOWN: usize = 20;

/// A prefix did not pass its proof.
#[derive(Debug, thiserror::Error)]
pub struct Failed {
    /// What it was to be filed as.
    pub subject: String,
    /// Everything that is wrong, at least one.
    pub failures: Vec<Failure>,
}

/// One thing that is wrong with a prefix.
#[derive(Debug)]
pub enum Failure {
    /// It breaks a rule.
    Rule(Violation),
    /// It holds what it must not: a path of the build.
    Leak(Hit),
    /// A broken ELF file.
    Elf(ElfError),
    /// What it says of the software inside cannot be read.
    Components(String),
    /// Something that the loader would not find.
    Unresolved {
        /// Where the prefix would be then.
        at: GuestPath,
        /// What.
        what: Unresolved,
    },
    /// A check did not pass.
    Check {
        /// Which.
        check: Check,
        /// How it ended.
        how: String,
        /// The last lines that it printed.
        output: Vec<String>,
    },
}

impl Failure {
    /// In which of the kinds below it is counted.
    fn kind(&self) -> usize {
        match self {
            Self::Rule(_) => 0,
            Self::Leak(_) => 1,
            Self::Elf(_) => 2,
            Self::Unresolved { .. } => 3,
            Self::Check { .. } => 4,
            Self::Components(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(violation) => violation.fmt(f),
            Self::Leak(hit) => hit.fmt(f),
            Self::Elf(error) => error.fmt(f),
            Self::Components(why) => write!(f, "{COMPONENTS} is no list of components: {why}"),
            Self::Unresolved { at, what } => write!(f, "at {at}, {what}"),
            Self::Check { check, how, output } => {
                write!(f, "the check {} at {}: {how}", check.name, check.prefix)?;
                write!(f, "\n  $ {}", command_line(&check.argv))?;
                for line in output {
                    write!(f, "\n  | {line}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.failures.len();
        let points = if count == 1 { "point" } else { "points" };
        let subject = &self.subject;
        write!(f, "{subject} does not pass its proof, in {count} {points}:")?;
        let mut told = [0usize; 6];
        for failure in &self.failures {
            let told = &mut told[failure.kind()];
            *told += 1;
            if *told <= SHOWN {
                write!(f, "\n- {failure}")?;
            }
        }
        let more: usize = told.iter().map(|told| told.saturating_sub(SHOWN)).sum();
        if more > 0 {
            write!(f, "\n- and {more} more of these kinds")?;
        }
        Ok(())
    }
}

/// The last lines of an output that comes in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    /// Takes the next piece.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LINE_BYTES.saturating_sub(self.open.len());
            self.open.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        // A hostile program could play with the terminal otherwise.
        let plain = |c: char| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        };
        let text = String::from_utf8_lossy(&self.open);
        let line: String = text.trim_end_matches('\r').chars().map(plain).collect();
        self.open.clear();
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines, without empty ones at the end.
    pub(super) fn into_lines(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.close();
        }
        while self.lines.back().is_some_and(|line| line.trim().is_empty()) {
            self.lines.pop_back();
        }
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::rules::Breach;
    use std::collections::BTreeMap;

    #[test]
    fn the_tail_is_the_last_lines_whatever_the_pieces() {
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\r\n")).collect();
        let text = lines.concat();
        for size in [1, 7, 64, 5000] {
            let mut tail = Tail::default();
            for piece in (text.clone() + "last \x1b[31m" + "\n\n")
                .as_bytes()
                .chunks(size)
            {
                tail.take(piece);
            }
            let lines = tail.into_lines();
            assert_eq!(lines.len(), TAIL_LINES - 1, "pieces of {size}");
            assert_eq!(lines[0], "line 72");
            assert_eq!(lines[28], "last \u{fffd}[31m");
        }
        let mut tail = Tail::default();
        tail.take(&vec![b'x'; 1 << 20]);
        assert_eq!(tail.into_lines(), ["x".repeat(LINE_BYTES)]);
        assert_eq!(Tail::default().into_lines(), [""; 0]);
    }

    #[test]
    fn every_failing_check_is_named_with_its_command_and_its_output() {
        let check = Check {
            name: "modules".to_owned(),
            prefix: "/tmp/moved".parse().expect("a path"),
            argv: ["/tmp/moved/bin/python3", "-c", "import ssl"]
                .map(str::to_owned)
                .into(),
            cwd: "/".parse().expect("a path"),
            env: BTreeMap::new(),
        };
        let mut failures = vec![Failure::Check {
            check,
            how: "it exited with status 1".to_owned(),
            output: vec!["ImportError: libssl.so.3".to_owned()],
        }];
        for n in 0..25 {
            failures.push(Failure::Rule(Violation {
                path: format!("fifo{n}").into(),
                breach: Breach::Fifo,
            }));
        }
        let failed = Failed {
            subject: "python-3.11.2".to_owned(),
            failures,
        };
        insta::assert_snapshot!(failed);
    }
}
