//! `pybuild deploy`: formulae to artifacts to a target.

use super::ids::{Trained, build_ids};
use super::make::{Made, Manner, Workshop, batch, platform};
use super::publisher::{Form, Publisher, Standing, check_network};
use super::scripts::{self, Scripts};
use super::session::{Opened, Session, host_arch, jobs, look, manifest, terminal};
use super::shelf::{Places, Shelf};
use super::target::Outlets;
use super::{Done, Failure, dry_run, locking, registries, reproduce, source};
use crate::archive::Codec;
use crate::cli::{Deploy, Global};
use crate::formula::Recipe;
use crate::model::{Sha256, StackName};
use crate::publish::{Found, Keys, Target, find};
use crate::rootfs::Manifest;
use crate::sys::interrupt::Interrupt;
use crate::ui::{self, Deployed, Deployment, ExitKind, How, Section};

/// What is asked for, in the order of building, and what it needs.
struct Order {
    recipes: Vec<Recipe>,
    /// For each recipe where it is published, if it was asked for.
    keys: Vec<Option<Keys>>,
}

impl Order {
    fn of(args: &Deploy, form: &Form) -> Result<Self, Failure> {
        let batch = batch(
            &scripts::formulae(&args.formulae),
            &args.stack,
            args.building.sources.formulae_dir.as_deref(),
            args.building.profile.as_deref(),
        )?;
        for recipe in &batch.recipes {
            check_network(recipe, &args.publishing)?;
        }
        let key = |recipe: &Recipe| form.keys(&args.stack, recipe);
        let keys: Vec<Option<Keys>> = (batch.recipes.iter())
            .map(|recipe| batch.asks_for(recipe).then(|| key(recipe)))
            .collect();
        let scripts = scripts::asked(&args.formulae).len();
        if args.name.is_some() && keys.iter().flatten().count() + scripts > 1 {
            let message = "--name is for one formula, but several are given";
            return Err(Failure::new(ExitKind::Usage, message).hint("deploy them one by one"));
        }
        Ok(Self {
            recipes: batch.recipes,
            keys,
        })
    }

    /// The recipes that are needed to make those at these places, themselves among them.
    fn needed(&self, wanted: &[bool]) -> Vec<bool> {
        let mut needed = wanted.to_vec();
        // Dependencies come before what needs them.
        for n in (0..self.recipes.len()).rev() {
            if !needed[n] {
                continue;
            }
            for (earlier, recipe) in self.recipes[..n].iter().enumerate() {
                if self.recipes[n].dependencies.contains(&recipe.reference) {
                    needed[earlier] = true;
                }
            }
        }
        needed
    }
}

/// Builds what is asked for, unless the target has it, and publishes it.
pub(super) fn run(global: &Global, args: &Deploy) -> Result<Done, Failure> {
    let building = &args.building;
    let manifest = manifest(&args.stack, &building.sources.stacks)?;
    let form = Form::of(&args.publishing, args.name.as_deref())?;
    let order = Order::of(args, &form)?;
    let outlets = Outlets::to_publish(&args.publishing.targets)?;
    let scripts = Scripts::read(
        &scripts::asked(&args.formulae),
        building.sources.formulae_dir.as_deref(),
        outlets.inputs(),
        args.name.as_deref(),
    )?;
    for (_, recipe) in scripts.unread()? {
        check_network(&recipe, &args.publishing)?;
    }
    if args.dry_run {
        return dry_run(global, args, &manifest, &order, &scripts, &outlets);
    }
    registries::ahead(global, [&manifest], &building.sources.stacks)?;
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
    let manner = Manner {
        shell_on_failure: args.shell_on_failure,
        ..Manner::of(building, jobs(args.jobs))
    };
    let here = locking::prepared(&manifest, &building.sources.stacks, &session.store)?;
    let found = look_before(&publisher, here.is_some(), &order, &manner)?;
    let shelf = Shelf {
        session: &session,
        places: Places {
            remotes: std::iter::once(&target).chain(&upstream).collect(),
            stack: &args.stack,
            arch: host_arch()?,
        },
    };
    let ready = scripts.ready(&order.recipes, &shelf)?;
    look_before_scripts(&publisher, &args.stack, &scripts)?;
    warn_of_prefix(&session, &outlets, args, &scripts);
    let rootfs = session.rootfs(&manifest, &building.sources.stacks)?;
    let workshop = Workshop {
        session: &session,
        rootfs: &rootfs,
        manner: &manner,
    };
    let trained = Trained::of_all(found.iter().flatten());
    let ids = build_ids(&order.recipes, &platform(&rootfs), &trained);
    let mut deployed: Vec<Option<Deployed>> = Vec::new();
    for (n, recipe) in order.recipes.iter().enumerate() {
        deployed.push(match (&order.keys[n], &found[n]) {
            (Some(keys), Some(found)) => {
                let standing = publisher.standing(recipe, keys, found, &ids[n])?;
                there(recipe, keys, &standing)
            }
            _ => None,
        });
    }
    let wanted: Vec<bool> = (order.keys.iter().zip(&deployed))
        .map(|(keys, deployed)| keys.is_some() && deployed.is_none())
        .collect();
    if wanted.contains(&true) && !found.iter().map(Option::as_ref).any(is_lacking) {
        // What is there and is another build did not look lacking.
        publisher.check_writable()?;
    }
    let mut made = make_all(
        &publisher,
        &workshop,
        &order,
        &wanted,
        args.check_reproducible,
    )?;
    for made in &made {
        let n = order
            .recipes
            .iter()
            .position(|recipe| recipe.reference == made.reference);
        if let Some(n) = n.filter(|n| wanted[*n])
            && let Some(keys) = &order.keys[n]
        {
            deployed[n] = Some(publisher.publish(keys, made)?);
        }
    }
    let mut deployed: Vec<Deployed> = deployed.into_iter().flatten().collect();
    for ready in &ready {
        let recipe = ready.recipe(&made, &shelf)?;
        let check = args.check_reproducible;
        deployed.push(one_script(
            &publisher, &workshop, &recipe, &mut made, check,
        )?);
    }
    report(global, args, &session, &outlets, deployed)?;
    Ok(Done::Here)
}

