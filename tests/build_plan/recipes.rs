//! What is built, in which order: trainings, and what is added on some stacks.

use pybuild::formula::{Catalog, FileContent};

use super::Given;
use super::formulae::{OTHER, OTHER_VERSIONS, laid_out};

/// A formula whose profile is trained.
pub(crate) fn trained() -> Given {
    let mut given = Given::new();
    given.profile = "optimized";
    given.edit(
        "thing.toml",
        "profiles.optimized.configure = []",
        "profiles.optimized.versions = \"<2.1\"\n\
         profiles.optimized.configure = [\"--fast\"]\n\
         profiles.optimized.training = [\n\
         { name = \"configure\", run = [\"./configure\", \"{configure}\"] },\n\
         { name = \"learn\", run = [\"./learn\", \"{prefix}\"] }]",
    );
    given.edit(
        "thing.toml",
        "  { name = \"install\",",
        "  { name = \"take\", run = [\"cp\", \"-R\", \"{deps.thing-profile}\", \".\"], profile = \"optimized\" },\n\
         { name = \"spell\", run = [\"true\"], profile = \"plain\" },\n\
         { name = \"install\",",
    );
    given
}

#[test]
fn what_is_trained_is_built_after_its_training() {
    let given = trained();
    let dir = laid_out(&given.files);
    let catalog = Catalog::load(Some(dir.path())).expect("good formulae");
    let stack = &given.platform.stack;
    let recipes = |profile| {
        let reference = "thing-2.0".parse().expect("a reference");
        catalog
            .recipes(&reference, profile, stack)
            .expect("recipes")
    };
    let names = |profile| -> Vec<String> {
        let recipes = recipes(profile).into_iter();
        recipes
            .map(|it| format!("{} {}", it.kind, it.reference))
            .collect()
    };
    let plain = ["library other-1.0", "library thing-2.0"];
    assert_eq!(names(Some("plain")), plain);
    // A library is usually built plain.
    assert_eq!(names(None), plain);
    let optimized = [
        "library other-1.0",
        "profile thing-profile-2.0",
        "library thing-2.0",
    ];
    assert_eq!(names(Some("optimized")), optimized);
    let built = recipes(Some("optimized"));
    let steps = |n: usize| -> Vec<&str> {
        built[n]
            .steps
            .iter()
            .map(|step| step.name.as_str())
            .collect()
    };
    assert_eq!(steps(1), ["configure", "learn"]);
    assert_eq!(
        steps(2),
        ["autogen", "configure", "make", "take", "install"]
    );
    // The training is of the same source and made with the same options, and proves nothing.
    let [_, training, thing] = &built[..] else {
        panic!("{built:?}")
    };
    assert_eq!(training.sources, thing.sources);
    assert_eq!(training.patches, thing.patches);
    assert_eq!(training.prefix, thing.prefix);
    assert_eq!(training.dependencies, thing.dependencies[..1]);
    assert!(training.checks.is_empty() && training.links.is_empty() && training.prune.is_empty());
}

/// Adds to [`trained`] what it has on one stack alone.
fn added() -> Given {
    let mut given = trained();
    given.edit(
        "thing.toml",
        "refuse  = ",
        "on = [{ versions = \"<3\", stacks = [\"debian-10\", \"cedar-14\"], why = \"its own is too old\", \
         dependencies = [\"more-1.0\"], configure = [\"--with-more={deps.more}\"], \
         env = { CFLAGS = \"-O1\", LDFLAGS = \"-L{deps.more}/lib\" }, patches = [\"thing/c.patch\"], \
         checks = [{ name = \"more\", run = [\"has\", \"{deps.more.version}\"] }] }]\n\
         refuse  = ",
    );
    let more = OTHER.replace("other", "more");
    given.files.extend([
        ("more.toml", more),
        ("more.versions.toml", OTHER_VERSIONS.to_owned()),
        ("patches/thing/c.patch", "--- a/c\n+++ b/c\n".to_owned()),
    ]);
    given
}

#[test]
fn what_is_added_on_a_stack_is_there_and_nowhere_else() {
    let mut given = added();
    assert_eq!(given.plan().build_id, trained().plan().build_id);
    given.platform.stack = "cedar-14".parse().expect("a stack");
    let plan = given.plan();
    assert_ne!(plan.build_id, {
        let mut bare = trained();
        bare.platform.stack = given.platform.stack.clone();
        bare.plan().build_id
    });
    let shown = plan.to_string();
    let configure = plan.steps.iter().find(|step| step.name == "configure");
    let configure = configure.expect("a step");
    // What holds always, then what the stack adds, then what the profile does.
    assert_eq!(
        configure.argv[2..],
        [
            "--with-other=/build/deps/other",
            "--with-more=/build/deps/more",
            "--fast"
        ]
    );
    assert_eq!(configure.env["CFLAGS"], "-O1");
    assert_eq!(configure.env["LDFLAGS"], "-L/build/deps/more/lib");
    let patches: Vec<&str> = plan.patches.iter().map(FileContent::path).collect();
    assert_eq!(patches, ["thing/a.patch", "thing/b.patch", "thing/c.patch"]);
    let checks = plan.checks.iter().map(|check| check.name.as_str());
    let checks: Vec<&str> = checks.collect();
    assert!(
        checks.iter().any(|name| name.starts_with("more")),
        "{checks:?}"
    );
    let check = plan
        .checks
        .iter()
        .find(|check| check.name.starts_with("more"));
    assert_eq!(check.expect("a check").argv, ["has", "1.0"]);
    assert!(shown.contains("/build/deps/more"), "{shown}");

    // Versions that it is not for have nothing of it.
    given.edit("thing.toml", "versions = \"<3\"", "versions = \"<2\"");
    assert!(!given.plan().to_string().contains("more"));
}

#[test]
fn what_is_added_on_a_stack_is_built_before_and_is_there_for_the_training() {
    let given = added();
    let dir = laid_out(&given.files);
    let catalog = Catalog::load(Some(dir.path())).expect("good formulae");
    let recipes = |stack: &str| {
        let reference = "thing-2.0".parse().expect("a reference");
        let stack = stack.parse().expect("a stack");
        let recipes = catalog.recipes(&reference, Some("optimized"), &stack);
        recipes.expect("recipes")
    };
    let names = |stack| -> Vec<String> {
        let recipes = recipes(stack).into_iter();
        recipes.map(|it| it.reference.to_string()).collect()
    };
    assert_eq!(
        names("debian-12"),
        ["other-1.0", "thing-profile-2.0", "thing-2.0"]
    );
    let there = ["other-1.0", "more-1.0", "thing-profile-2.0", "thing-2.0"];
    assert_eq!(names("cedar-14"), there);
    let training = &recipes("cedar-14")[2];
    assert_eq!(
        training.dependencies.len(),
        2,
        "{:?}",
        training.dependencies
    );
    let configure = training.steps[0].run.iter().map(ToString::to_string);
    let configure: Vec<String> = configure.collect();
    assert_eq!(
        configure[1..],
        [
            "--with-other={deps.other}",
            "--with-more={deps.more}",
            "--fast"
        ]
    );
}
