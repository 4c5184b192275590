//! Commands as a POSIX shell takes them: for people, who paste them; nothing here is run so.

/// A word, quoted if it has to be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A program and its arguments, in one line if none of them holds a line break.
pub fn command_line(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
    words.join(" ")
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
            assert_eq!(command_line(&argv), shown);
        }
    }
}
