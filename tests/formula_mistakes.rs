//! Every mistake that a formula can hold, and what a person is told about it: one edit of a good
//! formula each, and a snapshot of the message.

mod support {
    pub(crate) mod formulae;
}

use std::fs;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource};
use pybuild::formula::{Catalog, FormulaError};
use support::formulae::{File, OTHER, OTHER_VERSIONS, edit, laid_out};

const THING: &str = r#"schema = 1
name   = "thing"
kind   = "library"
prefix = "/opt/thing"

[common]
env   = { CFLAGS = "-O2" }
steps = [
  { name = "configure", run = ["./configure", "--prefix={prefix}", "{configure}"] },
  { name = "make",      run = ["make", "-j{jobs}"] },
  { name = "generate",  run = ["/bin/sh", "{files}/generate.sh"], cwd = "{source}/src", only = "tree" },
]
prune   = ["lib/*.la"]
links   = [{ path = "bin/thing", to = "thing-{version.1}" }]
checks  = [{ name = "runs", run = ["{prefix}/bin/thing", "--version"], moved = true }]
modules = ["thing"]

[[series]]
versions     = ">=2, <3"
dependencies = ["other-1.0"]
configure    = ["--with-other={deps.other}"]
patches      = ["thing/fix.patch"]
refuse       = [{ stacks = ["debian-11"], why = "its compiler is too old" }]
network      = false
profiles.optimized.configure = ["--enable-lto"]

[[series]]
versions = ">=1, <2"
on = [{ stacks = ["cedar-14"], why = "it has none", dependencies = ["other-1.0"], env = { OTHER = "{deps.other}" } }]
tests = { list = ["{prefix}/bin/thing", "--tests"], run = ["/bin/sh", "{files}/tests/run.sh", "{source}"], suites.quick = ["test_a", "test_b"] }
"#;

const THING_VERSIONS: &str = r#"schema = 1

[sources.tgz]
urls = ["https://example.org/{year}/thing-{version}.tgz"]

[sources.tree]
urls = []

[versions."1.4"]
released = 2020-02-29
tgz = { sha256 = "1111111111111111111111111111111111111111111111111111111111111111", year = 2020 }

[versions."2.0"]
released = 2024-08-13
tgz  = { sha256 = "2222222222222222222222222222222222222222222222222222222222222222", year = 2024 }
tree = { sha256 = "3333333333333333333333333333333333333333333333333333333333333333", pool = "pool/main/t/thing/thing_2.0.orig.tar.xz" }
"#;

/// The good formulae, by path below the directory.
fn good() -> Vec<File> {
    vec![
        ("thing.toml", THING.to_owned()),
        ("thing.versions.toml", THING_VERSIONS.to_owned()),
        ("thing/generate.sh", "true\n".to_owned()),
        ("thing/tests/run.sh", "true\n".to_owned()),
        ("thing/baselines/debian-12/1.4.toml", String::new()),
        ("other.toml", OTHER.to_owned()),
        ("other.versions.toml", OTHER_VERSIONS.to_owned()),
        ("patches/thing/fix.patch", "--- a/x\n+++ b/x\n".to_owned()),
    ]
}

fn load(files: &[File]) -> Result<Catalog, String> {
    let dir = laid_out(files);
    Catalog::load(Some(dir.path())).map_err(|error| rendered(error, dir.path()))
}

/// An error as the command line shows it, with files named as if `dir` were the working
/// directory: lines must not break where a temporary directory's name makes them.
fn rendered(mut error: FormulaError, dir: &Path) -> String {
    if let FormulaError::Invalid { problems } = &mut error {
        for problem in problems {
            let below = format!("{}/", dir.display());
            let name = problem.text.name().replace(&below, "");
            problem.text = NamedSource::new(name, problem.text.inner().clone());
        }
    }
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    let mut text = String::new();
    let written = handler.with_width(100).render_report(&mut text, &error);
    written.expect("a string takes everything");
    text
}

