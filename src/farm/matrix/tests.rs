//! What a matrix is made of.

use super::*;

fn catalog() -> Catalog {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
    };
    let formula = |name: &str, kind: &str, series: &str| {
        let text = format!(
            "schema = 1\nname = \"{name}\"\nkind = \"{kind}\"\nprefix = \"/app/{name}\"\n\
             [common]\nsteps = [{{ name = \"make\", run = [\"make\"] }}]\n\
             checks = [{{ name = \"runs\", run = [\"true\"] }}]\n{series}"
        );
        write(&format!("{name}.toml"), &text);
    };
    let versions = |name: &str, versions: &[&str]| {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut text =
            "schema = 1\n[sources.tgz]\nurls = [\"https://example.org/{version}.tgz\"]\n\
                        [versions]\n"
                .to_owned();
        for version in versions {
            let line = format!(
                "\"{version}\" = {{ released = 2024-01-02, tgz = {{ sha256 = \"{digest}\" }} }}\n"
            );
            text.push_str(&line);
        }
        write(&format!("{name}.versions.toml"), &text);
    };
    formula("base", "library", "[[series]]\nversions = \">=1\"\n");
    versions("base", &["1.0"]);
    formula(
        "snake",
        "runtime",
        "[[series]]\nversions = \"<2\"\nend_of_life = 2024-05-31\n\
         refuse = [{ stacks = [\"debian-13\"], why = \"it is too old\" }]\n\
         [[series]]\nversions = \">=2\"\ndependencies = [\"base-1.0\"]\n",
    );
    versions(
        "snake",
        &["1.9.1", "2.1.0", "2.10.0", "2.10.1", "2.11.0rc1"],
    );
    Catalog::load(Some(dir.path()))
        .unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)))
}

