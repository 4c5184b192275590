//! A check: a command that proves something of a prefix by running.

use std::collections::BTreeMap;

use crate::model::GuestPath;

/// A command that must exit with 0 in the run image, every placeholder filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What a person calls it.
    pub name: String,
    /// Where the prefix is seen, and nowhere else: its own place, or another to show that it can
    /// be moved.
    pub prefix: GuestPath,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts.
    pub cwd: GuestPath,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}

/// A command as one can paste it into a shell.
pub fn command(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@%^".contains(c);
    let word = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    argv.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let table: [(&[&str], &str); 4] = [
            (
                &["/app/bin/python3", "-I", "a.py"],
                "/app/bin/python3 -I a.py",
            ),
            (&["sh", "-c", "echo $HOME"], "sh -c 'echo $HOME'"),
            (&["echo", "it's", ""], r"echo 'it'\''s' ''"),
            (&["a\nb"], "'a\nb'"),
        ];
        for (argv, shown) in table {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(command(&argv), shown);
        }
    }
}