/// What is said after `edits`: in which file, what is replaced, by what.
fn said(edits: &[(&str, &str, &str)]) -> String {
    let mut files = good();
    for (file, from, to) in edits {
        edit(&mut files, file, from, to);
    }
    load(&files)
        .map(|_| ())
        .expect_err("an edit that is a mistake")
}

macro_rules! mistakes {
    ($($name:ident: $file:literal $from:literal => $to:literal;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(stringify!($name), said(&[($file, $from, $to)]));
            }
        )*
    };
}

mistakes! {
    syntax: "thing.toml" "kind   = " => "kind   ";
    duplicate_key: "thing.toml" "kind   = " => "name = \"x\"\nkind   = ";
    unknown_key_of_the_formula: "thing.toml" "prefix = " => "perfix = ";
    unknown_key_of_a_series: "thing.toml" "configure    = " => "confgure    = ";
    unknown_key_far_from_any: "thing.toml" "network      = false" => "zzz = 1";
    unknown_key_of_a_step: "thing.toml" "cwd = " => "cdw = ";
    missing_key: "thing.toml" ",      run = [\"make\", \"-j{jobs}\"]" => "";
    wrong_type: "thing.toml" "[\"lib/*.la\"]" => "\"lib/*.la\"";
    wrong_type_in_a_list: "thing.toml" "[\"lib/*.la\"]" => "[\"lib/*.la\", 3]";
    unknown_key_of_tests: "thing.toml" "suites.quick" => "siutes.quick";
    tests_that_nothing_runs: "thing.toml" ", run = [\"/bin/sh\", \"{files}/tests/run.sh\", \"{source}\"]" => "";
    tests_without_a_program: "thing.toml" "[\"{prefix}/bin/thing\", \"--tests\"]" => "[]";
    test_file_that_is_not_there: "thing.toml" "tests/run.sh" => "tests/runs.sh";
    test_file_among_those_of_builds: "thing.toml" "{files}/tests/run.sh" => "{files}/generate.sh";
    build_file_among_those_of_tests: "thing.toml" "{files}/generate.sh" => "{files}/tests/run.sh";
    jobs_in_a_test: "thing.toml" "\"{source}\"], suites" => "\"{jobs}\"], suites";
    suite_called_all: "thing.toml" "suites.quick" => "suites.all";
    suite_named_badly: "thing.toml" "suites.quick" => "suites.\"Quick one\"";
    suite_without_a_test: "thing.toml" "[\"test_a\", \"test_b\"]" => "[]";
    suite_with_a_test_twice: "thing.toml" "\"test_b\"" => "\"test_a\"";
    test_named_badly: "thing.toml" "\"test_b\"" => "\"--test_b\"";
    future_schema: "thing.toml" "schema = 1" => "schema = 2";
    another_name: "thing.toml" "\"thing\"\nkind" => "\"thong\"\nkind";
    not_a_name: "thing.toml" "\"thing\"\nkind" => "\"The Thing\"\nkind";
    unknown_kind: "thing.toml" "\"library\"" => "\"librray\"";
    relative_prefix: "thing.toml" "\"/opt/thing\"" => "\"opt/thing\"";
    prefix_with_parent: "thing.toml" "\"/opt/thing\"" => "\"/opt/../thing\"";
    prefix_that_is_taken: "thing.toml" "\"/opt/thing\"" => "\"/build/thing\"";
    unknown_placeholder: "thing.toml" "{prefix}\"" => "{perfix}\"";
    brace_alone: "thing.toml" "-j{jobs}" => "-j{jobs";
    list_inside_a_text: "thing.toml" "\"{configure}\"" => "\"--x={configure}\"";
    placeholder_that_is_no_dependency: "thing.toml" "{deps.other}" => "{deps.othr}";
    version_of_no_dependency: "thing.toml" "\"--version\"" => "\"{deps.othr.version}\"";
    dependency_without_that_word: "thing.toml" "{deps.other}" => "{deps.other.versoin}";
    version_of_a_dependency_in_the_prefix: "thing.toml" "lib/*.la" => "lib/{deps.other.version}/*.la";
    placeholder_not_known_yet: "thing.toml" "lib/*.la" => "{arch}/*.la";
    placeholder_not_known_any_more: "thing.toml" "{prefix}/bin/thing" => "{source}/thing";
    helper_file_missing: "thing.toml" "{files}/generate.sh" => "{files}/generat.sh";
    empty_steps: "thing.toml" "[[series]]\nversions = " => "[[series]]\nsteps = []\nversions = ";
    empty_run: "thing.toml" "[\"make\", \"-j{jobs}\"]" => "[]";
    step_twice: "thing.toml" "name = \"make\", " => "name = \"configure\", ";
    relative_cwd: "thing.toml" "{source}/src" => "src";
    unknown_flavour: "thing.toml" "only = \"tree\"" => "only = \"tre\"";
    profile_of_a_step_that_no_series_has: "thing.toml" "only = \"tree\"" => "profile = \"optimised\"";
    profile_for_no_range: "thing.toml" "profiles.optimized.configure = [\"--enable-lto\"]" => "profiles.optimized.versions = \"new\"";
    training_without_steps: "thing.toml" "profiles.optimized.configure = [\"--enable-lto\"]" => "profiles.optimized.training = []";
    list_that_no_step_takes: "thing.toml" ", \"{configure}\"]" => "]";
    bad_variable: "thing.toml" "{ CFLAGS = " => "{ \"A=B\" = ";
    absolute_prune: "thing.toml" "lib/*.la" => "/lib/*.la";
    prune_with_parent: "thing.toml" "lib/*.la" => "lib/../*.la";
    invalid_glob: "thing.toml" "lib/*.la" => "lib/[a.la";
    absolute_link: "thing.toml" "\"bin/thing\", to" => "\"/bin/thing\", to";
    link_out_of_the_prefix: "thing.toml" "\"thing-{version.1}\"" => "\"../../thing\"";
    absolute_link_target: "thing.toml" "\"thing-{version.1}\"" => "\"/bin/thing\"";
    bad_module: "thing.toml" "[\"thing\"]" => "[\"import os\"]";
    bad_range: "thing.toml" ">=2, <3" => "2.x";
    no_series_for_a_version: "thing.toml" ">=1, <2" => ">=1, <1.3";
    bad_dependency: "thing.toml" "other-1.0" => "other";
    dependency_that_does_not_exist: "thing.toml" "other-1.0" => "othr-1.0";
    dependency_without_that_version: "thing.toml" "other-1.0" => "other-1.1";
    dependency_on_itself: "other.toml" "steps" => "dependencies = [\"other-1.0\"]\nsteps";
    dependency_in_a_circle: "other.toml" "steps" => "dependencies = [\"thing-2.0\"]\nsteps";
    patch_missing: "thing.toml" "thing/fix.patch" => "thing/fx.patch";
    refusal_without_reason: "thing.toml" "its compiler is too old" => "";
    refusal_of_no_stack: "thing.toml" "[\"debian-11\"]" => "[]";
    refusal_of_no_range: "thing.toml" "[{ stacks = " => "[{ versions = \"2.x\", stacks = ";
    addition_without_reason: "thing.toml" "it has none" => " ";
    addition_on_no_stack: "thing.toml" "[\"cedar-14\"]" => "[]";
    addition_of_no_range: "thing.toml" "on = [{ " => "on = [{ versions = \"old\", ";
    addition_of_nothing: "thing.toml" ", dependencies = [\"other-1.0\"], env = { OTHER = \"{deps.other}\" }" => "";
    addition_with_an_unknown_key: "thing.toml" "why = \"it has none\"" => "why = \"it has none\", steps = []";
    addition_of_what_does_not_exist: "thing.toml" "[\"other-1.0\"], env" => "[\"othr-1.0\"], env";
    addition_of_what_is_there: "thing.toml" ">=1, <2\"" => ">=1, <2\"\ndependencies = [\"other-1.0\"]";
    addition_twice_on_one_stack: "thing.toml" "on = [" => "on = [{ stacks = [\"heroku-16\", \"cedar-14\"], why = \"so\", dependencies = [\"other-1.0\"] }, ";
    addition_that_leads_back: "other.toml" "steps" => "on = [{ stacks = [\"cedar-14\"], why = \"so\", dependencies = [\"thing-1.4\"] }]\nsteps";
    place_of_an_addition_elsewhere: "thing.toml" ">=1, <2\"" => ">=1, <2\"\nconfigure = [\"{deps.other}\"]";
    misplaced_in_an_addition: "thing.toml" "{deps.other}\" } }" => "{deps.othr}\" }, checks = [{ name = \"c\", run = [\"{source}/c\"] }] }";
    list_of_an_addition_that_no_step_takes: "thing.toml" "env = { OTHER" => "make = [\"A=B\"], env = { OTHER";
    end_of_life_on_no_day: "thing.toml" "network      = false" => "end_of_life  = 2030-02-30";
    signer_that_is_no_fingerprint: "thing.toml" "network      = false" => "signed_by    = [\"7169605F\"]";
    issuer_that_is_no_url: "thing.toml" "network      = false" => "sigstore     = { identity = \"a@example.org\", issuer = \"GitHub\" }";
    sigstore_without_an_issuer: "thing.toml" "network      = false" => "sigstore     = { identity = \"a@example.org\" }";
    bad_stack: "thing.toml" "debian-11" => "Debian 11";
    bad_profile_name: "thing.toml" "profiles.optimized" => "profiles.\"-O3 please!\"";
    unknown_key_of_a_profile: "thing.toml" "profiles.optimized.configure" => "profiles.optimized.steps";
    bad_digest: "thing.versions.toml" "1111\"" => "111\"";
    digest_that_is_not_hexadecimal: "thing.versions.toml" "1111\"" => "111g\"";
    bad_version: "thing.versions.toml" "versions.\"1.4\"" => "versions.\"1.4-beta\"";
    duplicate_version: "thing.versions.toml" "versions.\"1.4\"" => "versions.\"2\"";
    version_without_source: "thing.versions.toml" "tgz = { sha256 = \"1111111111111111111111111111111111111111111111111111111111111111\", year = 2020 }" => "";
    unknown_source: "thing.versions.toml" "tree = { sha" => "three = { sha";
    word_that_the_url_takes_missing: "thing.versions.toml" ", year = 2020" => "";
    word_that_no_url_takes: "thing.versions.toml" ", year = 2020" => ", year = 2020, code = 3";
    release_that_is_no_date: "thing.versions.toml" "2020-02-29" => "\"2020-02-29\"";
    release_on_no_day: "thing.versions.toml" "2020-02-29" => "2021-02-29";
    release_before_the_epoch: "thing.versions.toml" "2020-02-29" => "1969-12-31";
    bad_url: "thing.versions.toml" "https://example.org/{year}" => "ftp://example.org/{year}";
    bad_pool: "thing.versions.toml" "pool/main/t/" => "pool/../";
    nowhere_to_fetch_from: "thing.versions.toml" ", pool = \"pool/main/t/thing/thing_2.0.orig.tar.xz\"" => "";
    no_version: "other.versions.toml" "\"1.0\"" => "# \"1.0\"";
}

