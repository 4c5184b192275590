//! Checks single strings of a series: what they are, and what they refer to.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use toml::Spanned;

use crate::model::{FormulaName, Glob, Version, nearest};

use super::placeholder::{List, PathTemplate, Placeholder, Template};
use super::raw::RawLink;
use super::recipe::FileContent;
use super::sheet::{Sheet, Text, Wrong, did_you_mean};

/// Where a string stands, and so what it may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// In a build: everything.
    Build,
    /// In a proof: there is no source and no dependency any more.
    Proof,
    /// In a test: the source is there, but it is not built, and no dependency is there.
    Tests,
    /// In the description of the prefix: the version alone.
    Prefix,
}

/// An argument: a text, or a list that takes its place.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Text(Template),
    List(List),
}

/// What a series can refer to.
pub(super) struct Surroundings<'a> {
    /// The formula's name.
    pub(super) formula: &'a FormulaName,
    /// The profiles of all its series, and whether one is trained there.
    pub(super) profiles: &'a BTreeMap<String, bool>,
    /// The flavours of the formula's sources, if they can be read.
    pub(super) flavours: Option<&'a [String]>,
    /// Its helper files.
    pub(super) files: &'a BTreeMap<String, FileContent>,
    /// Those for its tests.
    pub(super) test_files: &'a BTreeMap<String, FileContent>,
    /// All patches.
    pub(super) patches: &'a BTreeMap<String, FileContent>,
}

/// Checks one series: its strings here, what they are put together to in `series`.
pub(super) struct Checker<'a> {
    /// How messages call the series.
    pub(super) name: &'a str,
    /// What `{deps.NAME}` can mean, if all of it is legible.
    pub(super) dependencies: Option<Vec<FormulaName>>,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) sheet: &'a mut Sheet,
}

