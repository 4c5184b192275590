//! `pybuild deploy-runtimes`: a matrix of runtimes and stacks, whatever of it is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::deploy::there;
use super::ids::{Trained, build_ids};
use super::make::{Made, Manner, Workshop, platform, today};
use super::publisher::{Form, Publisher, check_network};
use super::session::{Opened, jobs, terminal};
use super::target::Outlets;
use super::{Done, Failure, registries};
use crate::archive::Codec;
use crate::cli::{DeployRuntimes, Global};
use crate::farm::{
    Crew, Ended, Job, Matrix, Results, Stacks, Stopped, Task, Work, matrix, run as work_off, tasks,
    wanted,
};
use crate::formula;
use crate::model::{Amount, Observer, StackName};
use crate::publish::{Keys, are_there};
use crate::rootfs::{self, Manifest, Rootfs};
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, Cell, Deployed, ExitKind, Grid, How, State};

/// Deploys what is missing.
pub(super) fn run(global: &Global, args: &DeployRuntimes) -> Result<Done, Failure> {
    let manifests = rootfs::Catalog::load(args.building.sources.stacks.manifests.as_deref())?;
    let matrix = asked(args, &manifests)?;
    let form = Form::of(&args.publishing, None)?;
    let keys: Vec<Keys> = matrix
        .jobs
        .iter()
        .map(|job| form.keys(&job.stack, &job.recipe))
        .collect();
    let outlets = Outlets::to_publish(&args.publishing.targets)?;
    let mut cells = Cells::new(&matrix, &keys);
    for (n, job) in matrix.jobs.iter().enumerate() {
        let mut recipes = job.dependencies.iter().chain([&job.recipe]);
        if let Err(failure) = recipes.try_for_each(|it| check_network(it, &args.publishing)) {
            cells.failed(n, &failure);
        }
    }
    if args.dry_run {
        let interrupt = manual()?;
        let target = outlets.look(global)?;
        let terminal = terminal(global);
        missing(&mut cells, &keys, &target, &interrupt, &terminal)?;
        return cells.finish(
            global,
            &outlets,
            terminal.palette(),
            std::time::Instant::now(),
            None,
        );
    }
    let stacks: BTreeSet<_> = matrix.jobs.iter().map(|job| &job.stack).collect();
    let needed = stacks
        .into_iter()
        .filter_map(|name| manifests.get(name).ok());
    registries::ahead(global, needed, &args.building.sources.stacks)?;
    let session = match outlets.session(global)? {
        Opened::Session(session) => session,
        Opened::Elsewhere(status) => return Ok(Done::Elsewhere(status)),
    };
    let (target, upstream) = (outlets.remote()?, outlets.upstream()?);
    let publisher = Publisher {
        session: &session,
        target: &target,
        upstream: upstream.as_ref(),
        form: &form,
    };
    missing(
        &mut cells,
        &keys,
        &target,
        &session.interrupt,
        session.observer(),
    )?;
    if form.overwrite {
        // Which build it is that is there, its record tells.
        cells.doubt();
    }
    let wanted = cells.missing();
    if !wanted.is_empty() {
        publisher.check_writable()?;
        let floor = Floor {
            args,
            manifests: &manifests,
            jobs: &matrix.jobs,
            keys: &keys,
            tasks: tasks(&matrix.jobs, &wanted),
            publisher,
        };
        floor.work(&mut cells);
    }
    let interrupted = session.interrupt.check().err();
    let palette = session.ui.palette();
    cells.finish(
        global,
        &outlets,
        palette,
        session.started,
        interrupted.map(Failure::from),
    )
}

fn manual() -> Result<Interrupt, Failure> {
    Interrupt::manual()
        .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("eventfd: {errno}")))
}

/// What the words on the command line mean.
fn asked(args: &DeployRuntimes, manifests: &rootfs::Catalog) -> Result<Matrix, Failure> {
    let catalog = formula::Catalog::load(args.building.sources.formulae_dir.as_deref())?;
    let today = today();
    let known = manifests.names().into_iter().map(|name| {
        let supported = manifests
            .get(name)
            .is_ok_and(|it| it.end_of_life() >= today);
        (name.clone(), supported)
    });
    let stacks = Stacks(known.collect()).named(&args.stacks)?;
    let wanted = wanted(&args.runtimes)?;
    let profile = args.building.profile.as_deref();
    let matrix = matrix(&wanted, &stacks, &catalog, profile, today)?;
    if matrix.jobs.is_empty() {
        let message = "there is nothing to deploy: each of these runtimes is refused for each of \
                       these stacks";
        let mut failure = Failure::new(ExitKind::Usage, message);
        for refused in matrix.refused.iter().take(10) {
            failure = failure.hint(format!(
                "{} for {}: {}",
                refused.reference, refused.stack, refused.why
            ));
        }
        return Err(failure);
    }
    Ok(matrix)
}