fn option(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn stacks() -> Stacks {
    let stack = |name: &str, supported| (name.parse().expect("a stack"), supported);
    Stacks(vec![
        stack("debian-11", false),
        stack("debian-12", true),
        stack("debian-13", true),
    ])
}

fn asked(runtimes: &[&str], on: &[&str]) -> Result<Matrix, MatrixError> {
    let wanted = wanted(&option(runtimes))?;
    let stacks = stacks().named(&option(on))?;
    let today = "2024-06-01".parse().expect("a day");
    matrix(&wanted, &stacks, &catalog(), Some("plain"), today)
}

fn shown(runtimes: &[&str], on: &[&str]) -> String {
    let matrix = asked(runtimes, on).expect("a matrix");
    let jobs = matrix.jobs.iter();
    let jobs = jobs.map(|job| format!("{}/{}", job.stack, job.recipe.reference));
    let refused = matrix.refused.iter();
    let refused = refused.map(|it| format!("no {}/{}: {}", it.stack, it.reference, it.why));
    jobs.chain(refused).collect::<Vec<_>>().join(" ")
}

#[test]
fn words_mean_versions_and_stacks() {
    let one = "debian-12/snake-2.1.0";
    let table: [(&[&str], &[&str], &str); 10] = [
        (&["snake-2.1.0"], &["debian-12"], one),
        (&["snake-2.10"], &["debian-12"], "debian-12/snake-2.10.1"),
        (
            &["snake-2.1.0,snake-2.1.0", "snake-2.1.0"],
            &["debian-12 debian-12"],
            one,
        ),
        (&["snake-2.1.*"], &["debian-12"], one),
        (
            &["snake-2.10.*"],
            &["debian-12"],
            "debian-12/snake-2.10.0 debian-12/snake-2.10.1",
        ),
        (
            &["snake-2.11.0rc1"],
            &["debian-12"],
            "debian-12/snake-2.11.0rc1",
        ),
        (
            &[" snake-2.10.1 ,\n snake-1.9.1 "],
            &["debian-12,debian-11"],
            "debian-12/snake-1.9.1 debian-12/snake-2.10.1 \
             debian-11/snake-1.9.1 debian-11/snake-2.10.1",
        ),
        (
            &["snake-1.* snake-2.1.0"],
            &["supported"],
            "debian-12/snake-1.9.1 debian-12/snake-2.1.0 debian-13/snake-2.1.0 \
             no debian-13/snake-1.9.1: it is too old",
        ),
        (
            &["snake-*"],
            &["debian-12"],
            "debian-12/snake-1.9.1 debian-12/snake-2.1.0 \
             debian-12/snake-2.10.0 debian-12/snake-2.10.1",
        ),
        (&["base-1.0"], &["debian-12"], "debian-12/base-1.0"),
    ];
    for (runtimes, on, expected) in table {
        assert_eq!(shown(runtimes, on), expected, "{runtimes:?} {on:?}");
    }
}

#[test]
fn supported_is_the_newest_of_each_series_of_every_runtime() {
    let matrix = asked(&["supported"], &["debian-12"]).expect("a matrix");
    let of = |name: &str| {
        let runtimes = matrix.runtimes.iter();
        let named = runtimes.filter(|it| it.name().as_str() == name);
        named.map(FormulaRef::to_string).collect::<Vec<_>>()
    };
    // The end of life of 1.9.1 has come; of what is left, one series has them all.
    assert_eq!(of("snake"), ["snake-2.10.1"]);
    assert!(!of("python").is_empty(), "the built-in ones belong to it");
    assert!(
        of("base").is_empty() && of("sqlite").is_empty(),
        "libraries do not"
    );
}

#[test]
fn what_means_nothing_is_named() {
    let said = |runtimes: &[&str], on: &[&str]| {
        asked(runtimes, on)
            .expect_err("nothing of this kind")
            .to_string()
    };
    let table: [(&[&str], &[&str], &str); 9] = [
        (
            &["snake-2.2.*"],
            &["debian-12"],
            "no version of snake is in `snake-2.2.*`",
        ),
        (
            &["snake-2.1*"],
            &["debian-12"],
            "`snake-2.1*` is not a range",
        ),
        (
            &["snake-2.x.*"],
            &["debian-12"],
            "`snake-2.x.*` is not a range",
        ),
        (&["*"], &["debian-12"], "`*` is not a range"),
        (&["snake"], &["debian-12"], "`snake` names no version"),
        (
            &["snake-2.1.1"],
            &["debian-12"],
            "formula `snake` has no version 2.1.1",
        ),
        (
            &["snale-2.*"],
            &["debian-12"],
            "there is no formula `snale`",
        ),
        (
            &["snake-2.*"],
            &["debian-21"],
            "there is no stack `debian-21`",
        ),
        (&[" , "], &["debian-12"], "--runtimes names nothing"),
    ];
    for (runtimes, on, expected) in table {
        let said = said(runtimes, on);
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(said(&["snake-2.*"], &[""]), "--stacks names nothing");
}

fn told(tasks: &[Task], jobs: &[Job]) -> Vec<String> {
    let tell = |task: &Task| {
        let what = match &task.work {
            Work::Prepare => "prepare".to_owned(),
            Work::Build(recipe) => format!("build {}", recipe.reference),
            Work::Deploy(n) => format!("deploy {}", jobs[*n].recipe.reference),
        };
        format!("{} {what} {:?}", task.stack, task.needs)
    };
    tasks.iter().map(tell).collect()
}

#[test]
fn what_several_need_is_built_once_for_each_stack() {
    let matrix = asked(
        &["snake-2.10.* snake-1.9.1 base-1.0"],
        &["debian-12 debian-11"],
    );
    let Matrix { jobs, .. } = matrix.expect("a matrix");
    let all: Vec<usize> = (0..jobs.len()).collect();
    let tasks = tasks(&jobs, &all);
    assert_eq!(
        told(&tasks, &jobs),
        [
            "debian-12 prepare []",
            "debian-11 prepare []",
            "debian-12 build base-1.0 [0]",
            "debian-11 build base-1.0 [1]",
            "debian-12 deploy base-1.0 [0, 2]",
            "debian-12 deploy snake-1.9.1 [0]",
            "debian-12 deploy snake-2.10.0 [0, 2]",
            "debian-12 deploy snake-2.10.1 [0, 2]",
            "debian-11 deploy base-1.0 [1, 3]",
            "debian-11 deploy snake-1.9.1 [1]",
            "debian-11 deploy snake-2.10.0 [1, 3]",
            "debian-11 deploy snake-2.10.1 [1, 3]",
        ]
    );
}

#[test]
fn nothing_is_done_for_what_is_there() {
    let matrix = asked(&["snake-*"], &["debian-12 debian-11"]).expect("a matrix");
    assert_eq!(tasks(&matrix.jobs, &[]), []);
    // Of these, one needs no dependency and the other stack is not touched.
    let tasks = tasks(&matrix.jobs, &[0]);
    assert_eq!(
        told(&tasks, &matrix.jobs),
        ["debian-12 prepare []", "debian-12 deploy snake-1.9.1 [0]"]
    );
}
