//! Which archives of a target are verified: all, those of a stack, those of some formulae. Pure.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::model::{Arch, FormulaName, FormulaRef, Glob, Kind, StackName};
use crate::publish::{Layout, keys, release, trained_for};

use super::facts::{Archive, file_name};

/// Which archives are verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Those of this stack alone.
    pub stack: Option<StackName>,
    /// Those of these formulae alone; all if there is none.
    pub formulae: Vec<Pattern>,
}

/// A formula (`python`), one at a version (`python-3.11.2`) or at several (`python-3.9.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Every version of it.
    Name(FormulaName),
    /// This version of it.
    One(FormulaRef),
    /// Every one whose name looks so.
    Like(Glob),
}

impl Pattern {
    fn takes(&self, archive: &Archive) -> bool {
        if let Self::One(reference) = self
            && reference.is_script()
        {
            // By the path it was made by, wherever below the stack that is.
            let key = archive.key.strip_suffix(archive.codec.extension());
            let path = key.and_then(|key| key.strip_suffix(".tar."));
            let path = path.and_then(|path| path.strip_suffix(&reference.to_string()));
            return path.is_some_and(|above| above.is_empty() || above.ends_with('/'));
        }
        let Some(named) = &archive.named else {
            // Under a name of its own, by which it can be asked for.
            let stem = archive.file().strip_suffix(archive.codec.extension());
            let stem = stem.and_then(|stem| stem.strip_suffix(".tar."));
            return stem.is_some_and(|stem| match self {
                Self::Name(name) => name.as_str() == stem,
                Self::One(reference) => reference.to_string() == stem,
                Self::Like(glob) => glob.matches(Path::new(stem)),
            });
        };
        self.names(&named.reference)
    }

    /// Whether it is what was learned in a training for what is asked for: without it that cannot be
    /// built again. It does not stand in for that, though.
    fn is_trained_by(&self, archive: &Archive) -> bool {
        trained_for(&archive.key).is_some_and(|reference| self.names(&reference))
    }

    fn names(&self, reference: &FormulaRef) -> bool {
        match self {
            Self::Name(name) => reference.name() == name,
            // As text: 3.9 and 3.9.0 are two names.
            Self::One(one) => reference.to_string() == one.to_string(),
            Self::Like(glob) => glob.matches(Path::new(&reference.to_string())),
        }
    }

    /// Whether a file that is no archive's has a name as those of its archives.
    fn takes_stray(&self, key: &str) -> bool {
        let file = file_name(key);
        match self {
            Self::Name(name) => file.starts_with(name.as_str()),
            Self::One(reference) => file.starts_with(&reference.stem()),
            Self::Like(glob) => {
                let text = glob.as_str();
                let fixed = text.find(['*', '?', '[']).unwrap_or(text.len());
                file.starts_with(&text[..fixed])
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::One(reference) => reference.fmt(f),
            Self::Like(glob) => glob.fmt(f),
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['*', '?', '[']) {
            return match text.parse() {
                Ok(glob) if !text.contains('/') => Ok(Self::Like(glob)),
                Ok(_) => Err(format!(
                    "`{text}` is not a pattern for formulae: it has a slash"
                )),
                Err(error) => Err(format!("{error}")),
            };
        }
        if let Ok(reference) = text.parse() {
            return Ok(Self::One(reference));
        }
        match text.parse() {
            Ok(name) => Ok(Self::Name(name)),
            Err(error) => Err(format!("{error}")),
        }
    }
}

impl Selection {
    /// Whether an archive is verified.
    pub fn takes(&self, archive: &Archive) -> bool {
        self.stack
            .as_ref()
            .is_none_or(|stack| is_on(archive, stack))
            && (self.formulae.is_empty()
                || self
                    .formulae
                    .iter()
                    .any(|pattern| pattern.takes(archive) || pattern.is_trained_by(archive)))
    }

    /// Whether something that belongs to no archive lies where these archives are.
    pub fn takes_stray(&self, key: &str) -> bool {
        let directory = key.split_once('/').map(|(first, _)| first);
        let here = match &self.stack {
            None => true,
            Some(stack) => directory.is_none_or(|directory| directory == stack.as_str()),
        };
        let patterns = &self.formulae;
        here && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.takes_stray(key)))
    }

    /// What was asked for and nothing was found of.
    pub fn unmatched(&self, archives: &[Archive]) -> Vec<String> {
        let on = |name: &dyn fmt::Display| match &self.stack {
            Some(stack) => format!("{stack}/{name}"),
            None => name.to_string(),
        };
        let found = |pattern: &&Pattern| !archives.iter().any(|archive| pattern.takes(archive));
        let mut unmatched: Vec<String> = self
            .formulae
            .iter()
            .filter(found)
            .map(|pattern| on(pattern))
            .collect();
        if let Some(stack) = &self.stack
            && archives.is_empty()
            && unmatched.is_empty()
        {
            unmatched.push(stack.to_string());
        }
        unmatched
    }
}