/// Finds out what the target lacks: quickly, without reading anything.
fn missing(
    cells: &mut Cells,
    keys: &[Keys],
    target: &crate::publish::Remote,
    interrupt: &Interrupt,
    observer: &dyn Observer,
) -> Result<(), Failure> {
    let title = format!(
        "looking for {} artifacts in {}",
        keys.len(),
        target.target()
    );
    let phase = observer.phase(title, Amount::Unknown);
    let there = are_there(target, keys, interrupt)?;
    for (n, _) in there.iter().enumerate().filter(|(_, there)| **there) {
        cells.there(n);
    }
    let lacking = cells.missing().len();
    phase.done_with(format!("{lacking} missing"));
    Ok(())
}

/// What became of each so far: one cell for each job, and those that are refused.
struct Cells {
    matrix: Matrix,
    jobs: Vec<Cell>,
    refused: Vec<Cell>,
}

impl Cells {
    fn new(matrix: &Matrix, keys: &[Keys]) -> Self {
        let empty = |stack: &StackName, formula: &crate::model::FormulaRef, state| Cell {
            stack: stack.clone(),
            formula: formula.clone(),
            state,
            key: None,
            sha256: None,
            why: None,
            log: None,
        };
        let jobs = matrix.jobs.iter().zip(keys);
        Self {
            jobs: jobs
                .map(|(job, keys)| Cell {
                    key: Some(keys.tarball.clone()),
                    ..empty(&job.stack, &job.recipe.reference, State::Missing)
                })
                .collect(),
            refused: matrix
                .refused
                .iter()
                .map(|it| Cell {
                    why: Some(it.why.clone()),
                    ..empty(&it.stack, &it.reference, State::Refused)
                })
                .collect(),
            matrix: matrix.clone(),
        }
    }

    fn there(&mut self, n: usize) {
        if self.jobs[n].state == State::Missing {
            self.jobs[n].state = State::There;
        }
    }

    /// Takes back what was only seen from far.
    fn doubt(&mut self) {
        for cell in &mut self.jobs {
            if cell.state == State::There {
                cell.state = State::Missing;
            }
        }
    }

    fn missing(&self) -> Vec<usize> {
        let missing = |n: &usize| self.jobs[*n].state == State::Missing;
        (0..self.jobs.len()).filter(missing).collect()
    }

    fn deployed(&mut self, n: usize, deployed: &Deployed) {
        let cell = &mut self.jobs[n];
        cell.sha256 = Some(deployed.sha256);
        cell.state = match deployed.how {
            How::Published => State::Built,
            How::There => State::There,
        };
    }

    fn failed(&mut self, n: usize, failure: &Failure) {
        let cell = &mut self.jobs[n];
        cell.state = match failure.exit() {
            ExitKind::Signal(_) => State::Stopped,
            _ => State::Failed,
        };
        cell.why = Some(failure.message());
        cell.log = failure.log().map(std::path::Path::to_owned);
    }

    fn stopped(&mut self, n: usize, why: String) {
        self.jobs[n].state = State::Stopped;
        self.jobs[n].why = Some(why);
    }

    /// The table, and what the program ends with.
    fn finish(
        self,
        global: &Global,
        outlets: &Outlets,
        palette: ui::Palette,
        started: std::time::Instant,
        interrupted: Option<Failure>,
    ) -> Result<Done, Failure> {
        let mut results = self.jobs;
        results.extend(self.refused);
        let Matrix {
            runtimes, stacks, ..
        } = self.matrix;
        let target = outlets.target().to_string();
        let grid = Grid::new(target, runtimes, stacks, results, started.elapsed());
        if global.json {
            ui::print_json(&grid)?;
        } else {
            ui::print(&grid.render(palette))?;
        }
        if let Some(failure) = interrupted {
            return Err(failure);
        }
        let failed = grid.count(State::Failed) + grid.count(State::Stopped);
        if failed == 0 {
            return Ok(Done::Here);
        }
        let all = grid.results.len() - grid.count(State::Refused);
        let message = format!("{failed} of {all} are not published");
        Err(Failure::new(ExitKind::BuildFailed, message)
            .hint("run the same command again: only what is missing is done"))
    }
}

/// What a task gives.
#[derive(Clone)]
enum Product {
    Stack(Arc<Rootfs>),
    Made(Box<Made>),
    Deployed(Box<Deployed>),
}

