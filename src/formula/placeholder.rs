//! Placeholders: what `{prefix}` and its kin in a formula's strings stand for.

use std::fmt;
use std::ops::Range;

use crate::model::{Arch, FormulaName, FormulaRef, GuestPath, StackName, Version, nearest};

use super::sheet::{Wrong, did_you_mean};

/// Something whose value is known only when a build is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// `{prefix}`: where the software is installed.
    Prefix,
    /// `{jobs}`: how many jobs may run at once.
    Jobs,
    /// `{source}`: the unpacked source.
    Source,
    /// `{files}`: the formula's helper files.
    Files,
    /// `{version}`, `{version.1}`, `{version.2}`: the version, or its first one or two numbers.
    Version(Option<usize>),
    /// `{deps.NAME}`: where a dependency is unpacked.
    Dependency(FormulaName),
    /// `{deps.NAME.version}`: which version of a dependency it is. So a dependency whose own name
    /// ends in `.version` cannot be meant by `{deps.NAME}`.
    DependencyVersion(FormulaName),
    /// `{stack}`: the stack built for.
    Stack,
    /// `{arch}`: the architecture built for.
    Arch,
}

/// A list of strings that takes the place of an argument: `{configure}` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// `{configure}`.
    Configure,
    /// `{make}`.
    Make,
    /// `{install}`.
    Install,
    /// `{modules}`.
    Modules,
}

impl List {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("configure", Self::Configure),
        ("make", Self::Make),
        ("install", Self::Install),
        ("modules", Self::Modules),
    ];

    /// The list that an argument stands for, if it is exactly `{configure}` or its like.
    pub(super) fn of_argument(text: &str) -> Option<Self> {
        let name = text.strip_prefix('{')?.strip_suffix('}')?;
        Self::named(name)
    }

    fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, list)| *list)
    }
}

/// What the placeholders of one build stand for.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Where the software is installed, or moved to.
    pub prefix: &'a GuestPath,
    /// The text for `{jobs}`.
    pub jobs: &'a str,
    /// The unpacked source.
    pub source: &'a GuestPath,
    /// The formula's helper files.
    pub files: &'a GuestPath,
    /// Below it, each dependency under its name.
    pub dependencies: &'a GuestPath,
    /// The dependencies, each once.
    pub references: &'a [FormulaRef],
    /// The version; what has none has nothing that says it.
    pub version: Option<&'a Version>,
    /// The stack.
    pub stack: &'a StackName,
    /// The architecture.
    pub arch: Arch,
}

/// A string with placeholders, checked. Prints as the formula has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece<Placeholder>>);

/// A [`Template`] that gives an absolute, normalised path whatever is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate(Template);

/// A part of a string with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<P> {
    /// Text that stays.
    Text(String),
    /// What stands between braces.
    Hole(P),
}

/// What stands between two braces, and where the whole stands.
pub(super) type Word = (String, Range<usize>);

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let pieces = scan(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Piece::Text(text)),
            Piece::Hole((name, at)) => placeholder(&name, at).map(Piece::Hole),
        });
        pieces.collect::<Result<_, _>>().map(Self)
    }

    /// A text without placeholders.
    pub(super) fn literal(text: &str) -> Self {
        Self(vec![Piece::Text(text.to_owned())])
    }

    /// The string with everything filled in. `values` are of the formula that the string is of.
    pub fn fill(&self, values: &Values<'_>) -> String {
        let value = |placeholder: &Placeholder| match placeholder {
            Placeholder::Prefix => values.prefix.to_string(),
            Placeholder::Jobs => values.jobs.to_owned(),
            Placeholder::Source => values.source.to_string(),
            Placeholder::Files => values.files.to_string(),
            Placeholder::Version(None) => values.version().to_string(),
            Placeholder::Version(Some(count)) => values.version().prefix(*count),
            Placeholder::Dependency(name) => format!("{}/{name}", values.dependencies),
            Placeholder::DependencyVersion(name) => values.dependency_version(name).to_string(),
            Placeholder::Stack => values.stack.to_string(),
            Placeholder::Arch => values.arch.to_string(),
        };
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Hole(placeholder) => value(placeholder),
        });
        pieces.collect()
    }

    /// The string for a version, if it takes nothing else.
    pub(super) fn fill_version(&self, version: &Version) -> Option<String> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Hole(Placeholder::Version(None)) => Some(version.to_string()),
            Piece::Hole(Placeholder::Version(Some(count))) => Some(version.prefix(*count)),
            Piece::Hole(_) => None,
        });
        pieces.collect()
    }

    /// Every placeholder in it.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Hole(placeholder) => Some(placeholder),
        })
    }

    /// The helper files it names: what follows `{files}/`, up to a character that paths seldom
    /// hold (`:` and `=` join several in one argument).
    pub(super) fn helper_files(&self) -> Vec<&str> {
        let pairs = self.0.windows(2).filter_map(|pair| match pair {
            [Piece::Hole(Placeholder::Files), Piece::Text(text)] => text.strip_prefix('/'),
            _ => None,
        });
        let is_path = |c: char| c.is_alphanumeric() || "._-+/".contains(c);
        pairs
            .map(|text| text.split(|c| !is_path(c)).next().unwrap_or(text))
            .filter(|path| !path.is_empty())
            .collect()
    }
}