#[test]
fn the_good_formulae_are_good() {
    if let Err(error) = load(&good()) {
        panic!("{error}");
    }
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    insta::assert_snapshot!(said(&[
        ("thing.toml", "prefix = ", "perfix = "),
        ("thing.toml", "[\"lib/*.la\"]", "3"),
        ("thing.toml", "-j{jobs}", "-j{job}"),
        ("thing.toml", "other-1.0", "other-1.1"),
        ("thing.versions.toml", "1111\"", "111\""),
        ("other.toml", "make", "{files}/x.sh"),
    ]));
}

#[test]
fn files_that_are_missing_or_too_many() {
    let without = |path: &str| {
        let files: Vec<_> = good().into_iter().filter(|(p, _)| *p != path).collect();
        load(&files).map(|_| ()).expect_err(path)
    };
    insta::assert_snapshot!("without_versions", without("thing.versions.toml"));
    insta::assert_snapshot!("versions_without_a_formula", without("thing.toml"));

    let with = |path: &'static str, text: &str| {
        let mut files = good();
        files.push((path, text.to_owned()));
        load(&files).map(|_| ()).expect_err(path)
    };
    insta::assert_snapshot!("a_file_named_badly", with("My Thing.toml", "schema = 1\n"));
    insta::assert_snapshot!(
        "without_series",
        with("empty.toml", "[common]\nprune = [\"/\"]\n")
    );
}

