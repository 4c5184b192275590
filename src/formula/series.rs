//! Checks a series: what `[common]` and one `[[series]]` say together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use toml::Spanned;

use crate::model::{FormulaName, FormulaRef, StackName, Version, VersionRange, nearest};

use super::error::{Sheet, did_you_mean};
use super::glob::Glob;
use super::placeholder::{List, PathTemplate, Placeholder, Template, Wrong};
use super::raw::{RawCheck, RawLink, RawOptions, RawPart, RawStep, Text};
use super::recipe::FileContent;

/// The profile that every formula has: what configure gives.
pub(super) const PLAIN: &str = "plain";

/// How a range of versions is built, checked.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) versions: VersionRange,
    pub(super) dependencies: Vec<Spanned<FormulaRef>>,
    pub(super) options: Options,
    pub(super) profiles: BTreeMap<String, Options>,
    pub(super) patches: Vec<FileContent>,
    pub(super) steps: Vec<Step>,
    pub(super) prune: Vec<Template>,
    pub(super) links: Vec<(Template, Template)>,
    pub(super) checks: Vec<Check>,
    pub(super) modules: Vec<String>,
    pub(super) network: bool,
    pub(super) refuse: Vec<Refusal>,
}

/// The lists and variables that a profile can add to.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) configure: Vec<Template>,
    pub(super) make: Vec<Template>,
    pub(super) install: Vec<Template>,
    pub(super) env: BTreeMap<String, Template>,
}

/// An argument: a text, or a list that takes its place.
#[derive(Debug, Clone)]
pub(super) enum Arg {
    Text(Template),
    List(List),
}

/// A step whose lists are not yet spliced in.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) run: Vec<Arg>,
    pub(super) cwd: Option<PathTemplate>,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) only: Option<String>,
}

/// A check whose lists are not yet spliced in.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) run: Vec<Arg>,
    pub(super) moved: bool,
}

/// Stacks that a series cannot be built on.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) stacks: Vec<StackName>,
    pub(super) why: String,
}

/// What a series can refer to.
pub(super) struct Surroundings<'a> {
    /// The flavours of the formula's sources.
    pub(super) flavours: &'a [String],
    /// Its helper files.
    pub(super) files: &'a BTreeMap<String, FileContent>,
    /// All patches.
    pub(super) patches: &'a BTreeMap<String, FileContent>,
}

/// Where a string stands, and so what it may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In a build: everything.
    Build,
    /// In a proof: there is no source and no dependency any more.
    Proof,
    /// In the description of the prefix: the version alone.
    Prefix,
}

/// Checks what `[common]` and a series say together. `name` is how messages call the series.
pub(super) fn check(
    versions: VersionRange,
    name: &str,
    raw: &RawPart,
    around: &Surroundings<'_>,
    sheet: &mut Sheet,
) -> Series {
    let dependencies = check_dependencies(&raw.dependencies, sheet);
    let mut checker = Checker {
        name,
        dependencies: dependencies
            .iter()
            .map(|dependency| dependency.get_ref().name().clone())
            .collect(),
        around,
        sheet,
    };
    let steps = checker.steps(raw);
    let series = Series {
        versions,
        dependencies,
        options: checker.options(&raw.options),
        profiles: checker.profiles(&raw.profiles),
        patches: checker.patches(&raw.patches),
        steps,
        prune: raw.prune.iter().filter_map(|p| checker.prune(p)).collect(),
        links: raw.links.iter().filter_map(|l| checker.link(l)).collect(),
        checks: checker.checks(raw.checks.as_deref().unwrap_or_default()),
        modules: raw
            .modules
            .iter()
            .filter_map(|m| checker.module(m))
            .collect(),
        network: raw.network.unwrap_or(false),
        refuse: checker.refusals(raw),
    };
    checker.unused_lists(raw, &series);
    series
}

struct Checker<'a> {
    name: &'a str,
    dependencies: Vec<FormulaName>,
    around: &'a Surroundings<'a>,
    sheet: &'a mut Sheet,
}

