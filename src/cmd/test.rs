//! `pybuild test`: a runtime's own tests, run where it is going to run.

mod choice;
mod record;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use self::choice::Choice;
use self::record::Place;
use super::by_hand::guest;
use super::make::{Made, Manner, Workshop, batch};
use super::session::{Opened, Session, host_arch, jobs, manifest, terminal};
use super::steward::Outlet;
use super::{Done, Failure, dry_run, registries, source};
use crate::archive::{self, Codec, Extract, Trust};
use crate::build::BuildPlan;
use crate::cli::{Global, Test};
use crate::formula::{Catalog, FileContent, Recipe, Template, Tests, Values};
use crate::model::{Amount, GuestPath, StackName, TestName};
use crate::rootfs::Rootfs;
use crate::sandbox::{Access, Bind, Launcher, Limits};
use crate::suite::{self, Baseline, Comparison, Ran, Round, Subject, Verdict, compare};
use crate::sys::fs::{self as sysfs, FsError};
use crate::ui::{self, ExitKind, Section};

/// Where the source is seen.
const SOURCE: &str = "/build/source";
/// Where dependencies would be seen by a build. Tests have none.
const DEPENDENCIES: &str = "/build/deps";
/// What one test may print, in bytes.
const OUTPUT: u64 = 64 << 20;

/// Runs the tests.
pub(super) fn run(global: &Global, args: &Test) -> Result<Done, Failure> {
    let building = &args.building;
    let directory = building.sources.formulae_dir.as_deref();
    let manifest = manifest(&args.stack, &building.sources.stacks)?;
    let profile = building.profile.as_deref();
    let batch = batch(
        std::slice::from_ref(&args.formula),
        &args.stack,
        directory,
        profile,
    )?;
    let catalog = Catalog::load(directory)?;
    let place = Place::of(args)?;
    let asked = batch.recipes.iter().filter(|recipe| batch.asks_for(recipe));
    let trials = asked.map(|recipe| Trial::of(recipe, &catalog, args, place.as_ref()));
    let trials: Vec<Trial<'_>> = trials.collect::<Result<_, _>>()?;
    if let (true, [_, _, ..]) = (args.record || args.baseline.is_some(), trials.as_slice()) {
        let message = "a baseline is of one version";
        return Err(Failure::new(ExitKind::Usage, message)
            .hint("name it: python-3.11.2, or python-3.11 for the newest"));
    }
    if args.dry_run {
        let jobs = jobs(args.jobs);
        let mut sections = dry_run::sections(global, building, jobs, &manifest, &batch.recipes)?;
        sections.extend(trials.iter().map(Trial::section));
        ui::print(&Section::render(&sections, terminal(global).palette()))?;
        return Ok(Done::Here);
    }
    registries::ahead(global, [&manifest], &building.sources.stacks)?;
    let outlet = place.as_ref().map_or(Outlet::Nothing, |place| {
        Outlet::Directory(&place.directory, None)
    });
    let session = match Session::open_with(global, outlet, &Launcher::default())? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let manner = Manner::of(building, jobs(args.jobs));
    let stacks = &building.sources.stacks;
    let rootfs = source::stack_for(
        &batch.recipes,
        &manner.mirrors,
        &session,
        (&manifest, stacks),
    )?;
    let workshop = Workshop {
        session: &session,
        rootfs: &rootfs,
        manner: &manner,
    };
    let mut made: Vec<Made> = Vec::new();
    for recipe in &batch.recipes {
        let one = workshop.make(recipe, &made, Codec::Gzip, false)?;
        made.push(one);
    }
    let mut runs = Vec::new();
    for trial in &trials {
        let found = made
            .iter()
            .find(|made| made.reference == trial.recipe.reference);
        let found = found.expect("each recipe was made");
        let result = trial.run(found, &workshop, args)?;
        let log = report::log(&session, found, &result)?;
        if let Some(place) = &place {
            place.put(&trial.renewed(&result, &args.stack)?, &session)?;
        }
        let recorded = place.as_ref().map(Place::path);
        runs.push(report::of(trial, found, &result, log, recorded));
    }
    let tested = ui::Tested {
        stack: args.stack.clone(),
        runs,
    };
    if global.json {
        ui::print_json(&tested)?;
    } else {
        ui::print(&tested.render(session.ui.palette()))?;
    }
    Ok(if tested.has_regressions() && place.is_none() {
        Done::Code(ExitKind::Found.code())
    } else {
        Done::Here
    })
}