#[test]
fn a_file_that_is_not_utf8() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("x.toml"), b"schema = 1\nname = \"\xff\"\n").expect("write");
    let error = Catalog::load(Some(dir.path())).expect_err("a file that is not UTF-8");
    insta::assert_snapshot!(rendered(error, dir.path()));
}

#[test]
fn a_directory_that_is_not_there() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let error = Catalog::load(Some(&dir.path().join("no"))).expect_err("no such directory");
    assert!(matches!(error, FormulaError::Fs(_)), "{error:?}");
    assert!(error.to_string().contains("/no"), "{error}");
}

#[test]
fn what_was_asked_for_and_is_not_there() {
    let catalog = load(&good()).expect("good formulae");
    let asked = |reference: &str, profile: &str, stack: &str| {
        let reference = reference.parse().expect("a reference");
        let stack = stack.parse().expect("a stack");
        match catalog.recipes(&reference, Some(profile), &stack) {
            Ok(recipes) => format!("{} recipes", recipes.len()),
            Err(error) => rendered(error, Path::new("/nowhere")),
        }
    };
    assert_eq!(asked("thing-2.0", "optimized", "debian-12"), "2 recipes");
    assert_eq!(asked("thing-1.4", "plain", "debian-11"), "1 recipes");
    insta::assert_snapshot!("unknown_formula", asked("thign-2.0", "plain", "debian-12"));
    insta::assert_snapshot!("unknown_version", asked("thing-2.1", "plain", "debian-12"));
    insta::assert_snapshot!(
        "version_without_its_last_number",
        asked("thing-2", "plain", "debian-12")
    );
    insta::assert_snapshot!(
        "unknown_profile",
        asked("thing-2.0", "optimised", "debian-12")
    );
    insta::assert_snapshot!("refused", asked("thing-2.0", "plain", "debian-11"));
}