impl Values<'_> {
    fn dependency_version(&self, name: &FormulaName) -> &Version {
        let found = self.references.iter().find(|r| r.name() == name);
        let found = found.expect("a formula is checked to name no other than its dependencies");
        found.version().expect("formulae depend on formulae")
    }

    fn version(&self) -> &Version {
        self.version
            .expect("only a formula has a placeholder for its version")
    }
}

impl PathTemplate {
    /// A path, if `template` begins with one and nothing in it leads out again.
    pub(super) fn new(template: Template) -> Option<Self> {
        let rooted = match template.0.first() {
            Some(Piece::Text(text)) => text.starts_with('/'),
            Some(Piece::Hole(hole)) => matches!(
                hole,
                Placeholder::Prefix
                    | Placeholder::Source
                    | Placeholder::Files
                    | Placeholder::Dependency(_)
            ),
            None => false,
        };
        // No value of a placeholder begins with a dot or holds `..` as a component, so only the
        // text between them can lead out.
        let texts = template.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Hole(_) => "x",
        });
        let texts = format!("/{}", texts.collect::<String>());
        (rooted && texts.parse::<GuestPath>().is_ok()).then_some(Self(template))
    }

    /// The path with everything filled in.
    pub fn fill(&self, values: &Values<'_>) -> GuestPath {
        let text = self.0.fill(values);
        text.parse()
            .expect("a path template is rooted and has no `..`")
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Piece::Hole(placeholder) => write!(f, "{placeholder}"),
        })
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str("{prefix}"),
            Self::Jobs => f.write_str("{jobs}"),
            Self::Source => f.write_str("{source}"),
            Self::Files => f.write_str("{files}"),
            Self::Version(None) => f.write_str("{version}"),
            Self::Version(Some(count)) => write!(f, "{{version.{count}}}"),
            Self::Dependency(name) => write!(f, "{{deps.{name}}}"),
            Self::DependencyVersion(name) => write!(f, "{{deps.{name}.version}}"),
            Self::Stack => f.write_str("{stack}"),
            Self::Arch => f.write_str("{arch}"),
        }
    }
}

fn placeholder(name: &str, at: Range<usize>) -> Result<Placeholder, Wrong> {
    const KNOWN: [&str; 9] = [
        "prefix",
        "jobs",
        "source",
        "files",
        "version",
        "version.1",
        "version.2",
        "stack",
        "arch",
    ];
    if let Some(dependency) = name.strip_prefix("deps.") {
        let version = dependency.strip_suffix(".version");
        if let Some(Ok(dependency)) = version.map(str::parse) {
            return Ok(Placeholder::DependencyVersion(dependency));
        }
        if let Ok(dependency) = dependency.parse() {
            return Ok(Placeholder::Dependency(dependency));
        }
    }
    Ok(match name {
        "prefix" => Placeholder::Prefix,
        "jobs" => Placeholder::Jobs,
        "source" => Placeholder::Source,
        "files" => Placeholder::Files,
        "version" => Placeholder::Version(None),
        "version.1" => Placeholder::Version(Some(1)),
        "version.2" => Placeholder::Version(Some(2)),
        "stack" => Placeholder::Stack,
        "arch" => Placeholder::Arch,
        _ if List::named(name).is_some() => {
            return Err(Wrong {
                at,
                label: "a list",
                message: format!("`{{{name}}}` stands for a list, not for a text"),
                help: Some(format!(
                    "make it an argument of its own in `run`: \"{{{name}}}\""
                )),
            });
        }
        _ => {
            let near = nearest(name, KNOWN);
            let known = KNOWN.join(", ");
            let known = format!("known placeholders: {known}, deps.NAME, deps.NAME.version");
            return Err(Wrong {
                at,
                label: "unknown placeholder",
                message: format!("there is no placeholder `{{{name}}}`"),
                help: did_you_mean(near.map(|near| format!("{{{near}}}")).as_deref())
                    .or(Some(known)),
            });
        }
    })
}