/// What is tested, by which tests, and how they ended before.
struct Trial<'a> {
    recipe: &'a Recipe,
    tests: Tests,
    choice: Choice,
    before: Option<Baseline>,
    /// Where a baseline would be.
    baseline: PathBuf,
}

/// How tests ended, and what that means.
struct Tried {
    comparison: Comparison,
    ran: BTreeMap<TestName, Ran>,
    /// Those that were run once more, which counts.
    again: BTreeMap<TestName, Ran>,
    /// Keeps what they have printed.
    scratch: crate::store::Scratch,
}

impl<'a> Trial<'a> {
    fn of(
        recipe: &'a Recipe,
        catalog: &Catalog,
        args: &Test,
        place: Option<&Place>,
    ) -> Result<Self, Failure> {
        let (formula, version) = catalog.release(&recipe.reference)?;
        let tests = formula.tests(version)?.ok_or_else(|| {
            let message = format!(
                "the formula {} does not say how it is tested",
                formula.name()
            );
            Failure::new(ExitKind::Usage, message).hint(
                "add `[common.tests]` to it, with `list`, `run` and `suites`: README.md says how",
            )
        })?;
        let baselines = formula.baselines();
        let known = baselines.path(version, &args.stack);
        let built_in = baselines.text(version, &args.stack);
        let (baseline, text) = match (place, &args.baseline) {
            (Some(place), _) => place.now(&known)?,
            (None, Some(file)) => record::given(file)?,
            (None, None) => (known, built_in),
        };
        let before = text.map(|text| record::parse(&text, &baseline));
        Ok(Self {
            choice: Choice::of(args, &recipe.reference, &tests)?,
            before: before.transpose()?,
            recipe,
            tests,
            baseline,
        })
    }

    fn section(&self) -> Section {
        let title = format!("test {} in the run image", self.recipe.reference);
        let run = self.tests.run.iter().map(Template::to_string);
        let run: Vec<String> = run.collect();
        Section::new(
            title,
            [
                format!("for each of {}: {} TEST", self.choice, run.join(" ")),
                match &self.before {
                    Some(_) => format!("compare with {}", self.baseline.display()),
                    None => "there is no baseline: every failure counts".to_owned(),
                },
            ],
        )
    }

    fn run(&self, made: &Made, workshop: &Workshop<'_>, args: &Test) -> Result<Tried, Failure> {
        let session = workshop.session;
        let scratch = session.store.scratch()?;
        let [layer, source, files] =
            ["layer", "source", "files"].map(|name| scratch.path().join(name));
        let prefix = layer.join(self.recipe.prefix.relative());
        self.unpack(made, workshop, [&prefix, &source, &files])?;
        let bind = |source: &Path, target: GuestPath| Bind {
            source: source.to_owned(),
            target,
            access: Access::ReadOnly,
        };
        let binds = [
            bind(&source, guest(SOURCE)),
            bind(&files, BuildPlan::files_target()),
        ];
        let name = self.recipe.reference.to_string();
        let [list, run] = self.commands(workshop.rootfs)?;
        let limits = Limits {
            wall: args.test_timeout,
            output: OUTPUT,
            ..workshop.manner.limits
        };
        let subject = Subject {
            name: &name,
            layer: &layer,
            guest: &self.recipe.prefix,
            binds: &binds,
            run_layers: &workshop.rootfs.run.layers,
            limits: &limits,
            list: &list,
            run: &run,
        };
        let launcher = Launcher::default();
        let tools = suite::Tools {
            store: &session.store,
            host: &session.host,
            launcher: &launcher,
            observer: session.observer(),
            interrupt: &session.interrupt,
            jobs: workshop.manner.jobs,
        };
        let there = suite::list(&subject, &scratch, &tools)?;
        let chosen = self.choice.among(&there, &name)?;
        let run = |tests: &[TestName], round| suite::run(&subject, tests, round, &scratch, &tools);
        let ran = run(&chosen, Round::First)?;
        let first = self.compare([&ran]);
        let again = run(&first.worth_another_try(), Round::Again)?;
        Ok(Tried {
            comparison: self.compare([&ran, &again]),
            ran,
            again,
            scratch,
        })
    }

