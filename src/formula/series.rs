//! Checks a series: what `[common]` and one `[[series]]` say together.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::model::{FormulaRef, StackName, VersionRange, nearest};

use super::placeholder::{PathTemplate, Template};
use super::raw::{RawCheck, RawOptions, RawPart, RawStep};
use super::recipe::FileContent;
use super::sheet::{Sheet, Text, did_you_mean};
use super::strings::{Arg, Checker, Scope, Surroundings};

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

/// Checks what `[common]` and a series say together. `name` is how messages call the series.
pub(super) fn check(
    versions: VersionRange,
    name: &str,
    raw: &RawPart,
    around: &Surroundings<'_>,
    sheet: &mut Sheet,
) -> Series {
    let dependencies = check_dependencies(&raw.dependencies, sheet);
    let names = dependencies.iter().map(|d| d.get_ref().name().clone());
    let mut checker = Checker {
        name,
        // If one is illegible, nobody can say that a placeholder does not mean it.
        dependencies: (dependencies.len() == raw.dependencies.len()).then(|| names.collect()),
        around,
        sheet,
    };
    let series = Series {
        versions,
        dependencies,
        options: checker.options(&raw.options),
        profiles: checker.profiles(&raw.profiles),
        patches: checker.patches(&raw.patches),
        steps: checker.steps(raw),
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
    checker.unused_lists(raw);
    series
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
            if !is_variable(name.get_ref()) {
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

    fn flavour(&mut self, only: &Text) -> String {
        if let Some(flavours) = self.around.flavours
            && !flavours.contains(only.get_ref())
        {
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
    fn unused_lists(&mut self, raw: &RawPart) {
        let steps = raw.steps.as_ref().map(Spanned::get_ref);
        let args = steps.into_iter().flatten().flat_map(|s| s.run.get_ref());
        let args: Vec<&str> = args.map(|arg| arg.get_ref().as_str()).collect();
        // Inside a longer argument it is a mistake too, but another one.
        let taken = |name: &str| args.iter().any(|arg| arg.contains(&format!("{{{name}}}")));
        let profiles = raw.profiles.iter().map(|(_, options)| options);
        for options in std::iter::once(&raw.options).chain(profiles) {
            for (name, items) in [
                ("configure", &options.configure),
                ("make", &options.make),
                ("install", &options.install),
            ] {
                if let Some(first) = items.first()
                    && !taken(name)
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

/// Whether a shell can set a variable of this name.
fn is_variable(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Whether `text` is a name such as `optimized` or `tgz`.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}
