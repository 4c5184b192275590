//! What is printed while packages are installed, for the progress, and for when that fails.

use std::collections::VecDeque;

use crate::model::Phase;

/// What a person needs to see of a failure.
const LINES: usize = 40;

/// What dpkg and the packages' scripts print: the last lines are kept, the packages counted.
pub(super) struct Printed<'a> {
    phase: &'a Phase<'a>,
    each: &'a mut (dyn FnMut(&str) + Send),
    lines: VecDeque<String>,
    line: Vec<u8>,
}

impl<'a> Printed<'a> {
    /// `each` is shown every line.
    pub(super) fn new(phase: &'a Phase<'a>, each: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        Self {
            phase,
            each,
            lines: VecDeque::new(),
            line: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < 4096 {
                self.line.push(*byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.starts_with("Setting up ") {
            self.phase.advance(1);
        }
        (self.each)(&line);
        self.phase.detail(line.as_str());
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn text(mut self) -> String {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.lines.make_contiguous().join("\n")
    }
}