/// Cuts a string at its placeholders; `{{` and `}}` are braces.
pub(super) fn scan(text: &str) -> Result<Vec<Piece<Word>>, Wrong> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        let at = text.len() - rest.len() + brace;
        literal.push_str(&rest[..brace]);
        let behind = &rest[brace..];
        if behind.starts_with("{{") || behind.starts_with("}}") {
            literal.push_str(&behind[..1]);
            rest = &behind[2..];
            continue;
        }
        let end = behind.starts_with('{').then(|| behind.find('}')).flatten();
        let Some(end) = end else {
            return Err(Wrong {
                at: at..at + 1,
                label: "a brace alone",
                message: "a placeholder is written `{NAME}`".to_owned(),
                help: Some("write a literal brace as `{{` or `}}`".to_owned()),
            });
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Hole((behind[1..end].to_owned(), at..at + end + 1)));
        rest = &behind[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let path = |text: &str| text.parse::<GuestPath>().expect(text);
        let values = Values {
            prefix: &path("/app/.heroku/python"),
            jobs: "8",
            source: &path("/build/source"),
            files: &path("/build/files"),
            dependencies: &path("/build/deps"),
            references: &["other-1.0", "sqlite-3.46.1"].map(|r| r.parse().expect("a reference")),
            version: Some(&"3.11.2".parse().expect("a version")),
            stack: &"debian-12".parse().expect("a stack"),
            arch: Arch::Amd64,
        };
        Template::parse(text).expect(text).fill(&values)
    }

    #[test]
    fn placeholders_are_filled() {
        let table = [
            ("", ""),
            ("--prefix={prefix}", "--prefix=/app/.heroku/python"),
            ("-j{jobs}", "-j8"),
            (
                "{prefix}/bin/python{version.2}",
                "/app/.heroku/python/bin/python3.11",
            ),
            ("python{version.1} {version}", "python3 3.11.2"),
            ("-I{deps.sqlite}/include", "-I/build/deps/sqlite/include"),
            ("v{deps.sqlite.version}", "v3.46.1"),
            ("{stack}-{arch}", "debian-12-amd64"),
            ("${{HOME}} }}{{", "${HOME} }{"),
            ("{source}:{files}", "/build/source:/build/files"),
        ];
        for (text, expected) in table {
            assert_eq!(filled(text), expected, "{text}");
            let template = Template::parse(text).expect(text);
            assert_eq!(template.to_string(), text, "prints as it was written");
        }
    }

    #[test]
    fn strings_that_are_no_template_say_where() {
        let table = [
            ("a{", 1..2, "a brace alone"),
            ("a}b", 1..2, "a brace alone"),
            ("{{{x", 2..3, "a brace alone"),
            ("--x={prefx}", 4..11, "unknown placeholder"),
            ("{}", 0..2, "unknown placeholder"),
            ("{deps.}", 0..7, "unknown placeholder"),
            ("{deps..version}", 0..15, "unknown placeholder"),
            ("{version.3}", 0..11, "unknown placeholder"),
            ("--x={configure}", 4..15, "a list"),
        ];
        for (text, at, label) in table {
            let wrong = Template::parse(text).expect_err(text);
            assert_eq!((wrong.at, wrong.label), (at, label), "{text}");
        }
    }

    #[test]
    fn only_absolute_paths_are_paths() {
        let path = |text: &str| PathTemplate::new(Template::parse(text).expect(text));
        for text in [
            "/",
            "/a/b",
            "{source}/sub",
            "{prefix}",
            "/x/{version}",
            "{deps.sqlite}/lib",
            "/x/{deps.sqlite.version}",
        ] {
            assert!(path(text).is_some(), "{text}");
        }
        for text in [
            "",
            "a",
            "./a",
            "{version}",
            "{deps.sqlite.version}",
            "{jobs}/x",
            "{source}/../x",
            "/..",
            "/a\nb",
        ] {
            assert!(path(text).is_none(), "{text}");
        }
    }

    #[test]
    fn helper_files_are_found() {
        let table: [(&str, &[&str]); 5] = [
            ("{files}/check.py", &["check.py"]),
            ("{files}", &[]),
            ("{files}/", &[]),
            ("a={files}/sub/a.py:{files}/b.py,x", &["sub/a.py", "b.py"]),
            ("{prefix}/bin/python3", &[]),
        ];
        for (text, files) in table {
            let template = Template::parse(text).expect(text);
            assert_eq!(template.helper_files(), files, "{text}");
        }
    }
}