/// Whether an archive is one of a stack's, as far as its name says: the flat layout names the
/// release that a stack is made of.
pub(super) fn is_on(archive: &Archive, stack: &StackName) -> bool {
    let Some(named) = &archive.named else {
        let directory = archive.key.split_once('/').map(|(first, _)| first);
        if directory == Some(Kind::Profile.directory()) {
            // In the flat layout what a training gave has a directory nevertheless.
            let stem = archive.file().split(".tar.").next().unwrap_or_default();
            let release = format!("-{}", release(stack));
            return stem.rsplit_once('-').is_some_and(|(rest, arch)| {
                rest.ends_with(&release) && arch.parse::<Arch>().is_ok()
            });
        }
        let recorded = archive
            .sound_record()
            .map(|record| record.product.stack.as_str());
        return directory.or(recorded) == Some(stack.as_str());
    };
    match (named.layout, named.arch) {
        (Layout::Flat, Some(arch)) => {
            let (reference, codec) = (&named.reference, archive.codec);
            let flat = keys(
                Layout::Flat,
                stack,
                Kind::Runtime,
                reference,
                arch,
                codec,
                None,
            );
            flat.tarball == named.tarball
        }
        _ => named.stack == *stack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(stack: Option<&str>, formulae: &[&str]) -> Selection {
        Selection {
            stack: stack.map(|stack| stack.parse().expect("a stack")),
            formulae: formulae
                .iter()
                .map(|text| text.parse().expect("a pattern"))
                .collect(),
        }
    }

    #[test]
    fn archives_are_selected_by_stack_and_formula() {
        type Row<'a> = (&'a str, Option<&'a str>, &'a [&'a str], bool);
        let tree = "heroku-20/runtimes/python-3.9.2.tar.gz";
        let flat = "python-3.9.2-ubuntu-20.04-amd64.tar.zst";
        let own = "heroku-20/runtimes/mine.tar.gz";
        let trained = "heroku-20/profiles/python-profile-3.9.2/555bca1fbf1d.tar.gz";
        let trained_flat = "profiles/python-profile-3.9.2/555bca1fbf1d-ubuntu-20.04-amd64.tar.gz";
        let table: &[Row<'_>] = &[
            (tree, None, &[], true),
            (tree, Some("heroku-20"), &[], true),
            (tree, Some("heroku-2"), &[], false),
            (flat, Some("heroku-20"), &[], true),
            (flat, Some("heroku-22"), &[], false),
            (own, Some("heroku-20"), &[], true),
            (own, Some("heroku-22"), &[], false),
            (tree, None, &["python"], true),
            (tree, None, &["pytho"], false),
            (tree, None, &["python-3.9.2"], true),
            (tree, None, &["python-3.9"], false),
            (tree, None, &["python-3.9.*"], true),
            (flat, None, &["python-3.9.*"], true),
            (tree, None, &["sqlite", "python-3.?.2"], true),
            (tree, None, &["python-3.1*"], false),
            (own, None, &["mine"], true),
            (own, None, &["python"], false),
            (trained, None, &["python-3.9.2"], true),
            (trained, None, &["python-3.9.*"], true),
            (trained, None, &["python"], true),
            (trained, None, &["python-3.9.1"], false),
            (trained, None, &["pyth"], false),
            (trained, Some("heroku-20"), &["python-3.9.2"], true),
            (trained, Some("heroku-22"), &["python-3.9.2"], false),
            (trained_flat, Some("heroku-20"), &["python-3.9.2"], true),
            (trained_flat, Some("heroku-22"), &["python-3.9.2"], false),
        ];
        for (key, stack, formulae, taken) in table {
            let archive = Archive::of(key).expect("a tarball's key");
            let found = selection(*stack, formulae).takes(&archive);
            assert_eq!(found, *taken, "{key} {stack:?} {formulae:?}");
        }
    }

    #[test]
    fn what_matches_nothing_is_told() {
        let archives: Vec<Archive> = ["heroku-20/runtimes/python-3.9.2.tar.gz"]
            .into_iter()
            .filter_map(Archive::of)
            .collect();
        let told = |stack, formulae: &[&str], archives: &[Archive]| {
            selection(stack, formulae).unmatched(archives)
        };
        assert_eq!(told(None, &["python", "sqlite"], &archives), ["sqlite"]);
        assert_eq!(
            told(Some("heroku-20"), &["python-3.8.*"], &archives),
            ["heroku-20/python-3.8.*"]
        );
        assert_eq!(told(Some("heroku-18"), &[], &[]), ["heroku-18"]);
        // What is there of its training is not it.
        let trained = "heroku-20/profiles/python-profile-3.9.3/555bca1fbf1d.tar.gz";
        let trained = [Archive::of(trained).expect("a tarball's key")];
        assert_eq!(told(None, &["python-3.9.3"], &trained), ["python-3.9.3"]);
        assert_eq!(told(None, &[], &[]), [""; 0]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "Python", "a/*", "../x", "[", "-3"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
    }
}
