//! A stack's manifest: `rootfs-manifests/<stack>.toml`, read and checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::model::{Arch, Sha256, StackName, nearest};

/// The only version of the manifest's form.
const SCHEMA: i64 = 1;

/// Where a stack's images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    name: StackName,
    end_of_life: Date,
    architectures: Vec<Arch>,
    origin: Origin,
    keyring: Cow<'static, [u8]>,
}

/// `OpenPGP` keyrings by name: the shipped ones, and those beside manifests of one's own.
pub type Keyrings = BTreeMap<String, Cow<'static, [u8]>>;

/// What the images are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A Debian suite, bootstrapped from a signed mirror.
    Debian(Debian),
}

/// Suites of a Debian mirror, and the packages wanted of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Debian {
    /// By codename. Of a package in several the newest version is taken.
    pub suites: Vec<String>,
    /// `main` …
    pub components: Vec<String>,
    /// The keyring that the suites must be signed with.
    pub keyring: String,
    /// What the run image has beside the essential packages.
    pub run: Vec<String>,
    /// What the build image has beside the run image.
    pub build: Vec<String>,
}

/// A manifest as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: toml::Spanned<i64>,
    name: toml::Spanned<StackName>,
    end_of_life: toml::Spanned<toml::value::Datetime>,
    architectures: toml::Spanned<Vec<Arch>>,
    debian: RawDebian,
}

/// [`Debian`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDebian {
    suites: Names,
    components: Names,
    keyring: toml::Spanned<String>,
    run: Names,
    build: Names,
}

type Names = toml::Spanned<Vec<toml::Spanned<String>>>;

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The file, as a person knows it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub message: String,
    /// What was probably meant.
    pub nearest: Option<String>,
}

impl ManifestError {
    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.before().matches('\n').count() + 1
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> usize {
        let line = self.before().rsplit('\n').next().unwrap_or_default();
        line.chars().count() + 1
    }

    fn before(&self) -> &str {
        self.text.get(..self.span.start).unwrap_or(&self.text)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.line(), self.column());
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        match &self.nearest {
            Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Reads a manifest. `file` is its name in errors.
    pub fn parse(file: &str, text: &str, keyrings: &Keyrings) -> Result<Self, ManifestError> {
        let error = |span: Range<usize>, message: String, nearest: Option<&str>| ManifestError {
            file: file.to_owned(),
            text: text.to_owned(),
            span,
            message,
            nearest: nearest.map(str::to_owned),
        };
        let raw: Raw = toml::from_str(text).map_err(|found| {
            let message = found.message().to_owned();
            let nearest = meant(&message);
            error(found.span().unwrap_or(0..0), message, nearest.as_deref())
        })?;
        if *raw.schema.get_ref() != SCHEMA {
            let message = format!("this pybuild reads manifests of schema {SCHEMA}");
            return Err(error(raw.schema.span(), message, None));
        }
        let Some(date) = raw.end_of_life.get_ref().date else {
            let message = "the end of life is a date: 2028-06-30".to_owned();
            return Err(error(raw.end_of_life.span(), message, None));
        };
        let (month, day) = (date.month.cast_signed(), date.day.cast_signed());
        let end_of_life = Date::new(date.year.cast_signed(), month, day)
            .map_err(|found| error(raw.end_of_life.span(), found.to_string(), None))?;
        if raw.architectures.get_ref().is_empty() {
            let message = "a stack has at least one architecture".to_owned();
            return Err(error(raw.architectures.span(), message, None));
        }
        let debian = raw.debian;
        if let Some((what, span)) = debian.missing() {
            return Err(error(span, format!("[debian] names no {what}"), None));
        }
        if let Some(name) = debian.unfit() {
            let span = name.span();
            let name = name.get_ref();
            let message = format!("`{name}` is no name of a suite, component or package");
            return Err(error(span, message, None));
        }
        let name = debian.keyring.get_ref();
        let Some(keyring) = keyrings.get(name) else {
            let message = format!("there is no keyring named `{name}`");
            let near = nearest(name, keyrings.keys().map(String::as_str));
            return Err(error(debian.keyring.span(), message, near));
        };
        Ok(Self {
            name: raw.name.into_inner(),
            end_of_life,
            architectures: raw.architectures.into_inner(),
            origin: Origin::Debian(debian.into_debian()),
            keyring: keyring.clone(),
        })
    }

    /// The stack.
    pub fn name(&self) -> &StackName {
        &self.name
    }

    /// The day after which nobody mends the stack any more.
    pub fn end_of_life(&self) -> Date {
        self.end_of_life
    }

    /// The architectures that the stack exists for.
    pub fn architectures(&self) -> &[Arch] {
        &self.architectures
    }

    /// What the images are made from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The keyring that the origin must be signed with.
    pub fn keyring(&self) -> &[u8] {
        &self.keyring
    }

    /// The digest of all that decides what is in the images: not of the file's comments.
    pub fn digest(&self) -> Sha256 {
        let Origin::Debian(debian) = &self.origin;
        let text = serde_json::json!({ "name": self.name, "debian": debian }).to_string();
        Sha256::of(text.as_bytes())
    }
}

impl RawDebian {
    /// What there must be at least one of, and where there is none.
    fn missing(&self) -> Option<(&'static str, Range<usize>)> {
        [(&self.suites, "suite"), (&self.components, "component")]
            .into_iter()
            .find_map(|(names, what)| names.get_ref().is_empty().then(|| (what, names.span())))
    }

