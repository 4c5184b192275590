//! A sheet: the mistakes found in one file so far, each with its place.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use toml::Spanned;

use super::error::Problem;

/// A string and its place.
pub(super) type Text = Spanned<String>;

/// What is wrong with a string, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) label: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// A file being read, and the mistakes found in it so far.
#[derive(Debug)]
pub(super) struct Sheet {
    text: NamedSource<Arc<str>>,
    problems: Vec<Problem>,
}

impl Sheet {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            text: NamedSource::new(file, Arc::from(text)),
            problems: Vec::new(),
        }
    }

    /// The whole text of the file.
    pub(super) fn text(&self) -> &str {
        self.text.inner()
    }

    /// Whether no mistake was found so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a mistake. The same one is noted once: what `[common]` says is checked for every
    /// series.
    pub(super) fn problem(
        &mut self,
        span: Range<usize>,
        label: impl Into<String>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let problem = Problem {
            message: message.into(),
            label: label.into(),
            span: span.into(),
            help,
            text: self.text.clone(),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Notes what is wrong with a string that holds placeholders, at the very place inside it.
    pub(super) fn wrong(&mut self, text: &Text, wrong: Wrong) {
        let Wrong {
            at,
            label,
            message,
            help,
        } = wrong;
        let span = text.span();
        // A string without escapes stands in the file as it is, behind its quote.
        let start = span.start + 1;
        let verbatim = self.text().get(start..start + text.get_ref().len());
        let span = if verbatim == Some(text.get_ref()) && !at.is_empty() {
            start + at.start..start + at.end
        } else {
            span
        };
        self.problem(span, label, message, help);
    }

    /// The mistakes, in the order of their places.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.span.offset());
        self.problems
    }
}

/// `help` for a name that is probably another one, misspelt.
pub(super) fn did_you_mean(nearest: Option<&str>) -> Option<String> {
    nearest.map(|nearest| format!("did you mean `{nearest}`?"))
}