/// bob's prefix ends with the stack, and a script's key here begins with it.
fn warn_of_prefix(session: &Session, outlets: &Outlets, args: &Deploy, scripts: &Scripts) {
    if let Target::S3 { prefix, .. } = outlets.target()
        && scripts.len() > 0
        && prefix.trim_end_matches('/').rsplit('/').next() == Some(args.stack.as_str())
    {
        session.observer().warn(format!(
            "{} ends with the stack's name, and so do keys below it begin: leave it out of S3_PREFIX",
            outlets.target()
        ));
    }
}

/// The same as [`look_before`] for scripts: what one makes has no build id before it is known what
/// it begins with.
fn look_before_scripts(
    publisher: &Publisher<'_>,
    stack: &StackName,
    scripts: &Scripts,
) -> Result<(), Failure> {
    for (_, recipe) in scripts.unread()? {
        let found = publisher.find(&publisher.form.keys(stack, &recipe))?;
        if is_lacking(Some(&found)) {
            return publisher.check_writable();
        }
    }
    Ok(())
}

/// Makes what a script makes, unless the target has it, and publishes it.
fn one_script(
    publisher: &Publisher<'_>,
    workshop: &Workshop<'_>,
    recipe: &Recipe,
    made: &mut Vec<Made>,
    check_reproducible: bool,
) -> Result<Deployed, Failure> {
    let keys = publisher.form.keys(&workshop.rootfs.stack, recipe);
    let found = publisher.find(&keys)?;
    let platform = platform(workshop.rootfs);
    let recipes = std::slice::from_ref(recipe);
    let ids = build_ids(recipes, &platform, &Trained::default()).concat();
    let standing = publisher.standing(recipe, &keys, &found, &ids)?;
    if let Some(there) = there(recipe, &keys, &standing) {
        return Ok(there);
    }
    let one = workshop.make(recipe, made, Codec::Gzip, false)?;
    if check_reproducible {
        reproduce::check(workshop, recipe, made, &one)?;
    }
    let deployed = publisher.publish(&keys, &one)?;
    made.push(one);
    Ok(deployed)
}

/// Finds out what can be found out before a stack is bootstrapped: what the target has, whether it
/// can be written to, whether the sources can be had.
fn look_before(
    publisher: &Publisher<'_>,
    is_prepared: bool,
    order: &Order,
    manner: &Manner,
) -> Result<Vec<Option<Found>>, Failure> {
    let find = |keys: &Option<Keys>| keys.as_ref().map(|keys| publisher.find(keys)).transpose();
    let found = order.keys.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let lacking: Vec<bool> = found.iter().map(Option::as_ref).map(is_lacking).collect();
    if lacking.contains(&true) {
        publisher.check_writable()?;
    }
    let session = publisher.session;
    if !is_prepared {
        let needed = order.needed(&lacking);
        let needed = order
            .recipes
            .iter()
            .zip(needed)
            .filter(|(_, needed)| *needed);
        for (recipe, _) in needed {
            source::fetch(recipe, &manner.mirrors, session)?;
        }
    }
    Ok(found)
}

/// Whether an artifact that was asked for is not there, whatever its build id.
fn is_lacking(found: Option<&Found>) -> bool {
    matches!(found, Some(Found::Nothing | Found::Part))
}

/// What is said of an artifact that the target has already.
pub(super) fn there(recipe: &Recipe, keys: &Keys, standing: &Standing) -> Option<Deployed> {
    match standing {
        Standing::There {
            sha256,
            size,
            build,
        } => Some(Deployed {
            formula: recipe.reference.clone(),
            build: *build,
            key: keys.tarball.clone(),
            size: *size,
            sha256: *sha256,
            how: How::There,
        }),
        Standing::Missing | Standing::Unfinished | Standing::Other { .. } => None,
    }
}