    /// How tests ended, the last time that they ran, beside how they had.
    fn compare<'r>(
        &self,
        rounds: impl IntoIterator<Item = &'r BTreeMap<TestName, Ran>>,
    ) -> Comparison {
        let ran = rounds.into_iter().flatten();
        let now = ran.map(|(name, ran)| (name.clone(), ran.outcome.clone()));
        let expected = self.choice.expected(self.before.as_ref());
        compare(self.before.as_ref(), &expected, &now.collect())
    }

    /// The packaged tarball, the source that it was made of, and the helper files.
    fn unpack(
        &self,
        made: &Made,
        workshop: &Workshop<'_>,
        [prefix, source, files]: [&Path; 3],
    ) -> Result<(), Failure> {
        let session = workshop.session;
        let title = format!("unpacking {} and its source", self.recipe.reference);
        let phase = session.observer().phase(title, Amount::Unknown);
        for dir in [prefix, source, files] {
            sysfs::create_dir_all(dir)?;
        }
        made.artifact.unpack(prefix, &session.interrupt)?;
        let fetched = source::fetch(self.recipe, &workshop.manner.mirrors, session)?;
        if let Some(blob) = &fetched.blob {
            let file = sysfs::open(blob)?;
            let size = file.metadata().map_err(FsError::new("stat", blob))?.len();
            let how = Extract {
                strip: 1,
                limits: archive::Limits::for_compressed(size),
                ..Extract::new(source, Trust::Sealed)
            };
            archive::decoder(archive::interruptible(file, &session.interrupt))
                .and_then(|tar| archive::extract(tar, &how))?;
        }
        for file in &self.tests.files {
            write(&files.join(file.path()), file)?;
        }
        phase.done();
        Ok(())
    }

    /// The two commands with everything filled in.
    fn commands(&self, rootfs: &Rootfs) -> Result<[Vec<String>; 2], Failure> {
        let Recipe {
            reference,
            prefix,
            dependencies,
            ..
        } = self.recipe;
        let values = Values {
            prefix,
            jobs: "1",
            source: &guest(SOURCE),
            files: &BuildPlan::files_target(),
            dependencies: &guest(DEPENDENCIES),
            references: dependencies,
            version: reference.version(),
            stack: &rootfs.stack,
            arch: host_arch()?,
        };
        let fill = |command: &[Template]| command.iter().map(|arg| arg.fill(&values)).collect();
        Ok([fill(&self.tests.list), fill(&self.tests.run)])
    }

    /// The baseline after this.
    fn renewed(&self, tried: &Tried, stack: &StackName) -> Result<Baseline, Failure> {
        let (_, version) = self.recipe.reference.release().ok_or_else(|| {
            let message = format!("{} has no version", self.recipe.reference);
            Failure::new(ExitKind::Usage, message)
        })?;
        let tests = tried.comparison.tests.iter();
        let now = Baseline {
            stack: stack.clone(),
            version: version.clone(),
            profile: self.recipe.profile.clone(),
            tests: tests
                .filter_map(|judged| Some((judged.name.clone(), judged.now.clone()?)))
                .collect(),
        };
        let lost = tried.comparison.of(Verdict::Regression);
        let lost: Vec<&TestName> = lost
            .filter(|judged| judged.now.is_none())
            .map(|judged| &judged.name)
            .collect();
        let mut before = self.before.clone();
        if let Some(before) = &mut before {
            before.tests.retain(|name, _| !lost.contains(&name));
        }
        Ok(Baseline::renewed(before, now, self.choice.is_all()))
    }
}

fn write(path: &Path, file: &FileContent) -> Result<(), FsError> {
    if let Some(parent) = path.parent() {
        sysfs::create_dir_all(parent)?;
    }
    fs::write(path, file.bytes()).map_err(FsError::new("write", path))
}