impl Checker<'_> {
    /// A step's name goes into logs and messages, one line each.
    pub(super) fn step_name(&mut self, name: &Text) -> Option<String> {
        let text = name.get_ref();
        if text.is_empty() || text.contains(char::is_control) {
            let message = "a name is one line and not empty";
            self.sheet.problem(name.span(), "not a name", message, None);
            return None;
        }
        Some(text.clone())
    }

    pub(super) fn run(&mut self, raw: &Spanned<Vec<Text>>, scope: Scope) -> Option<Vec<Arg>> {
        let program = raw.get_ref().first();
        if program
            .is_none_or(|p| p.get_ref().is_empty() || List::of_argument(p.get_ref()).is_some())
        {
            let span = program.map_or(raw.span(), Spanned::span);
            let message = "a command begins with a program";
            self.sheet.problem(span, "no program", message, None);
            return None;
        }
        let args = raw.get_ref().iter().map(|arg| {
            let list = List::of_argument(arg.get_ref());
            // A proof has nothing to configure or make.
            match list.filter(|list| scope == Scope::Build || *list == List::Modules) {
                Some(list) => Some(Arg::List(list)),
                None => self.template(arg, scope).map(Arg::Text),
            }
        });
        // Not `collect::<Option<_>>()`: that stops at the first mistake.
        let args: Vec<Option<Arg>> = args.collect();
        args.into_iter().collect()
    }

    pub(super) fn path(&mut self, text: &Text) -> Option<PathTemplate> {
        let path = PathTemplate::new(self.template(text, Scope::Build)?);
        if path.is_none() {
            self.sheet.problem(
                text.span(),
                "not an absolute path",
                format!("`{}` is not a path inside the sandbox", text.get_ref()),
                Some("begin with {source}, and leave out `..`".to_owned()),
            );
        }
        path
    }

    pub(super) fn prune(&mut self, text: &Text) -> Option<Template> {
        let template = self.template(text, Scope::Prefix)?;
        match prefix_text(&template).parse::<Glob>() {
            Ok(_) => Some(template),
            Err(error) => {
                self.sheet.problem(
                    text.span(),
                    error.reason,
                    error.to_string(),
                    Some("it looks like lib/python*/test".to_owned()),
                );
                None
            }
        }
    }

    pub(super) fn link(&mut self, raw: &RawLink) -> Option<(Template, Template)> {
        let path = self.template(&raw.path, Scope::Prefix);
        let to = self.template(&raw.to, Scope::Prefix);
        let (path, to) = (path?, to?);
        let at = prefix_text(&path);
        if !is_relative(&at) {
            self.sheet.problem(
                raw.path.span(),
                "not below the prefix",
                format!("`{}` is not a path below the prefix", raw.path.get_ref()),
                Some("it looks like bin/python".to_owned()),
            );
            return None;
        }
        if !stays_inside(&at, &prefix_text(&to)) {
            self.sheet.problem(
                raw.to.span(),
                "leads out of the prefix",
                format!(
                    "a link to `{}` would not move with the prefix",
                    raw.to.get_ref()
                ),
                Some("write it relative to the link's own directory, inside the prefix".into()),
            );
            return None;
        }
        Some((path, to))
    }

    pub(super) fn module(&mut self, text: &Text) -> Option<String> {
        let name = text.get_ref();
        let is_identifier = |part: &str| {
            !part.is_empty()
                && !part.starts_with(|c: char| c.is_ascii_digit())
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        if name.split('.').all(is_identifier) {
            return Some(name.clone());
        }
        let message = format!("`{name}` cannot name a module");
        self.sheet
            .problem(text.span(), "not a module's name", message, None);
        None
    }

    /// Parses a string and checks what it refers to.
    pub(super) fn template(&mut self, text: &Text, scope: Scope) -> Option<Template> {
        let template = match Template::parse(text.get_ref()) {
            Ok(template) => template,
            Err(wrong) => {
                self.sheet.wrong(text, wrong);
                return None;
            }
        };
        let places = template.placeholders();
        let places = places.filter_map(|p| self.misplaced(text.get_ref(), p, scope));
        let files = template.helper_files().into_iter();
        let files = files.filter_map(|file| self.no_such_file(text.get_ref(), file, scope));
        let wrongs: Vec<Wrong> = places.chain(files).collect();
        let fine = wrongs.is_empty();
        for wrong in wrongs {
            self.sheet.wrong(text, wrong);
        }
        fine.then_some(template)
    }

    /// What is wrong with a placeholder where it stands, if anything.
    fn misplaced(&self, text: &str, placeholder: &Placeholder, scope: Scope) -> Option<Wrong> {
        let shown = placeholder.to_string();
        let meaningless = || format!("`{shown}` has no meaning here");
        let (label, message, help) = match (scope, placeholder) {
            (_, Placeholder::Version(_)) => return None,
            (Scope::Prefix, _) => (
                "only the version may stand here",
                meaningless(),
                "known placeholders here: version, version.1, version.2".to_owned(),
            ),
            (
                Scope::Proof,
                Placeholder::Source | Placeholder::Jobs | Placeholder::Dependency(_),
            ) => (
                "not there any more",
                meaningless(),
                "checks run in the run image, with {prefix} and {files} alone".to_owned(),
            ),
            (Scope::Tests, Placeholder::Jobs | Placeholder::Dependency(_)) => (
                "not there",
                meaningless(),
                "tests run one by one in the run image, with {prefix}, {files} and {source}"
                    .to_owned(),
            ),
            (_, Placeholder::Dependency(name) | Placeholder::DependencyVersion(name)) => (
                "not a dependency",
                format!("`{shown}`: {} has no such dependency", self.name),
                self.dependency_help(name, &shown)?,
            ),
            _ => return None,
        };
        let start = text.find(&shown).unwrap_or(0);
        Some(Wrong {
            at: start..start + shown.len(),
            label,
            message,
            help: Some(help),
        })
    }

    /// What to do if the series has no dependency `name`, of which `shown` speaks.
    fn dependency_help(&self, name: &FormulaName, shown: &str) -> Option<String> {
        let known = self.dependencies.as_ref()?;
        if known.contains(name) {
            return None;
        }
        let word = shown.trim_start_matches("{deps.").trim_end_matches('}');
        let words = |name| [format!("{name}"), format!("{name}.version")];
        let words: Vec<String> = known.iter().flat_map(words).collect();
        Some(match nearest(word, words.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{{deps.{near}}}`?"),
            None => format!("add `dependencies = [\"{name}-VERSION\"]`"),
        })
    }

    /// What to say if the formula has no helper file (or directory of them) called `file`.
    fn no_such_file(&self, text: &str, file: &str, scope: Scope) -> Option<Wrong> {
        let (known, place) = match scope {
            Scope::Tests => (
                self.around.test_files,
                "helper files of tests lie in `tests`, in a directory named after the formula",
            ),
            _ => (
                self.around.files,
                "helper files lie in a directory named after the formula",
            ),
        };
        if known.contains_key(file) || known.keys().any(|path| is_below(path, file)) {
            return None;
        }
        let start = text.find(file).unwrap_or(0);
        let near = nearest(file, known.keys().map(String::as_str));
        Some(Wrong {
            at: start..start + file.len(),
            label: "no such file",
            message: format!("the formula has no helper file `{file}`"),
            help: did_you_mean(near).or_else(|| Some(place.to_owned())),
        })
    }
}

/// What a template of the prefix looks like for some version: enough to judge its form.
fn prefix_text(template: &Template) -> String {
    let version: Version = "1.2.3".parse().expect("a version");
    template.fill_version(&version).unwrap_or_default()
}

/// Whether `path` is relative and every component is a name.
pub(super) fn is_relative(path: &str) -> bool {
    !path.is_empty()
        && path
            .split('/')
            .all(|name| !matches!(name, "" | "." | "..") && !name.contains(char::is_control))
}

/// Whether a link at `path` to `to` ends inside the tree that `path` is relative to.
fn stays_inside(path: &str, to: &str) -> bool {
    let mut depth = path.split('/').count() - 1;
    if to.is_empty() || to.contains(char::is_control) {
        return false;
    }
    for component in Path::new(to).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}
