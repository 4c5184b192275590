//! What of this process's own terminal a sandbox is to have the like of.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::spec::Terminal;
use crate::sys::terminal::{is_terminal, modes, size};

/// What programs ask of the environment about the terminal that they print to.
const VARIABLES: [&str; 3] = ["COLORTERM", "NO_COLOR", "TERM"];
/// The longest name of a terminal that anyone has.
const LONGEST: usize = 64;

/// A terminal like this process's own, in place of those of its standard streams that are one.
/// None if none is.
pub fn here() -> Option<Terminal> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let [input, output, errors] = streams.map(is_terminal);
    let outer = first(streams, [input, output, errors])?;
    let modes = modes(outer).ok()?;
    Some(Terminal {
        input,
        output,
        errors,
        // Unknown on a serial line: programs then take 24 lines of 80.
        size: size(outer).unwrap_or_default(),
        modes: if input {
            modes
        } else {
            // The outer one is not asked to leave the line ends alone.
            modes.without_output_processing()
        },
    })
}

/// The first of these streams that is a terminal.
pub(super) fn first(
    streams: [BorrowedFd<'_>; 3],
    are_terminals: [bool; 3],
) -> Option<BorrowedFd<'_>> {
    let mut terminals = streams.into_iter().zip(are_terminals);
    terminals.find_map(|(stream, is_terminal)| is_terminal.then_some(stream))
}

/// What a program in a sandbox must know of the terminal that it prints to, of this environment:
/// nothing that could be a secret.
pub fn environment(lookup: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let is_harmless = |value: &String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-+._:".contains(c);
        value.len() <= LONGEST && value.chars().all(is_plain)
    };
    VARIABLES
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), lookup(name).filter(is_harmless)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_environment_only_the_terminal_is_told() {
        let of = |pairs: &[(&str, &str)]| {
            let found = environment(|name| {
                let pair = pairs.iter().find(|(known, _)| *known == name);
                pair.map(|(_, value)| (*value).to_owned())
            });
            let found = found
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"));
            found.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[]), "");
        assert_eq!(
            of(&[
                ("TERM", "xterm-256color"),
                ("COLORTERM", "truecolor"),
                ("NO_COLOR", "")
            ]),
            "COLORTERM=truecolor NO_COLOR= TERM=xterm-256color"
        );
        for (name, value) in [
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("TERMINFO", "/x"),
            ("TERM", "../../etc/x"),
            ("TERM", "x\ny"),
            ("COLORTERM", "$(x)"),
        ] {
            assert_eq!(of(&[(name, value)]), "", "{name}={value}");
        }
        assert_eq!(of(&[("TERM", &"x".repeat(65))]), "");
    }
}