/// A formula with a training, and edits of it.
fn said_of_a_training(edits: &[(&str, &str, &str)]) -> String {
    let training = (
        "thing.toml",
        "profiles.optimized.configure = [\"--enable-lto\"]",
        "profiles.optimized.training = [{ name = \"learn\", run = [\"learn\", \"{prefix}\"] }]",
    );
    said(&[&[training], edits].concat())
}

#[test]
fn what_a_training_gives_is_for_its_profile_alone() {
    let place = "\"-j{jobs}\", \"{deps.thing-profile}\"";
    let elsewhere = said_of_a_training(&[("thing.toml", "\"-j{jobs}\"", place)]);
    insta::assert_snapshot!("place_of_a_training_for_all", elsewhere);
    let itself = (
        "thing.toml",
        "\"learn\", \"{prefix}\"",
        "\"learn\", \"{deps.thing-profile}\"",
    );
    insta::assert_snapshot!("training_that_needs_itself", said_of_a_training(&[itself]));
    // Nor anywhere else where it would be filled in for a build that has it not.
    for (from, to) in [
        ("\"-O2\"", "\"{deps.thing-profile.version}\""),
        ("--with-other={deps.other}", "--with={deps.thing-profile}"),
        ("\"--version\"", "\"{deps.thing-profile.version}\""),
        (
            "profiles.optimized.training",
            "profiles.optimized.env = { A = \"{deps.thing-profile.version}\" }\nprofiles.optimized.training",
        ),
    ] {
        let said = said_of_a_training(&[("thing.toml", from, to)]);
        assert!(said.contains("only for steps of its profile"), "{said}");
    }
}