    /// Names become parts of URLs.
    fn unfit(&self) -> Option<&toml::Spanned<String>> {
        let lists = [&self.suites, &self.components, &self.run, &self.build];
        let fit = |name: &str| {
            let of_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
            name.bytes().all(of_name) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        let mut names = lists.into_iter().flat_map(toml::Spanned::get_ref);
        names.find(|name| !fit(name.get_ref()))
    }

    fn into_debian(self) -> Debian {
        let plain = |names: Names| {
            let names = names.into_inner().into_iter();
            names.map(toml::Spanned::into_inner).collect()
        };
        Debian {
            suites: plain(self.suites),
            components: plain(self.components),
            keyring: self.keyring.into_inner(),
            run: plain(self.run),
            build: plain(self.build),
        }
    }
}

/// What serde's "unknown field `x`, expected one of `a`, `b`" most probably meant.
fn meant(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "))?;
    nearest(unknown, quoted).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"schema = 1
name = "debian-12"
end_of_life = 2028-06-30
architectures = ["amd64"]

[debian]
suites = ["bookworm"]
components = ["main"]
keyring = "debian-archive"
run = ["tzdata"]
build = ["gcc"]
"#;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let keyring = ("debian-archive".to_owned(), Cow::Borrowed(&b"keys"[..]));
        Manifest::parse("x.toml", text, &Keyrings::from([keyring]))
    }

    #[test]
    fn a_manifest_is_read() {
        let manifest = parse(TEXT).expect("a manifest");
        assert_eq!(manifest.name().as_str(), "debian-12");
        assert_eq!(manifest.end_of_life().to_string(), "2028-06-30");
        let commented = parse(&format!("# new\n{TEXT}")).expect("a manifest");
        assert_eq!(commented.digest(), manifest.digest());
        let other = parse(&TEXT.replace("gcc", "clang")).expect("a manifest");
        assert_ne!(other.digest(), manifest.digest());
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let table = [
            (
                "schema = 1",
                "schema = 2",
                "x.toml:1:10: this pybuild reads manifests of schema 1",
            ),
            (
                "suites =",
                "suits =",
                "x.toml:7:1: unknown field `suits`, expected one of `suites`, `components`, `keyring`, `run`, `build`; did you mean `suites`?",
            ),
            (
                "\"amd64\"",
                "\"amd46\"",
                "x.toml:4:18: unknown variant `amd46`, expected `amd64` or `arm64`; did you mean `amd64`?",
            ),
            (
                "2028-06-30",
                "07:32:00",
                "x.toml:3:15: the end of life is a date: 2028-06-30",
            ),
            (
                "[\"amd64\"]",
                "[]",
                "x.toml:4:17: a stack has at least one architecture",
            ),
            (
                "[\"bookworm\"]",
                "[]",
                "x.toml:7:10: [debian] names no suite",
            ),
            (
                "\"gcc\"",
                "\"gcc\", \"g++/..\"",
                "x.toml:11:17: `g++/..` is no name of a suite, component or package",
            ),
            (
                "\"bookworm\"",
                "\"../sid\"",
                "x.toml:7:11: `../sid` is no name of a suite, component or package",
            ),
            (
                "debian-archive",
                "debian-archiv",
                "x.toml:9:11: there is no keyring named `debian-archiv`; did you mean `debian-archive`?",
            ),
            ("debian-12", "Debian", "x.toml:2:8: "),
            ("[debian]", "[debian", "x.toml:6:8: "),
            (
                "run = [\"tzdata\"]\n",
                "",
                "x.toml:6:1: missing field `run`",
            ),
        ];
        for (from, to, said) in table {
            let error = parse(&TEXT.replacen(from, to, 1))
                .expect_err(said)
                .to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
