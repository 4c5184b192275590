//! What a build's plan says, and what its id depends on.

#[path = "../support/formulae.rs"]
mod formulae;
mod recipes;

use std::collections::BTreeMap;

use formulae::{File, OTHER, OTHER_VERSIONS, edit, laid_out};
use pybuild::build::{BuildOptions, BuildPlan, PlannedDependency, Platform, plan};
use pybuild::formula::Catalog;
use pybuild::model::{Arch, FormulaRef, Sha256};
use recipes::trained;

const FORMULA: &str = r#"schema = 1
name   = "thing"
kind   = "library"
prefix = "/opt/thing"

[common]
dependencies = ["other-1.0"]
env   = { CFLAGS = "-O2 -I{deps.other}/include" }
configure = ["--with-other={deps.other}"]
patches = ["thing/a.patch", "thing/b.patch"]
steps = [
  { name = "autogen",   run = ["./autogen.sh", "it's $HOME"], only = "tree" },
  { name = "configure", run = ["./configure", "--prefix={prefix}", "{configure}"] },
  { name = "make",      run = ["make", "-j{jobs}"], env = { V = "1" } },
  { name = "install",   run = ["/bin/sh", "{files}/install.sh", "{stack}-{arch}"], cwd = "{source}/out" },
]
prune   = ["lib/*.la"]
links   = [{ path = "bin/thing", to = "thing-{version.1}" }]
checks  = [{ name = "runs", run = ["{prefix}/bin/thing", "{modules}"], moved = true }]
modules = ["thing"]
refuse  = [{ stacks = ["debian-11"], why = "its compiler is too old" }]

[[series]]
versions = ">=2, <3"
profiles.optimized.configure = []
"#;

const VERSIONS: &str = r#"schema = 1
[sources.tgz]
urls = ["https://example.org/thing-{version}.tgz"]
[sources.tree]
urls = []
[versions."2.0"]
released = 2024-08-13
tgz  = { sha256 = "2222222222222222222222222222222222222222222222222222222222222222", pool = "pool/main/t/thing/thing_2.0.orig.tar.gz" }
tree = { sha256 = "2222222222222222222222222222222222222222222222222222222222222222", pool = "pool/main/t/thing/thing_2.0.orig.tar.xz" }
"#;

/// Everything that a plan is made of.
struct Given {
    files: Vec<File>,
    platform: Platform,
    version: &'static str,
    profile: &'static str,
    flavour: usize,
    dependency: Sha256,
    jobs: usize,
}

impl Given {
    fn new() -> Self {
        let files = [
            ("thing.toml", FORMULA),
            ("thing.versions.toml", VERSIONS),
            ("thing/install.sh", "make install\n"),
            ("other.toml", OTHER),
            ("other.versions.toml", OTHER_VERSIONS),
            ("patches/thing/a.patch", "--- a/a\n+++ b/a\n"),
            ("patches/thing/b.patch", "--- a/b\n+++ b/b\n"),
        ];
        Self {
            files: files.map(|(path, text)| (path, text.to_owned())).into(),
            platform: Platform {
                stack: "debian-12".parse().expect("a stack"),
                arch: Arch::Amd64,
                build_image: Sha256::of(b"build image"),
                run_image: Sha256::of(b"run image"),
            },
            version: "2.0",
            profile: "plain",
            flavour: 0,
            dependency: Sha256::of(b"other-1.0"),
            jobs: 2,
        }
    }

    fn edit(&mut self, path: &str, from: &str, to: &str) {
        edit(&mut self.files, path, from, to);
    }

    fn plan(&self) -> BuildPlan {
        let dir = laid_out(&self.files);
        let catalog = Catalog::load(Some(dir.path())).expect("good formulae");
        let formula = catalog.get(&"thing".parse().expect("a name"));
        let recipe = formula
            .expect("thing")
            .recipe(
                &self.version.parse().expect("a version"),
                self.profile,
                &self.platform.stack,
            )
            .expect("a recipe");
        let dependencies: Vec<_> = recipe
            .dependencies
            .iter()
            .map(|reference| PlannedDependency {
                reference: reference.clone(),
                build_id: self.dependency,
                trained: None,
            })
            .collect();
        plan(
            &recipe,
            &recipe.sources[self.flavour],
            &self.platform,
            &dependencies,
            &BuildOptions { jobs: self.jobs },
        )
    }
}

#[test]
fn a_plan_reads_as_a_script() {
    insta::assert_snapshot!("plan", Given::new().plan());
    let mut bare = Given::new();
    bare.flavour = 1;
    bare.edit(
        "thing.toml",
        "patches = [\"thing/a.patch\", \"thing/b.patch\"]",
        "network = true",
    );
    bare.edit("thing.toml", "prune   = [\"lib/*.la\"]\n", "");
    bare.edit(
        "thing.toml",
        "links   = [{ path = \"bin/thing\", to = \"thing-{version.1}\" }]\n",
        "",
    );
    bare.edit("thing.toml", ", moved = true", "");
    insta::assert_snapshot!("plan_of_the_tree", bare.plan());
}

