//! What a script says of itself, in comments that begin their lines.

/// What the line with the path to install to begins with.
pub(super) const BUILD_PATH: &str = "# Build Path: ";
/// What the line with the archives to begin with begins with.
pub(super) const BUILD_DEPS: &str = "# Build Deps: ";

/// What a script says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Headers {
    /// Where it installs to, as it has it.
    pub(super) build_path: Option<String>,
    /// The archives that are to lie there when it begins; `*` in a name stands for the highest.
    pub(super) dependencies: Vec<String>,
}

impl Headers {
    /// Reads them as bob-builder does: of each the first line that begins so, to the letter.
    pub(super) fn read(text: &str) -> Self {
        let first = |begin| text.lines().find_map(|line| line.strip_prefix(begin));
        let dependencies = first(BUILD_DEPS).unwrap_or_default().trim();
        Self {
            build_path: first(BUILD_PATH).map(|path| path.trim().to_owned()),
            dependencies: dependencies
                .split([' ', ','])
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_bob_builder_reads_them() {
        let table: [(&str, Option<&str>, &[&str]); 8] = [
            (
                "#!/usr/bin/env bash\n# Build Path: /app/.heroku/python/\n# Build Deps: libraries/sqlite\n",
                Some("/app/.heroku/python/"),
                &["libraries/sqlite"],
            ),
            (
                "# Build Deps: libraries/sqlite, runtimes/foo-* a/b,c/d",
                None,
                &["libraries/sqlite", "runtimes/foo-*", "a/b", "c/d"],
            ),
            // Only the first counts.
            (
                "# Build Path: /a\n# Build Path: /b\n# Build Deps: a/b\n# Build Deps: c/d\n",
                Some("/a"),
                &["a/b"],
            ),
            // Anything else than a line that begins so says nothing.
            (
                "  # Build Path: /a\n#Build Path: /a\n# build path: /a\n",
                None,
                &[],
            ),
            ("# Build Path:/a\n# Build Deps:a/b\n", None, &[]),
            ("echo # Build Path: /a\n", None, &[]),
            (
                "# Build Path: /a \r\n# Build Deps: a/b,\r\n",
                Some("/a"),
                &["a/b"],
            ),
            ("# Build Path: \n# Build Deps: \n", Some(""), &[]),
        ];
        for (text, build_path, dependencies) in table {
            let headers = Headers::read(text);
            assert_eq!(headers.build_path.as_deref(), build_path, "{text:?}");
            assert_eq!(headers.dependencies, dependencies, "{text:?}");
        }
    }
}