impl Checker<'_> {
    fn options(&mut self, raw: &RawOptions) -> Options {
        let mut list = |items: &[Text]| {
            let items = items.iter();
            items
                .filter_map(|item| self.template(item, Scope::Build))
                .collect()
        };
        Options {
            configure: list(&raw.configure),
            make: list(&raw.make),
            install: list(&raw.install),
            env: self.env(&raw.env),
        }
    }

    fn profiles(&mut self, raw: &[(Text, RawOptions)]) -> BTreeMap<String, Options> {
        let mut profiles: BTreeMap<String, Options> = BTreeMap::new();
        for (name, options) in raw {
            if !is_word(name.get_ref()) {
                let message = format!("`{}` cannot name a profile", name.get_ref());
                self.sheet.problem(
                    name.span(),
                    "not a name",
                    message,
                    Some("names take lower-case letters, digits, `-` and `_`".to_owned()),
                );
            }
            let Options {
                configure,
                make,
                install,
                env,
            } = self.options(options);
            // `[common]` and the series may both speak of a profile.
            let profile = profiles.entry(name.get_ref().clone()).or_default();
            profile.configure.extend(configure);
            profile.make.extend(make);
            profile.install.extend(install);
            profile.env.extend(env);
        }
        profiles
    }

    fn env(&mut self, raw: &[(Text, Text)]) -> BTreeMap<String, Template> {
        let mut env = BTreeMap::new();
        for (name, value) in raw {
            if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
                let message = format!("`{}` cannot name a variable", name.get_ref());
                self.sheet
                    .problem(name.span(), "not a variable's name", message, None);
                continue;
            }
            if let Some(value) = self.template(value, Scope::Build) {
                env.insert(name.get_ref().clone(), value);
            }
        }
        env
    }

    fn steps(&mut self, raw: &RawPart) -> Vec<Step> {
        let empty = raw
            .steps
            .as_ref()
            .filter(|steps| steps.get_ref().is_empty());
        if let Some(steps) = empty {
            let message = "a build needs at least one step";
            self.sheet.problem(steps.span(), "no step", message, None);
        }
        let raw = raw.steps.as_ref().map(Spanned::get_ref);
        let raw = raw.map(Vec::as_slice).unwrap_or_default();
        for (i, step) in raw.iter().enumerate() {
            let only = |step: &RawStep| step.only.as_ref().map(|only| only.get_ref().clone());
            let twin = raw[..i].iter().any(|other| {
                let apart = only(other).is_some() && only(step).is_some();
                other.name == step.name && !(apart && only(other) != only(step))
            });
            if twin {
                let message = format!("there are two steps `{}`", step.name.get_ref());
                self.sheet
                    .problem(step.name.span(), "the same again", message, None);
            }
        }
        raw.iter().filter_map(|step| self.step(step)).collect()
    }

    fn step(&mut self, raw: &RawStep) -> Option<Step> {
        let name = self.step_name(&raw.name);
        let run = self.run(&raw.run, Scope::Build);
        let cwd = raw.cwd.as_ref().map(|cwd| self.path(cwd));
        let env = self.env(&raw.env);
        let only = raw.only.as_ref().map(|only| self.flavour(only));
        Some(Step {
            name: name?,
            run: run?,
            cwd: match cwd {
                Some(cwd) => Some(cwd?),
                None => None,
            },
            env,
            only,
        })
    }

    /// A step's name goes into logs and messages, one line each.
    fn step_name(&mut self, name: &Text) -> Option<String> {
        let text = name.get_ref();
        if text.is_empty() || text.contains(char::is_control) {
            let message = "a name is one line and not empty";
            self.sheet.problem(name.span(), "not a name", message, None);
            return None;
        }
        Some(text.clone())
    }

    fn flavour(&mut self, only: &Text) -> String {
        let flavours = self.around.flavours;
        if !flavours.contains(only.get_ref()) {
            let near = nearest(only.get_ref(), flavours.iter().map(String::as_str));
            self.sheet.problem(
                only.span(),
                "unknown flavour",
                format!("the source has no flavour `{}`", only.get_ref()),
                did_you_mean(near)
                    .or_else(|| Some(format!("known flavours: {}", flavours.join(", ")))),
            );
        }
        only.get_ref().clone()
    }

    fn checks(&mut self, raw: &[RawCheck]) -> Vec<Check> {
        let mut checks: Vec<Check> = Vec::new();
        for check in raw {
            let (name, run) = (
                self.step_name(&check.name),
                self.run(&check.run, Scope::Proof),
            );
            let (Some(name), Some(run)) = (name, run) else {
                continue;
            };
            if checks.iter().any(|other| other.name == name) {
                let message = format!("there are two checks `{name}`");
                self.sheet
                    .problem(check.name.span(), "the same again", message, None);
            }
            checks.push(Check {
                name,
                run,
                moved: check.moved,
            });
        }
        checks
    }

    fn run(&mut self, raw: &Spanned<Vec<Text>>, scope: Scope) -> Option<Vec<Arg>> {
        let program = raw.get_ref().first();
        if program
            .is_none_or(|p| p.get_ref().is_empty() || List::of_argument(p.get_ref()).is_some())
        {
            let span = program.map_or(raw.span(), Spanned::span);
            let message = "`run` begins with a program";
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

    fn path(&mut self, text: &Text) -> Option<PathTemplate> {
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

    fn patches(&mut self, raw: &[Text]) -> Vec<FileContent> {
        let mut patches: Vec<FileContent> = Vec::new();
        for name in raw {
            let known = self.around.patches;
            let Some(patch) = known.get(name.get_ref()) else {
                let near = nearest(name.get_ref(), known.keys().map(String::as_str));
                self.sheet.problem(
                    name.span(),
                    "no such patch",
                    format!("there is no patch `{}`", name.get_ref()),
                    did_you_mean(near)
                        .or_else(|| Some("patches are named by their path below patches/".into())),
                );
                continue;
            };
            if patches.iter().any(|p| p.path() == patch.path()) {
                let message = format!("the patch `{}` is there twice", patch.path());
                self.sheet
                    .problem(name.span(), "the same again", message, None);
            }
            patches.push(patch.clone());
        }
        patches
    }

    fn prune(&mut self, text: &Text) -> Option<Template> {
        let template = self.template(text, Scope::Prefix)?;
        match prefix_text(&template).parse::<Glob>() {
            Ok(_) => Some(template),
            Err(error) => {
                self.sheet.problem(
                    text.span(),
                    error.why,
                    error.to_string(),
                    Some("it looks like lib/python*/test".to_owned()),
                );
                None
            }
        }
    }

    fn link(&mut self, raw: &RawLink) -> Option<(Template, Template)> {
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

    fn module(&mut self, text: &Text) -> Option<String> {
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

    fn refusals(&mut self, raw: &RawPart) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for refusal in &raw.refuse {
            if refusal.stacks.get_ref().is_empty() {
                let message = "a refusal needs at least one stack";
                self.sheet
                    .problem(refusal.stacks.span(), "no stack", message, None);
            }
            if refusal.why.get_ref().trim().is_empty() {
                let message = "a refusal must say why";
                self.sheet
                    .problem(refusal.why.span(), "no reason", message, None);
            }
            let mut stacks = Vec::new();
            for stack in refusal.stacks.get_ref() {
                match stack.get_ref().parse() {
                    Ok(stack) => stacks.push(stack),
                    Err(error) => {
                        let message = format!("{error}");
                        self.sheet
                            .problem(stack.span(), "not a stack's name", message, None);
                    }
                }
            }
            refusals.push(Refusal {
                stacks,
                why: refusal.why.get_ref().clone(),
            });
        }
        refusals
    }

    /// A list that no step takes would be left out of the build without a word.
    fn unused_lists(&mut self, raw: &RawPart, series: &Series) {
        let options = std::iter::once(&raw.options).chain(raw.profiles.iter().map(|(_, o)| o));
        let taken: BTreeSet<&str> = series
            .steps
            .iter()
            .flat_map(|step| &step.run)
            .filter_map(|arg| match arg {
                Arg::List(list) => Some(list.name()),
                Arg::Text(_) => None,
            })
            .collect();
        for options in options {
            for (name, items) in [
                ("configure", &options.configure),
                ("make", &options.make),
                ("install", &options.install),
            ] {
                if let Some(first) = items.first()
                    && !taken.contains(name)
                {
                    self.sheet.problem(
                        first.span(),
                        "never used",
                        format!("`{name}` is given, but no step takes `{{{name}}}`"),
                        Some(format!("add the argument \"{{{name}}}\" to a step's `run`")),
                    );
                }
            }
        }
    }

    /// Parses a string and checks what it refers to.
    fn template(&mut self, text: &Text, scope: Scope) -> Option<Template> {
        let template = match Template::parse(text.get_ref()) {
            Ok(template) => template,
            Err(wrong) => {
                self.sheet.wrong(text, wrong);
                return None;
            }
        };
        let mut fine = true;
        for placeholder in template.placeholders() {
            let wrong = match placeholder {
                Placeholder::Version(_) => None,
                _ if scope == Scope::Prefix => Some((
                    "only the version may stand here",
                    "known placeholders here: version, version.1, version.2".to_owned(),
                )),
                Placeholder::Source | Placeholder::Jobs | Placeholder::Dependency(_)
                    if scope == Scope::Proof =>
                {
                    Some((
                        "not there any more",
                        "checks run in the run image: of the build they see {prefix} and {files} alone"
                            .to_owned(),
                    ))
                }
                Placeholder::Dependency(name) if !self.dependencies.contains(name) => Some((
                    "not a dependency",
                    self.dependency_help(name),
                )),
                _ => None,
            };
            if let Some((label, help)) = wrong {
                fine = false;
                let shown = placeholder.to_string();
                let start = text.get_ref().find(&shown).unwrap_or(0);
                let wrong = Wrong {
                    at: start..start + shown.len(),
                    label,
                    message: match label {
                        "not a dependency" => {
                            format!("`{shown}`: {} has no such dependency", self.name)
                        }
                        _ => format!("`{shown}` has no meaning here"),
                    },
                    help: Some(help),
                };
                self.sheet.wrong(text, wrong);
            }
        }
        for file in template.helper_files() {
            let known = self.around.files;
            if known.contains_key(file) || known.keys().any(|k| is_below(k, file)) {
                continue;
            }
            fine = false;
            let start = text.get_ref().find(file).unwrap_or(0);
            let near = nearest(file, known.keys().map(String::as_str));
            let wrong = Wrong {
                at: start..start + file.len(),
                label: "no such file",
                message: format!("the formula has no helper file `{file}`"),
                help: did_you_mean(near).or_else(|| {
                    Some("helper files lie in a directory named after the formula".to_owned())
                }),
            };
            self.sheet.wrong(text, wrong);
        }
        fine.then_some(template)
    }

    fn dependency_help(&self, name: &FormulaName) -> String {
        let known = self.dependencies.iter().map(FormulaName::as_str);
        match nearest(name.as_str(), known) {
            Some(near) => format!("did you mean `{{deps.{near}}}`?"),
            None => format!("add `dependencies = [\"{name}-VERSION\"]`"),
        }
    }
}

fn check_dependencies(raw: &[Text], sheet: &mut Sheet) -> Vec<Spanned<FormulaRef>> {
    let mut dependencies: Vec<Spanned<FormulaRef>> = Vec::new();
    for text in raw {
        let reference: FormulaRef = match text.get_ref().parse() {
            Ok(reference) => reference,
            Err(error) => {
                let message = format!("{error}");
                let label = "not a formula at a version";
                let help = Some("it looks like sqlite-3.46.1".to_owned());
                sheet.problem(text.span(), label, message, help);
                continue;
            }
        };
        let name = reference.name();
        if dependencies.iter().any(|d| d.get_ref().name() == name) {
            let message = format!("`{name}` is there twice, but {{deps.{name}}} is one place");
            sheet.problem(text.span(), "the same again", message, None);
            continue;
        }
        dependencies.push(Spanned::new(text.span(), reference));
    }
    dependencies
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

/// Whether `text` is a name such as `optimized` or `tgz`.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}
