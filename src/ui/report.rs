//! How a failure ends the program: what failed, why, where in which file, what to do, and the
//! exit code.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};

use super::style::Palette;
use super::text;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitKind {
    /// 0: done.
    Done,
    /// 1: the build failed.
    BuildFailed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: this host cannot sandbox.
    CannotSandbox,
    /// 4: verification found something.
    Found,
    /// 75 (`EX_TEMPFAIL` of sysexits.h): the network or the store; the same command may work
    /// later.
    TryAgain,
    /// 128 + n: ended by signal n, as a shell says it.
    Signal(i32),
}

impl ExitKind {
    /// The code that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::BuildFailed => 1,
            Self::Usage => 2,
            Self::CannotSandbox => 3,
            Self::Found => 4,
            Self::TryAgain => 75,
            // Linux has signals 1 to 64.
            Self::Signal(number) => 128 + u8::try_from(number.clamp(0, 127)).unwrap_or(0),
        }
    }
}

impl From<ExitKind> for ExitCode {
    fn from(kind: ExitKind) -> Self {
        kind.code().into()
    }
}

/// The lines of a log that say why, and where the rest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The lines, as the build printed them.
    pub lines: Vec<String>,
    /// The whole log.
    pub log: PathBuf,
}

/// An error at the edge of the program: the error itself, and what only the edge knows.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
    exit: ExitKind,
    diagnostic: Option<miette::Report>,
    excerpt: Option<Excerpt>,
}

impl Failure {
    /// An error with the exit code that it means.
    pub fn new(exit: ExitKind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: error.into(),
            hints: Vec::new(),
            exit,
            diagnostic: None,
            excerpt: None,
        }
    }

    /// Says what to do about it; several hints are several lines.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Shows the place in a file that the error is about. The report's help becomes a hint; its
    /// message is not printed again. Of the reports related to it each is shown whole.
    #[must_use]
    pub fn diagnostic(mut self, diagnostic: impl Into<miette::Report>) -> Self {
        self.diagnostic = Some(diagnostic.into());
        self
    }

    /// Shows the lines of a log that say why.
    #[must_use]
    pub fn excerpt(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    /// The same with other words for what failed: what is to be done about it stays.
    #[must_use]
    pub fn of(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: error.into(),
            ..self
        }
    }

    /// What the process exits with.
    pub fn exit(&self) -> ExitKind {
        self.exit
    }

    /// What failed, in its own words, without what to do about it.
    pub fn message(&self) -> String {
        self.error.to_string()
    }

    /// The log that says more, if there is one.
    pub fn log(&self) -> Option<&Path> {
        Some(&self.excerpt.as_ref()?.log)
    }

    /// Writes the report to standard error.
    pub fn print(&self, palette: Palette) {
        // Nobody can be told that standard error is gone.
        let _ = std::io::stderr().write_all(self.render(palette).as_bytes());
    }

    /// The report as text.
    pub fn render(&self, palette: Palette) -> String {
        let Self {
            error,
            hints,
            exit: _,
            diagnostic,
            excerpt,
        } = self;
        let mut out = Vec::new();
        let mut said = error.to_string();
        labelled(&mut out, "error:", &palette.bad("error:"), &said);
        let mut next = error.source();
        while let Some(cause) = next {
            let message = cause.to_string();
            // Messages often end with their source's; only what is new is worth a line.
            if !said.contains(message.trim()) {
                let label = "  caused by:";
                labelled(&mut out, label, &palette.faint(label), &message);
                said.push('\n');
                said.push_str(&message);
            }
            next = cause.source();
        }
        if let Some(diagnostic) = diagnostic {
            out.extend(snippets(diagnostic.as_ref(), None));
            related(&mut out, diagnostic.as_ref(), palette);
        }
        if let Some(Excerpt { lines, log }) = excerpt {
            out.extend(lines.iter().map(|line| {
                let line = text::redact(&text::clean(line));
                format!("  {} {line}", palette.faint('|'))
            }));
            let log = log.to_string_lossy();
            labelled(&mut out, "log:", &palette.faint("log:"), &log);
        }
        let help = diagnostic.as_ref().and_then(|it| it.help());
        let help = help.map(|help| help.to_string());
        for hint in help.iter().chain(hints) {
            labelled(&mut out, "hint:", &palette.hint("hint:"), hint);
        }
        out.push(String::new());
        out.join("\n")
    }
}

/// A label and a message; the message's further lines are indented below its first.
fn labelled(out: &mut Vec<String>, label: &str, painted: &str, message: &str) {
    let indent = " ".repeat(text::columns(label));
    for (n, line) in message.trim().lines().enumerate() {
        let line = text::redact(&text::clean(line));
        let margin = if n == 0 { painted } else { &indent };
        out.push(format!("{margin} {line}").trim_end().to_owned());
    }
}

/// What a diagnostic is made of, one after the other: message, places, help.
fn related(out: &mut Vec<String>, diagnostic: &dyn Diagnostic, palette: Palette) {
    for part in diagnostic.related().into_iter().flatten() {
        labelled(out, "error:", &palette.bad("error:"), &part.to_string());
        out.extend(snippets(part, diagnostic.source_code()));
        if let Some(help) = part.help() {
            labelled(out, "hint:", &palette.hint("hint:"), &help.to_string());
        }
    }
}

