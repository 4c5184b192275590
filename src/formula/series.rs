//! Checks a series: what `[common]` and one `[[series]]` say together.

use std::collections::BTreeMap;

use jiff::civil::Date;
use toml::Spanned;

use crate::model::{FormulaRef, VersionRange, nearest};

use super::placeholder::{PathTemplate, Template};
use super::raw::{RawCheck, RawOptions, RawPart, RawStep};
use super::recipe::FileContent;
use super::sheet::{Sheet, Text, did_you_mean};
use super::sigstore::Identity;
use super::stacks::{Addition, Refusal};
use super::strings::{Arg, Checker, Scope, Surroundings};
use super::tests::Tested;
use super::training::training_name;

/// The profile that every formula has: what configure gives.
pub(super) const PLAIN: &str = "plain";

/// How a range of versions is built, checked.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) versions: VersionRange,
    /// The last day on which upstream mends it.
    pub(super) end_of_life: Option<Date>,
    /// Whose signatures on its releases count: fingerprints of PGP keys, in upper case.
    pub(super) signed_by: Vec<String>,
    /// Whose signatures by Sigstore count.
    pub(super) sigstore: Option<Identity>,
    pub(super) dependencies: Vec<Spanned<FormulaRef>>,
    pub(super) options: Options,
    pub(super) profiles: BTreeMap<String, Profile>,
    pub(super) patches: Vec<FileContent>,
    pub(super) steps: Vec<Step>,
    pub(super) prune: Vec<Template>,
    pub(super) links: Vec<(Template, Template)>,
    pub(super) checks: Vec<Check>,
    pub(super) modules: Vec<String>,
    pub(super) network: bool,
    /// What it has besides on some stacks.
    pub(super) additions: Vec<Addition>,
    pub(super) refuse: Vec<Refusal>,
    pub(super) tests: Option<Tested>,
}

/// The lists and variables that a profile can add to.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) configure: Vec<Template>,
    pub(super) make: Vec<Template>,
    pub(super) install: Vec<Template>,
    pub(super) env: BTreeMap<String, Template>,
}

/// A set of build options with a name.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    /// Which versions it is for; all of the series if nothing is said.
    pub(super) versions: Option<VersionRange>,
    pub(super) options: Options,
    /// The steps that make, of the same source, what the build is optimized by; none if it needs
    /// nothing of the kind.
    pub(super) training: Vec<Step>,
}

/// A step whose lists are not yet spliced in.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) run: Vec<Arg>,
    pub(super) cwd: Option<PathTemplate>,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) only: Option<String>,
    pub(super) profile: Option<String>,
}

/// A check whose lists are not yet spliced in.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) run: Vec<Arg>,
    pub(super) moved: bool,
}

impl Series {
    /// Whether upstream does not mend it any more.
    pub(super) fn is_past(&self, today: Date) -> bool {
        self.end_of_life.is_some_and(|day| day < today)
    }
}

/// What a series says of itself alone.
pub(super) struct About {
    pub(super) versions: VersionRange,
    pub(super) end_of_life: Option<Date>,
    pub(super) signed_by: Vec<String>,
    pub(super) sigstore: Option<Identity>,
}

/// Checks what `[common]` and a series say together. `name` is how messages call the series.
pub(super) fn check(
    About {
        versions,
        end_of_life,
        signed_by,
        sigstore,
    }: About,
    name: &str,
    raw: &RawPart,
    around: &Surroundings<'_>,
    sheet: &mut Sheet,
) -> Series {
    let dependencies = check_dependencies(&raw.dependencies, sheet);
    let names = dependencies.iter().map(|d| d.get_ref().name().clone());
    let trains = around.profiles.values().any(|trains| *trains);
    let trained = trains.then(|| training_name(around.formula));
    let mut checker = Checker {
        name,
        // If one is illegible, nobody can say that a placeholder does not mean it.
        dependencies: (dependencies.len() == raw.dependencies.len())
            .then(|| names.chain(trained).collect()),
        around,
        sheet,
    };
    let series = Series {
        versions,
        end_of_life,
        signed_by,
        sigstore,
        dependencies,
        options: checker.options(&raw.options),
        profiles: checker.profiles(&raw.profiles),
        patches: checker.patches(&raw.patches),
        steps: checker.steps(raw.steps.as_ref()),
        prune: raw.prune.iter().filter_map(|p| checker.prune(p)).collect(),
        links: raw.links.iter().filter_map(|l| checker.link(l)).collect(),
        checks: checker.checks(raw.checks.as_deref().unwrap_or_default()),
        modules: raw
            .modules
            .iter()
            .filter_map(|m| checker.module(m))
            .collect(),
        network: raw.network.unwrap_or(false),
        additions: checker.additions(raw),
        refuse: checker.refusals(raw),
        tests: raw.tests.as_ref().and_then(|tests| checker.tests(tests)),
    };
    checker.unused_lists(raw);
    checker.untrained(raw);
    series
}

