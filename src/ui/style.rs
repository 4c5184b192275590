//! Whether to colour and whether to draw: decided once, from the flags, the environment and what
//! standard error is.

use std::fmt;

/// What `--color` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorChoice {
    /// Colours, and bars that redraw themselves, where a person is likely to look.
    #[default]
    Auto,
    /// Colours whatever the output is; bars on any terminal.
    Always,
    /// Neither.
    Never,
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// `--color`.
    pub color: ColorChoice,
    /// `--quiet`: warnings and errors only.
    pub quiet: bool,
    /// `--verbose`: every detail as a line of its own.
    pub verbose: bool,
}

/// How a stream is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Bars that redraw themselves; else lines that stay.
    pub live: bool,
    /// Colours and weights.
    pub color: bool,
}

impl Manner {
    /// Decides, for a stream that is a terminal or is not. Pure: takes the environment as a
    /// function.
    ///
    /// `NO_COLOR` (no-color.org), `TERM=dumb` and `CI` each mean that nobody wants to see control
    /// characters; `--color always` outvotes them.
    pub fn decide(wish: Wish, is_terminal: bool, env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let (bars, color) = match wish.color {
            ColorChoice::Always => (is_terminal, true),
            ColorChoice::Never => (false, false),
            ColorChoice::Auto => {
                let ci = set("CI").is_some_and(|value| value != "false" && value != "0");
                let dumb = set("TERM").is_some_and(|value| value == "dumb");
                let capable = is_terminal && !ci && !dumb && set("NO_COLOR").is_none();
                (capable, capable)
            }
        };
        Self {
            live: bars && !wish.quiet && !wish.verbose,
            color,
        }
    }
}

/// Paints, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Palette {
    color: bool,
}

impl Palette {
    /// Paints if `color`.
    pub fn new(color: bool) -> Self {
        Self { color }
    }

    /// What went well.
    pub fn good(self, text: impl fmt::Display) -> String {
        self.paint("32", text)
    }

    /// What went wrong.
    pub fn bad(self, text: impl fmt::Display) -> String {
        self.paint("1;31", text)
    }

    /// What to look at.
    pub fn warn(self, text: impl fmt::Display) -> String {
        self.paint("1;33", text)
    }

    /// What helps.
    pub fn hint(self, text: impl fmt::Display) -> String {
        self.paint("1;36", text)
    }

    /// What heads something.
    pub fn strong(self, text: impl fmt::Display) -> String {
        self.paint("1", text)
    }

    /// What may be passed over.
    pub fn faint(self, text: impl fmt::Display) -> String {
        self.paint("2", text)
    }

    /// SGR parameters (ECMA-48, 8.3.117) around a text.
    fn paint(self, parameters: &str, text: impl fmt::Display) -> String {
        if self.color {
            format!("\x1b[{parameters}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ColorChoice::{Always, Auto, Never};
    use super::*;

    type Env = &'static [(&'static str, &'static str)];

    #[test]
    fn flags_and_environment_decide_together() {
        let wish = |color, quiet, verbose| Wish {
            color,
            quiet,
            verbose,
        };
        // wish, terminal, environment → live, color
        let table: [(Wish, bool, Env, bool, bool); 14] = [
            (wish(Auto, false, false), true, &[], true, true),
            (wish(Auto, false, false), false, &[], false, false),
            (wish(Auto, true, false), true, &[], false, true),
            (wish(Auto, false, true), true, &[], false, true),
            (wish(Never, false, false), true, &[], false, false),
            (wish(Always, false, false), false, &[], false, true),
            (
                wish(Auto, false, false),
                true,
                &[("NO_COLOR", "1")],
                false,
                false,
            ),
            (
                wish(Auto, false, false),
                true,
                &[("NO_COLOR", "")],
                true,
                true,
            ),
            (
                wish(Always, false, false),
                true,
                &[("NO_COLOR", "1")],
                true,
                true,
            ),
            (
                wish(Auto, false, false),
                true,
                &[("TERM", "dumb")],
                false,
                false,
            ),
            (
                wish(Auto, false, false),
                true,
                &[("TERM", "xterm")],
                true,
                true,
            ),
            (
                wish(Auto, false, false),
                true,
                &[("CI", "true")],
                false,
                false,
            ),
            (
                wish(Auto, false, false),
                true,
                &[("CI", "false")],
                true,
                true,
            ),
            (wish(Auto, false, false), true, &[("CI", "")], true, true),
        ];
        for (wish, terminal, pairs, live, color) in table {
            let env = |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name)?;
                Some(found.1.to_owned())
            };
            let manner = Manner::decide(wish, terminal, env);
            assert_eq!(
                manner,
                Manner { live, color },
                "{wish:?} {terminal} {pairs:?}"
            );
        }
    }

    #[test]
    fn a_palette_without_colour_adds_nothing() {
        assert_eq!(Palette::new(false).bad("x"), "x");
        assert_eq!(Palette::new(true).bad("x"), "\x1b[1;31mx\x1b[0m");
    }
}