/// Makes what is wanted, and before it what that needs: from the store, from the target or
/// upstream, or built.
fn make_all(
    publisher: &Publisher<'_>,
    workshop: &Workshop<'_>,
    order: &Order,
    wanted: &[bool],
    check_reproducible: bool,
) -> Result<Vec<Made>, Failure> {
    let mut made: Vec<Made> = Vec::new();
    let needed = order.needed(wanted);
    for (n, recipe) in order.recipes.iter().enumerate() {
        if !needed[n] {
            continue;
        }
        let first = if wanted[n] {
            workshop.make(recipe, &made, Codec::Gzip, false)?
        } else {
            publisher.supply(workshop, recipe, &made)?
        };
        if check_reproducible && wanted[n] {
            reproduce::check(workshop, recipe, &made, &first)?;
        }
        made.push(first);
    }
    Ok(made)
}

fn report(
    global: &Global,
    args: &Deploy,
    session: &Session,
    outlets: &Outlets,
    artifacts: Vec<Deployed>,
) -> Result<(), Failure> {
    let target = outlets.target().to_string();
    let (times, elapsed) = (session.ui.times(), session.started.elapsed());
    let deployment = Deployment::new(target, args.stack.clone(), artifacts, times, elapsed);
    if global.json {
        ui::print_json(&deployment)?;
    } else {
        ui::print(&deployment.render(session.ui.palette()))?;
    }
    Ok(())
}

/// Says what would be done, which takes a look at the target.
fn dry_run(
    global: &Global,
    args: &Deploy,
    manifest: &Manifest,
    order: &Order,
    scripts: &Scripts,
    outlets: &Outlets,
) -> Result<Done, Failure> {
    let (building, jobs) = (&args.building, jobs(args.jobs));
    let mut sections = dry_run::sections(global, building, jobs, manifest, &order.recipes)?;
    let prepared = locking::prepared(manifest, &building.sources.stacks, &look(global)?)?;
    let platform = prepared.as_ref().map(platform);
    let remote = outlets.look(global)?;
    let interrupt = Interrupt::manual()
        .map_err(|errno| Failure::new(ExitKind::TryAgain, format!("eventfd: {errno}")))?;
    for (n, recipe) in order.recipes.iter().enumerate() {
        let Some(keys) = &order.keys[n] else { continue };
        let found = find(&remote, keys, &interrupt)?;
        let ids = platform.as_ref().map(|platform| {
            let trained = Trained::of_all([&found]);
            build_ids(&order.recipes, platform, &trained).swap_remove(n)
        });
        let says = would(&found, ids.as_deref(), args.publishing.overwrite);
        let heading = format!("publish {} to {}", recipe.reference, outlets.target());
        let items = [&keys.tarball, &keys.sha256, &keys.record].map(String::clone);
        sections.push(Section::new(
            heading,
            items.into_iter().chain([says.to_owned()]),
        ));
    }
    if scripts.len() > 0 {
        let form = Form::of(&args.publishing, args.name.as_deref())?;
        let upstream = outlets.upstream()?;
        let places = Places {
            remotes: std::iter::once(&remote).chain(&upstream).collect(),
            stack: &args.stack,
            arch: host_arch()?,
        };
        let (looked, recipes) = dry_run::scripts(scripts, &order.recipes, &places)?;
        sections.extend(looked);
        sections.extend(dry_run::sections(
            global, building, jobs, manifest, &recipes,
        )?);
        for recipe in &recipes {
            let keys = form.keys(&args.stack, recipe);
            let found = find(&remote, &keys, &interrupt)?;
            // With what it begins with, its build id would be known.
            let says = would(&found, None, args.publishing.overwrite);
            let heading = format!("publish {} to {}", recipe.reference, outlets.target());
            let items = [keys.tarball, keys.sha256, keys.record, says.to_owned()];
            sections.push(Section::new(heading, items));
        }
    }
    ui::print(&Section::render(&sections, terminal(global).palette()))?;
    Ok(Done::Here)
}

/// What would be done about what the target has. Build ids are known where the stack is prepared.
pub(super) fn would(found: &Found, ids: Option<&[Sha256]>, overwrite: bool) -> &'static str {
    let Some(ids) = ids else {
        return match found {
            Found::Nothing => "nothing is there: it would be built, if need be, and uploaded",
            Found::Part => "an upload is there that was not finished: it would be completed",
            Found::Whole(_) => {
                "a build is there; whether it is this one shows once the stack is prepared"
            }
        };
    };
    match (Standing::of(found, ids), overwrite) {
        (Standing::Missing, _) => "nothing is there: it would be built, if need be, and uploaded",
        (Standing::Unfinished, _) => {
            "an upload is there that was not finished: it would be completed"
        }
        (Standing::There { .. }, _) => "this very build is there: nothing would be done",
        (Standing::Other { .. }, true) => "another build is there: it would be replaced",
        (Standing::Other { .. }, false) => "another build is there: it would be refused",
    }
}