impl Checker<'_> {
    pub(super) fn options(&mut self, raw: &RawOptions) -> Options {
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

    pub(super) fn steps(&mut self, raw: Option<&Spanned<Vec<RawStep>>>) -> Vec<Step> {
        if let Some(steps) = raw.filter(|steps| steps.get_ref().is_empty()) {
            let message = "a build needs at least one step";
            self.sheet.problem(steps.span(), "no step", message, None);
        }
        let raw = raw.map(Spanned::get_ref);
        let raw = raw.map(Vec::as_slice).unwrap_or_default();
        for (i, step) in raw.iter().enumerate() {
            let apart = |one: Option<&Text>, other: Option<&Text>| {
                one.zip(other)
                    .is_some_and(|(one, other)| one.get_ref() != other.get_ref())
            };
            let twin = raw[..i].iter().any(|other| {
                other.name == step.name
                    && !apart(other.only.as_ref(), step.only.as_ref())
                    && !apart(other.profile.as_ref(), step.profile.as_ref())
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
            profile: raw.profile.as_ref().map(|name| name.get_ref().clone()),
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

    pub(super) fn checks(&mut self, raw: &[RawCheck]) -> Vec<Check> {
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

    pub(super) fn patches(&mut self, raw: &[Text]) -> Vec<FileContent> {
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

    /// A list that no step takes would be left out of the build without a word.
    fn unused_lists(&mut self, raw: &RawPart) {
        let steps = raw.steps.as_ref().map(Spanned::get_ref);
        let args = steps.into_iter().flatten().flat_map(|s| s.run.get_ref());
        let args: Vec<&str> = args.map(|arg| arg.get_ref().as_str()).collect();
        // Inside a longer argument it is a mistake too, but another one.
        let taken = |name: &str| args.iter().any(|arg| arg.contains(&format!("{{{name}}}")));
        for options in raw.all_options() {
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

/// A range of versions, as it is written.
pub(super) fn check_range(text: &Text, sheet: &mut Sheet) -> Option<VersionRange> {
    let range = text.get_ref().parse();
    if range.is_err() {
        sheet.problem(
            text.span(),
            "not a range",
            format!("`{}` is not a range of versions", text.get_ref()),
            Some("it looks like >=3.10, <3.12".to_owned()),
        );
    }
    range.ok()
}

/// Fingerprints of PGP keys, with or without blanks.
pub(super) fn check_signers(raw: &[Text], sheet: &mut Sheet) -> Vec<String> {
    let mut signers = Vec::new();
    for text in raw {
        let digits: String = text.get_ref().split_whitespace().collect();
        if digits.len() == 40 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
            signers.push(digits.to_ascii_uppercase());
            continue;
        }
        sheet.problem(
            text.span(),
            "not a fingerprint",
            format!(
                "`{}` is not the fingerprint of an OpenPGP key",
                text.get_ref()
            ),
            Some("it has 40 hexadecimal digits".to_owned()),
        );
    }
    signers
}

/// Who signs with Sigstore. The issuer is named by its URL.
pub(super) fn check_identity((identity, issuer): &(Text, Text), sheet: &mut Sheet) -> Identity {
    if identity.get_ref().trim().is_empty() {
        let message = "an identity needs a name";
        sheet.problem(identity.span(), "no name", message, None);
    }
    if !issuer.get_ref().starts_with("https://") {
        sheet.problem(
            issuer.span(),
            "not a URL",
            format!("`{}` is not the URL of an issuer", issuer.get_ref()),
            Some("it looks like https://github.com/login/oauth".to_owned()),
        );
    }
    Identity {
        identity: identity.get_ref().clone(),
        issuer: issuer.get_ref().clone(),
    }
}

pub(super) fn check_dependencies(raw: &[Text], sheet: &mut Sheet) -> Vec<Spanned<FormulaRef>> {
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
