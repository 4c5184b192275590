//! What C headers say of versions.

/// The text that a C header defines a macro as: `3.11.2` for `#define PY_VERSION "3.11.2"`.
pub fn defined(header: &str, name: &str) -> Option<String> {
    header.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("#define") && words.next() == Some(name);
        let text = words.next().filter(|_| is_it)?;
        Some(text.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_macro_is_defined_as_is_found() {
        let header = "/* PY_VERSION */\n#define PY_VERSION_HEX 0x1\n#define  PY_VERSION\t\"3.11.2\"\n\
                      #define MAJOR 2 /* two */\n#define NOTHING\n";
        assert_eq!(defined(header, "PY_VERSION").as_deref(), Some("3.11.2"));
        assert_eq!(defined(header, "MAJOR").as_deref(), Some("2"));
        assert_eq!(defined(header, "NOTHING"), None);
        assert_eq!(defined(header, "ELSE"), None);
    }
}