/// Ids that change by accident would build everything again and file it beside what is there.
/// Who changes one on purpose raises `BUILD_REVISION` if bytes of artifacts change with it.
#[test]
fn ids_do_not_change_by_accident() {
    assert_eq!(
        Given::new().plan().build_id.to_string(),
        "42af63ac85aa18586baa6373a7b2e8118a9f2bb2aa3b6889642370993ec35d4a"
    );
}

/// One thing that is changed, and how.
type Change = (&'static str, fn(&mut Given));
/// One thing that is changed by an edit: in which file, what is replaced, by what.
type Edit = (&'static str, &'static str, &'static str, &'static str);

/// The id after each change.
fn ids_after(changes: &[Change], edits: &[Edit]) -> Vec<(&'static str, Sha256)> {
    let id_after = |change: &dyn Fn(&mut Given)| {
        let mut given = Given::new();
        change(&mut given);
        given.plan().build_id
    };
    let done = changes
        .iter()
        .map(|(what, change)| (*what, id_after(change)));
    let edited = edits.iter().map(|(what, path, from, to)| {
        let edit = |given: &mut Given| given.edit(path, from, to);
        (*what, id_after(&edit))
    });
    done.chain(edited).collect()
}

#[test]
#[rustfmt::skip] // one change a line
fn what_can_change_the_artifact_changes_the_id() {
    let changes: &[Change] = &[
        ("nothing", |_| {}),
        ("stack", |g| { g.platform.stack = "debian-13".parse().expect("a stack"); }),
        ("architecture", |g| { g.platform.arch = Arch::Arm64; }),
        ("build image", |g| { g.platform.build_image = Sha256::of(b"x"); }),
        ("run image", |g| { g.platform.run_image = Sha256::of(b"x"); }),
        ("profile", |g| { g.profile = "optimized"; }),
        ("flavour, by what is run for it alone", |g| { g.flavour = 1; }),
        ("dependency", |g| { g.dependency = Sha256::of(b"x"); }),
        ("another helper file", |g| { g.files.push(("thing/x", String::new())); }),
        ("version", |g| {
            g.version = "2.0.0";
            g.edit("thing.versions.toml", "\"2.0\"", "\"2.0.0\"");
        }),
    ];
    let edits: &[Edit] = &[
        ("source", "thing.versions.toml", "2222\"", "2223\""),
        ("release", "thing.versions.toml", "08-13", "08-14"),
        ("kind", "thing.toml", "\"library\"", "\"runtime\""),
        ("prefix", "thing.toml", "/opt/thing", "/opt/thong"),
        ("variable", "thing.toml", "-O2", "-O3"),
        ("variable's name", "thing.toml", "CFLAGS", "CXXFLAGS"),
        ("variable of a step", "thing.toml", "V = \"1\"", "V = \"0\""),
        ("option", "thing.toml", "--with-other=", "--without-other="),
        ("argument", "thing.toml", "\"make\", \"-j", "\"make\", \"-i\", \"-j"),
        ("arguments joined", "thing.toml", "\"make\", \"-j{", "\"make -j{"),
        ("jobs that are no placeholder", "thing.toml", "-j{jobs}", "-j{{jobs}}"),
        ("working directory", "thing.toml", "{source}/out", "{source}"),
        ("patch", "patches/thing/a.patch", "a/a", "a/c"),
        ("order of patches", "thing.toml", "\"thing/a.patch\", \"thing/b.patch\"", "\"thing/b.patch\", \"thing/a.patch\""),
        ("helper file", "thing/install.sh", "make", "gmake"),
        ("prune", "thing.toml", "lib/*.la", "lib/*.a"),
        ("link", "thing.toml", "thing-{version.1}", "thing-{version.2}"),
        ("check", "thing.toml", "/bin/thing\", \"", "/bin/thing\", \"-v\", \""),
        ("module", "thing.toml", "[\"thing\"]", "[\"thing\", \"more\"]"),
        ("network", "thing.toml", "prune ", "network = true\nprune "),
    ];
    let mut seen: BTreeMap<Sha256, &str> = BTreeMap::new();
    for (what, id) in ids_after(changes, edits) {
        let twin = seen.insert(id, what);
        assert_eq!(twin, None, "changing {what} gives an id that is taken");
    }
}

#[test]
#[rustfmt::skip] // one change a line
fn what_cannot_change_the_artifact_leaves_the_id() {
    let changes: &[Change] = &[
        ("jobs", |g| { g.jobs = 64; }),
        ("place of an option", |g| {
            let option = "configure = [\"--with-other={deps.other}\"]\n";
            g.edit("thing.toml", option, "");
            g.edit("thing.toml", "[[series]]\n", &format!("[[series]]\n{option}"));
        }),
    ];
    let edits: &[Edit] = &[
        ("URL", "thing.versions.toml", "https://example.org/", "http://example.com/x/"),
        ("place in the pool", "thing.versions.toml", "main/t/thing/thing_2.0.orig.tar.gz", "x"),
        ("comment", "thing.toml", "[common]", "# for all\n[common]"),
        ("placeholder written out", "thing.toml", "thing-{version.1}", "thing-2"),
        ("prefix written out", "thing.toml", "--prefix={prefix}", "--prefix=/opt/thing"),
        ("name of a step", "thing.toml", "\"install\"", "\"put it there\""),
        ("name of a check", "thing.toml", "\"runs\"", "\"starts\""),
        ("refusal of another stack", "thing.toml", "debian-11", "debian-10"),
    ];
    let id = Given::new().plan().build_id;
    for (what, changed) in ids_after(changes, edits) {
        assert_eq!(changed, id, "{what}");
    }
}

#[test]
fn a_version_of_a_dependency_is_the_one_that_it_is_built_with() {
    let with = |arg: &str| {
        let mut given = Given::new();
        given.edit("thing.toml", "\"{modules}\"", arg);
        given.edit("thing.toml", "-O2", arg.trim_matches('"'));
        given.plan()
    };
    let plan = with("\"{deps.other.version}\"");
    assert_eq!(plan.checks[0].argv, ["/opt/thing/bin/thing", "1.0"]);
    assert_eq!(plan, with("\"1.0\""));
}

#[test]
fn a_flavour_that_is_built_alike_still_has_its_own_id() {
    let mut given = Given::new();
    given.edit("thing.toml", ", only = \"tree\"", "");
    let tarball = given.plan();
    given.flavour = 1;
    let tree = given.plan();
    assert_eq!(tarball.steps, tree.steps);
    assert_ne!(tarball.build_id, tree.build_id);
}

#[test]
fn a_runtime_is_usually_optimized_where_it_can_be() {
    for (versions, usual) in [("<2.1", "optimized"), (">=2.1", "plain")] {
        let mut given = trained();
        given.edit("thing.toml", "\"library\"", "\"runtime\"");
        given.edit("thing.toml", "\"<2.1\"", &format!("\"{versions}\""));
        let dir = laid_out(&given.files);
        let catalog = Catalog::load(Some(dir.path())).expect("good formulae");
        let reference = "thing-2.0".parse().expect("a reference");
        let recipes = catalog.recipes(&reference, None, &given.platform.stack);
        let profile = recipes.expect("recipes").pop().expect("one").profile;
        assert_eq!(profile, usual, "{versions}");
    }
}

#[test]
fn what_was_learned_changes_the_id() {
    let given = trained();
    let dir = laid_out(&given.files);
    let catalog = Catalog::load(Some(dir.path())).expect("good formulae");
    let reference = "thing-2.0".parse().expect("a reference");
    let stack = &given.platform.stack;
    let recipes = catalog
        .recipes(&reference, Some("optimized"), stack)
        .expect("recipes");
    let recipe = recipes.last().expect("itself");
    let id = |trained: Option<&[u8]>| {
        let dependencies: Vec<_> = recipe
            .dependencies
            .iter()
            .map(|reference| PlannedDependency {
                reference: reference.clone(),
                build_id: given.dependency,
                trained: trained
                    .filter(|_| reference.name().as_str() == "thing-profile")
                    .map(Sha256::of),
            })
            .collect();
        let (source, options) = (&recipe.sources[0], BuildOptions { jobs: 2 });
        plan(recipe, source, &given.platform, &dependencies, &options).build_id
    };
    assert_eq!(id(Some(b"one")), id(Some(b"one")));
    assert_ne!(id(Some(b"one")), id(Some(b"two")));
    assert_ne!(id(Some(b"one")), id(None));
}

#[test]
fn everything_built_in_can_be_planned() {
    let catalog = Catalog::load(None).expect("good formulae");
    let mut planned = 0;
    for stack in ["debian-11", "debian-12", "debian-13"] {
        let stack: pybuild::model::StackName = stack.parse().expect("a stack");
        for name in catalog.names() {
            let formula = catalog.get(name).expect("its own name");
            for version in formula.versions() {
                let reference = FormulaRef::new(name.clone(), version.clone());
                let of = |profile: &String| catalog.recipes(&reference, Some(profile), &stack);
                let profiles = formula.profiles(version).expect("its own version");
                let recipes = profiles
                    .iter()
                    .filter_map(|profile| of(profile).ok())
                    .flatten();
                let recipes: Vec<_> = recipes.collect();
                let planned_of = recipes
                    .iter()
                    .flat_map(|recipe| recipe.sources.iter().map(move |source| (recipe, source)));
                for (recipe, source) in planned_of {
                    let platform = Platform {
                        stack: stack.clone(),
                        ..Given::new().platform
                    };
                    let dependencies: Vec<_> = recipe
                        .dependencies
                        .iter()
                        .map(|reference| PlannedDependency {
                            reference: reference.clone(),
                            build_id: Sha256::of(b"x"),
                            trained: None,
                        })
                        .collect();
                    let options = BuildOptions { jobs: 2 };
                    let plan = plan(recipe, source, &platform, &dependencies, &options);
                    let shown = plan.to_string();
                    assert!(!shown.contains('\0'), "{shown}");
                    assert!(plan.steps.len() > plan.patches.len(), "{shown}");
                    planned += 1;
                }
            }
        }
    }
    assert!(planned >= 20, "only {planned} plans");
}