#[test]
fn a_formula_cannot_be_called_as_anothers_training() {
    let mut files = good();
    let training = "profiles.optimized.training = [{ name = \"learn\", run = [\"learn\"] }]";
    let none = "profiles.optimized.configure = [\"--enable-lto\"]";
    edit(&mut files, "thing.toml", none, training);
    let text = OTHER.replace("\"other\"", "\"thing-profile\"");
    files.push(("thing-profile.toml", text));
    files.push(("thing-profile.versions.toml", OTHER_VERSIONS.to_owned()));
    let said = load(&files).map(drop).expect_err("a name that is taken");
    insta::assert_snapshot!("name_of_a_training", said);
}

#[test]
fn a_refusal_may_be_for_some_versions_of_a_series() {
    for (versions, refused) in [("<2.1", true), (">=2.1", false)] {
        let mut files = good();
        let to = format!("[{{ versions = \"{versions}\", stacks = ");
        edit(&mut files, "thing.toml", "[{ stacks = ", &to);
        let catalog = load(&files).expect("good formulae");
        let reference = "thing-2.0".parse().expect("a reference");
        let stack = "debian-11".parse().expect("a stack");
        let recipes = catalog.recipes(&reference, Some("plain"), &stack);
        assert_eq!(recipes.is_err(), refused, "{versions}");
    }
}

#[test]
fn files_made_to_break_the_reader_are_told_as_mistakes() {
    let nested = format!("x = {}", "[".repeat(100_000));
    let table = [
        ("empty", String::new()),
        ("cut short", "kind = ".to_owned()),
        ("cut short in a string", "kind = \"é".to_owned()),
        (
            "with carriage returns",
            "schema = 1\r\nkind = ü\r\n".to_owned(),
        ),
        ("nested without end", nested),
        (
            "with a huge number",
            "schema = 99999999999999999999999\n".to_owned(),
        ),
        (
            "with a NUL",
            "schema = 1\nname = \"a\\u0000b\"\n".to_owned(),
        ),
        ("with an array as table", "common = [[[]]]\n".to_owned()),
    ];
    for (what, text) in table {
        for file in ["thing.toml", "thing.versions.toml"] {
            let mut files = good();
            files.retain(|(path, _)| *path != file);
            files.push((file, text.clone()));
            let said = load(&files).map(|_| ()).expect_err(what);
            assert!(said.contains(file), "{what}: {said}");
        }
    }
}

#[test]
fn a_directory_may_hold_other_things_and_traps_are_refused() {
    use std::os::unix::fs::symlink;

    let dir = laid_out(&good());
    let at = |path: &str| dir.path().join(path);
    fs::write(at("README.md"), "# Ours\n").expect("write");
    fs::create_dir(at("target")).expect("mkdir");
    symlink(dir.path(), at("target/round")).expect("symlink");
    fs::write(at("thing/.generate.sh.swp"), "x").expect("write");
    Catalog::load(Some(dir.path())).expect("what is no formula's is left alone");

    let refused = |path: &str| {
        let error = Catalog::load(Some(dir.path())).expect_err(path);
        assert!(matches!(error, FormulaError::Directory { .. }), "{error:?}");
        assert!(error.to_string().contains(path), "{error}");
        fs::remove_file(at(path)).expect("remove");
    };
    symlink(dir.path(), at("thing/round")).expect("symlink");
    refused("thing/round");
    symlink("/dev/zero", at("thing/endless")).expect("symlink");
    refused("thing/endless");
    let huge = fs::File::create(at("thing/huge")).expect("create");
    huge.set_len(1 << 40).expect("a sparse file");
    refused("thing/huge");
}