/// The places that a diagnostic points at: file, line, caret, label. `source` is for one that
/// brings no text of its own.
///
/// Without colour: the file's own text is among the lines, and what of a line is a control sequence
/// of ours could not be told from what is one of the file's.
fn snippets(diagnostic: &dyn Diagnostic, source: Option<&dyn SourceCode>) -> Vec<String> {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_links(false)
        .without_cause_chain()
        .with_context_lines(1)
        .with_width(100);
    let mut out = String::new();
    // A String takes everything, and a source that cannot be read leaves the message, which is
    // printed already.
    let _ = handler.render_report(&mut out, &Places { diagnostic, source });
    // The first line is miette's own headline, empty here.
    let below = out.split_once('\n').map_or("", |(_, below)| below);
    let below = below.trim_end().lines();
    below.map(text::clean).collect()
}

/// A diagnostic reduced to where it points.
struct Places<'a> {
    diagnostic: &'a dyn Diagnostic,
    source: Option<&'a dyn SourceCode>,
}

impl fmt::Debug for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.diagnostic, f)
    }
}

impl fmt::Display for Places<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Error for Places<'_> {}

impl Diagnostic for Places<'_> {
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.diagnostic.labels()
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.diagnostic.source_code().or(self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    enum Fetch {
        #[error("cannot fetch `{url}`")]
        Failed { url: String, source: io::Error },
        #[error("bootstrapping debian-12: {0}")]
        Wrapped(#[source] Box<Fetch>),
    }

    fn failed() -> Fetch {
        Fetch::Failed {
            url: "https://u:secret@example.org/x?token=t".to_owned(),
            source: io::Error::other("connection \x1b[31mrefused\nand again"),
        }
    }

    #[test]
    fn a_report_says_what_why_and_what_to_do() {
        let failure = Failure::new(ExitKind::TryAgain, Fetch::Wrapped(Box::new(failed())))
            .hint("set PYBUILD_DEBIAN_MIRROR to a mirror that this host reaches")
            .hint("see `pybuild doctor`");
        insta::assert_snapshot!(failure.render(Palette::default()), @r"
        error: bootstrapping debian-12: cannot fetch `https://***@example.org/x?token=***`
          caused by: connection refused
                     and again
        hint: set PYBUILD_DEBIAN_MIRROR to a mirror that this host reaches
        hint: see `pybuild doctor`
        ");
    }

    #[test]
    fn the_place_in_a_file_is_shown_and_its_help_is_a_hint() {
        let source = "schema = 1\nname = \"py\x1b[2Jthon\"\nkidn = \"runtime\"\n";
        let at = source.find("kidn").expect("it is there");
        let diagnostic = miette::MietteDiagnostic::new("unknown field `kidn`")
            .with_help("did you mean `kind`?")
            .with_label(LabeledSpan::at(at..at + 4, "no such field"));
        let report = miette::Report::new(diagnostic)
            .with_source_code(miette::NamedSource::new("formulae/python.toml", source));
        let failure = Failure::new(ExitKind::Usage, "unknown field `kidn`").diagnostic(report);
        insta::assert_snapshot!(failure.render(Palette::default()), @r#"
        error: unknown field `kidn`
           ╭─[formulae/python.toml:3:1]
         2 │ name = "python"
         3 │ kidn = "runtime"
           · ──┬─
           ·   ╰── no such field
           ╰────
        hint: did you mean `kind`?
        "#);
    }

    #[derive(Debug, thiserror::Error, Diagnostic)]
    #[error("2 mistakes in x.toml")]
    struct Mistakes {
        #[related]
        all: Vec<miette::MietteDiagnostic>,
        #[source_code]
        text: miette::NamedSource<&'static str>,
    }

    #[test]
    fn several_mistakes_are_all_shown() {
        let mistake = |message: &str, at: usize| {
            miette::MietteDiagnostic::new(message)
                .with_help("write it so")
                .with_label(LabeledSpan::at_offset(at, "here"))
        };
        let mistakes = Mistakes {
            all: vec![mistake("no name", 0), mistake("no version", 6)],
            text: miette::NamedSource::new("x.toml", "a = 1\nb = 2\n"),
        };
        let failure = Failure::new(ExitKind::Usage, mistakes.to_string()).diagnostic(mistakes);
        insta::assert_snapshot!(failure.render(Palette::default()), @r"
        error: 2 mistakes in x.toml
        error: no name
           ╭─[x.toml:1:1]
         1 │ a = 1
           · ▲
           · ╰── here
         2 │ b = 2
           ╰────
        hint: write it so
        error: no version
           ╭─[x.toml:2:1]
         1 │ a = 1
         2 │ b = 2
           · ▲
           · ╰── here
           ╰────
        hint: write it so
        ");
    }

    #[test]
    fn the_lines_of_the_log_that_say_why_are_shown_and_where_the_rest_is() {
        let lines = [
            "a.c:1:2: \x1b[31merror:\x1b[0m expected ;",
            "…",
            "make: *** [Makefile:1: all] Error 2",
        ];
        let excerpt = Excerpt {
            lines: lines.map(str::to_owned).into(),
            log: "/store/logs/x.log".into(),
        };
        let failure = Failure::new(ExitKind::BuildFailed, "step `make` exited with 2");
        insta::assert_snapshot!(failure.excerpt(excerpt).render(Palette::default()), @r"
        error: step `make` exited with 2
          | a.c:1:2: error: expected ;
          | …
          | make: *** [Makefile:1: all] Error 2
        log: /store/logs/x.log
        ");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let table = [
            (ExitKind::Done, 0),
            (ExitKind::BuildFailed, 1),
            (ExitKind::Usage, 2),
            (ExitKind::CannotSandbox, 3),
            (ExitKind::Found, 4),
            (ExitKind::TryAgain, 75),
            (ExitKind::Signal(2), 130),
            (ExitKind::Signal(15), 143),
        ];
        for (kind, code) in table {
            assert_eq!(kind.code(), code);
        }
    }
}