/// Where the tasks are worked off.
struct Floor<'a> {
    args: &'a DeployRuntimes,
    manifests: &'a rootfs::Catalog,
    jobs: &'a [Job],
    keys: &'a [Keys],
    tasks: Vec<Task>,
    publisher: Publisher<'a>,
}

impl Floor<'_> {
    fn work(&self, cells: &mut Cells) {
        let session = self.publisher.session;
        let crew = Crew::new(self.args.jobs, jobs(None));
        let needs: Vec<Vec<usize>> = self.tasks.iter().map(|task| task.needs.clone()).collect();
        let ended = work_off(&needs, crew, &session.interrupt, &|n, share, result| {
            let done = self.task(&self.tasks[n], share, result);
            if let Err(failure) = &done
                && !matches!(failure.exit(), ExitKind::Signal(_))
            {
                let what = self.title(&self.tasks[n]);
                let message = failure.message();
                session.observer().warn(format!("{what} failed: {message}"));
            }
            done
        });
        let mut why: BTreeMap<usize, String> = BTreeMap::new();
        for (n, ended) in ended.iter().enumerate() {
            if let Ended::Failed(failure) = ended {
                why.insert(
                    n,
                    format!("{}: {}", self.title(&self.tasks[n]), failure.message()),
                );
            }
        }
        for (task, ended) in self.tasks.iter().zip(&ended) {
            let Work::Deploy(n) = task.work else { continue };
            match ended {
                Ended::Done(Product::Deployed(deployed)) => cells.deployed(n, deployed),
                Ended::Done(_) => {}
                Ended::Failed(failure) => cells.failed(n, failure),
                Ended::Stopped(Stopped::Needs(need)) => {
                    cells.stopped(n, why.get(need).cloned().unwrap_or_default());
                }
                Ended::Stopped(Stopped::Interrupted(error)) => cells.stopped(n, error.to_string()),
            }
        }
    }

    fn title(&self, task: &Task) -> String {
        match &task.work {
            Work::Prepare => format!("preparing {}", task.stack),
            Work::Build(recipe) => format!("{} for {}", recipe.reference, task.stack),
            Work::Deploy(n) => format!("{} for {}", self.jobs[*n].recipe.reference, task.stack),
        }
    }

    fn task(
        &self,
        task: &Task,
        share: usize,
        result: Results<'_, Product>,
    ) -> Result<Product, Failure> {
        let (mut rootfs, mut made) = (None, Vec::new());
        for product in task.needs.iter().filter_map(|need| result(*need)) {
            match product {
                Product::Stack(stack) => rootfs = Some(stack),
                Product::Made(one) => made.push(*one),
                Product::Deployed(_) => {}
            }
        }
        let session = self.publisher.session;
        let sources = &self.args.building.sources.stacks;
        let rootfs = if let Some(rootfs) = rootfs {
            rootfs
        } else {
            let manifest: &Manifest = self.manifests.get(&task.stack)?;
            Arc::new(session.rootfs(manifest, sources)?)
        };
        let manner = Manner::of(&self.args.building, share);
        let workshop = Workshop {
            session,
            rootfs: &rootfs,
            manner: &manner,
        };
        match &task.work {
            Work::Prepare => Ok(Product::Stack(rootfs)),
            Work::Build(recipe) => {
                let made = self.publisher.supply(&workshop, recipe, &made)?;
                Ok(Product::Made(Box::new(made)))
            }
            Work::Deploy(n) => {
                let deployed = self.deploy(&workshop, *n, &made)?;
                Ok(Product::Deployed(Box::new(deployed)))
            }
        }
    }

    fn deploy(
        &self,
        workshop: &Workshop<'_>,
        n: usize,
        made: &[Made],
    ) -> Result<Deployed, Failure> {
        let (Job { recipe, .. }, keys) = (&self.jobs[n], &self.keys[n]);
        let publisher = &self.publisher;
        let recipes: Vec<_> = self.jobs[n]
            .dependencies
            .iter()
            .chain([recipe])
            .cloned()
            .collect();
        let found = publisher.find(keys)?;
        let trained = Trained::of_all([&found]);
        let ids = build_ids(&recipes, &platform(workshop.rootfs), &trained);
        let ids = ids.last().map(Vec::as_slice).unwrap_or_default();
        let standing = publisher.standing(recipe, keys, &found, ids)?;
        if let Some(deployed) = there(recipe, keys, &standing) {
            return Ok(deployed);
        }
        let made = workshop.make(recipe, made, Codec::Gzip, false)?;
        publisher.publish(keys, &made)
    }
}
