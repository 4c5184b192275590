//! A stack's manifest: `rootfs-manifests/<stack>.toml`, read and checked.

mod raw;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use self::raw::Raw;
use super::RootfsError;
use super::oci::Reference;
use super::origin::Origin;
use crate::model::{Arch, Sha256, StackName, nearest};

/// The only version of the manifest's form.
const SCHEMA: i64 = 1;

/// What a stack is, and where its images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    name: StackName,
    end_of_life: Date,
    architectures: Vec<Arch>,
    series: BTreeMap<String, Vec<String>>,
    origins: Vec<Origin>,
    /// What relative paths lead on from.
    dir: PathBuf,
}

/// `OpenPGP` keyrings by name: the shipped ones, and those beside manifests of one's own.
pub type Keyrings = BTreeMap<String, Cow<'static, [u8]>>;

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

/// What is wrong, where in the text, and what was probably meant.
type Mistake = (Range<usize>, String, Option<String>);

impl Manifest {
    /// Reads a manifest. `file` is its name in errors.
    pub fn parse(file: &str, text: &str, keyrings: &Keyrings) -> Result<Self, ManifestError> {
        Self::read(text, keyrings).map_err(|(span, message, nearest)| ManifestError {
            file: file.to_owned(),
            text: text.to_owned(),
            span,
            message,
            nearest,
        })
    }

    fn read(text: &str, keyrings: &Keyrings) -> Result<Self, Mistake> {
        let raw: Raw = toml::from_str(text).map_err(|found| {
            let message = found.message().to_owned();
            let nearest = meant(&message);
            (found.span().unwrap_or(0..0), message, nearest)
        })?;
        if *raw.schema.get_ref() != SCHEMA {
            let message = format!("this pybuild reads manifests of schema {SCHEMA}");
            return Err((raw.schema.span(), message, None));
        }
        let Some(date) = raw.end_of_life.get_ref().date else {
            let message = "the end of life is a date: 2028-06-30".to_owned();
            return Err((raw.end_of_life.span(), message, None));
        };
        let (month, day) = (date.month.cast_signed(), date.day.cast_signed());
        let end_of_life = Date::new(date.year.cast_signed(), month, day)
            .map_err(|found| (raw.end_of_life.span(), found.to_string(), None))?;
        if raw.architectures.get_ref().is_empty() {
            let message = "a stack has at least one architecture".to_owned();
            return Err((raw.architectures.span(), message, None));
        }
        Ok(Self {
            end_of_life,
            architectures: raw.architectures.into_inner(),
            series: raw::series(raw.series)?,
            origins: raw::origins(raw.debian, raw.from, raw.name.span(), keyrings)?,
            name: raw.name.into_inner(),
            dir: PathBuf::new(),
        })
    }

    /// The same, with relative paths leading on from `dir`: the manifest's own directory.
    #[must_use]
    pub(super) fn rooted(mut self, dir: &Path) -> Self {
        self.origins
            .iter_mut()
            .for_each(|origin| origin.rooted(dir));
        dir.clone_into(&mut self.dir);
        self
    }

    /// The stack.
    pub fn name(&self) -> &StackName {
        &self.name
    }

    /// The day after which nobody mends the stack any more.
    pub fn end_of_life(&self) -> Date {
        self.end_of_life
    }

    /// What something of this host is called in a file beside the manifest: relative to it.
    pub(super) fn beside(&self, shown: &str) -> String {
        let dir = format!("{}/", self.dir.display());
        shown.replace(&dir, "")
    }

    /// The architectures that the stack exists for.
    pub fn architectures(&self) -> &[Arch] {
        &self.architectures
    }

    /// Fails unless the stack exists for this one.
    pub(super) fn check(&self, arch: Arch) -> Result<(), RootfsError> {
        if self.architectures.contains(&arch) {
            return Ok(());
        }
        let stack = self.name.clone();
        Err(RootfsError::Architecture { stack, arch })
    }

    /// The series of a formula that the stack is known to be good for (`3.9`), if that is known.
    pub fn series(&self, formula: &str) -> Option<&[String]> {
        self.series.get(formula).map(Vec::as_slice)
    }

    /// The same of every formula of which it is known.
    pub fn all_series(&self) -> &BTreeMap<String, Vec<String>> {
        &self.series
    }

    /// Where the images can come from: the first that can be used is.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// The images of registries that the stack may be made of.
    pub fn references(&self) -> Vec<&Reference> {
        self.origins.iter().flat_map(Origin::references).collect()
    }

    /// The digest of all that decides what is in the images: not of the file's comments.
    pub fn digest(&self) -> Sha256 {
        let digests = self.origins.iter().map(|origin| origin.digest(&self.name));
        let digests: Vec<String> = digests.map(|digest| digest.to_string()).collect();
        Sha256::of(digests.join(" ").as_bytes())
    }
}

/// What serde's "unknown field `x`, expected one of `a`, `b`" most probably meant.
fn meant(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "))?;
    nearest(unknown, quoted).map(str::to_owned)
}

#[cfg(test)]
mod tests;
