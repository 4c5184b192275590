//! What a user writes wrong: on the command line, in a manifest, in a formula.

use std::fs;

use crate::formula::Formula;
use crate::kit::{Case, names};

#[test]
fn mistakes_on_the_command_line_are_named_with_what_was_meant() {
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    let table: &[(&[&str], &[&str])] = &[
        (
            &["sandbox", "debian-21", "hello-1.0"],
            &["no stack `debian-21`", "hint: did you mean `debian-12`?"],
        ),
        (
            &["prepare", "fedora"],
            &[
                "no stack `fedora`",
                "hint: there are cedar-14, cflinuxfs3, cflinuxfs4, debian-11",
            ],
        ),
        (
            &["run", "debian-13x", "--", "true"],
            &["no stack `debian-13x`", "did you mean `debian-13`?"],
        ),
        (
            &["sandbox", "debian-12", "helo-1.0"],
            &["no formula `helo`", "hint: did you mean `hello`?"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.1"],
            &[
                "`hello` has no version 1.1",
                "hint: did you mean `hello-1.0`?",
            ],
        ),
        (
            &["sandbox", "debian-12", "hello"],
            &["`hello` names no version", "`hello-VERSION`"],
        ),
        (
            &["sandbox", "debian-12", "../hello-1.0"],
            &["`..` is not the name of a formula", "lower-case letters"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.0", "--profile", "plane"],
            &["hello-1.0 has no profile `plane`", "plain"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.0", "--dry-rum"],
            &["unexpected argument '--dry-rum'", "'--dry-run'"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.0", "--timeout", "3d"],
            &["'3d' for '--timeout <TIME>'", "s, m and h are"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.0", "--memory", "1T"],
            &["'1T' for '--memory <SIZE>'", "K, M and G are"],
        ),
        (
            &["sandbox", "debian-12", "hello-1.0", "--compress", "zip"],
            &["'zip' for '--compress", "gz, zst, xz"],
        ),
        (&["sandbox", "debian-12"], &["required", "<FORMULAE>"]),
        (&["run", "debian-12"], &["required", "<COMMAND>"]),
        (&["sandbix", "debian-12"], &["'sandbix'", "'sandbox'"]),
        (
            &["prepare", "debian-12", "--run-as", "0"],
            if crate::kit::is_root() {
                &[
                    "builds do not run as root",
                    "hint: give --run-as an ordinary user's uid",
                ]
            } else {
                &[
                    "only root can run builds as another uid",
                    "hint: leave --run-as away",
                ]
            },
        ),
    ];
    for (args, said) in table {
        let run = case.pybuild().env("PYBUILD_FORMULAE", &formulae);
        run.args(*args).cwd(&case.at("")).run().fails(2, said);
    }
    assert!(!case.store().exists(), "a mistake makes a store");
    assert!(!case.dist().exists());
    case.is_quiet();
}

#[test]
fn there_is_no_log_before_a_build() {
    let case = Case::bare();
    let none = case.pybuild().args(["log"]).run();
    none.fails(2, &["nothing has been built on this host yet"]);
    let none = case.pybuild().args(["log", "python-3.11.2"]).run();
    none.fails(2, &["there is no log of `python-3.11.2`", "hint: "]);
}

/// Every file of which the first string is found and replaced by the second gives the third.
type Mistakes = &'static [(&'static str, &'static str, &'static [&'static str])];

#[test]
fn mistakes_in_a_manifest_are_shown_where_they_are() {
    const GOOD: &str = "schema = 1\nname = \"tiny\"\nend_of_life = 2028-06-30\n\
        architectures = [\"amd64\", \"arm64\"]\n\n[debian]\nsuites = [\"bookworm\"]\n\
        components = [\"main\"]\nkeyring = \"debian-archive\"\nrun = []\nbuild = []\n";
    const MISTAKES: Mistakes = &[
        ("\"tiny\"", "\"tiny", &["tiny.toml:2:", "╰─"]),
        (
            "suites =",
            "suits =",
            &["tiny.toml:7:1", "suits", "did you mean `suites`?"],
        ),
        ("[\"main\"]", "\"main\"", &["tiny.toml:8:14", "╰─"]),
        ("schema = 1", "schema = 7", &["tiny.toml:1:10", "7"]),
        (
            "debian-archive",
            "debian-archiv",
            &["tiny.toml:9:11", "debian-archiv", "hint: "],
        ),
        (
            "\"amd64\"",
            "\"amd46\"",
            &["tiny.toml:4:18", "amd46", "amd64"],
        ),
    ];
    let case = Case::bare();
    let manifests = case.at("manifests");
    fs::create_dir(&manifests).expect("mkdir");
    let prepare = || {
        let run = case
            .pybuild()
            .args(["prepare", "tiny", "--dry-run", "--manifests"]);
        run.args([&manifests]).run()
    };
    for (from, to, said) in MISTAKES {
        assert!(GOOD.contains(from), "{from}");
        fs::write(manifests.join("tiny.toml"), GOOD.replacen(from, to, 1)).expect("written");
        prepare().fails(2, said);
    }
    fs::write(manifests.join("tiny.toml"), GOOD).expect("written");
    assert_eq!(prepare().succeeds().out, "tiny: would be prepared\n");
    assert!(
        !case.store().exists(),
        "neither a mistake nor --dry-run makes a store"
    );
}

#[test]
fn mistakes_in_a_formula_are_shown_where_they_are() {
    const MISTAKES: Mistakes = &[
        (
            "kind = \"library\"",
            "kind = \"libary\"",
            &["hello.toml:3:8", "did you mean `library`?"],
        ),
        (
            "[common]",
            "[comon]",
            &["hello.toml:6:", "comon", "did you mean `common`?"],
        ),
        ("steps = [\n", "steps = [\n\"\n", &["hello.toml:8:2", "╰─"]),
        (
            "{prefix}",
            "{prefx}",
            &["hello.toml:8:", "did you mean `{prefix}`?"],
        ),
        (
            "\">=1, <2\"",
            "\"1 and up\"",
            &["hello.toml:13:12", "1 and up"],
        ),
    ];
    let case = Case::bare();
    let formulae = Formula::hello().write(&case.at(""));
    let file = formulae.join("hello.toml");
    let good = fs::read_to_string(&file).expect("readable");
    let plan = || {
        let run = case
            .pybuild()
            .args(["sandbox", "debian-12", "hello-1.0", "--dry-run"]);
        run.args(["--formulae".as_ref(), formulae.as_path()]).run()
    };
    for (from, to, said) in MISTAKES {
        assert!(good.contains(from), "{from}");
        fs::write(&file, good.replacen(from, to, 1)).expect("written");
        plan().fails(2, said);
    }
    fs::write(&file, &good).expect("written");
    let versions = formulae.join("hello.versions.toml");
    let text = fs::read_to_string(&versions).expect("readable");
    fs::write(&versions, text.replace("released", "relaesed")).expect("written");
    plan().fails(
        2,
        &[
            "hello.versions.toml:7:",
            "relaesed",
            "did you mean `released`?",
        ],
    );
    fs::remove_file(&versions).expect("removed");
    plan().fails(2, &["hello.versions.toml"]);
    assert!(!case.store().exists(), "a mistake makes a store");
}

#[test]
fn a_dry_run_prints_the_plan_and_touches_nothing() {
    let case = Case::bare();
    let formula = Formula::hello();
    let dry = || {
        formula
            .build(&case)
            .args(["--dry-run", "--jobs", "3"])
            .cwd(&case.at(""))
    };
    let ran = dry().run().succeeds();
    for said in [
        "bootstrap debian-12",
        "hello-1.0, profile plain, for debian-12",
        "export SOURCE_DATE_EPOCH=1704153600",
        "(cd /build/source && sh /build/files/compile.sh /app/hello 3)",
        "check says hello, moved (run image, prefix at /tmp/moved/hello)",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let ran = case
        .pybuild()
        .args(["prepare", "debian-12", "--dry-run"])
        .run();
    assert_eq!(ran.succeeds().out, "debian-12: would be prepared\n");
    let ran = case
        .pybuild()
        .args(["run", "debian-12", "--dry-run", "--", "true"])
        .run();
    let ran = ran.succeeds();
    assert!(ran.out.contains("bootstrap debian-12"), "{}", ran.out);
    assert_eq!(names(&case.at("")), ["formulae", "sources"]);

    let Some(case) = Case::new() else { return };
    let before = (names(&case.store()), names(&case.at("")));
    let ran = formula.build(&case).args(["--dry-run"]).run().succeeds();
    assert!(!ran.out.contains("bootstrap"), "{}", ran.out);
    let after = (names(&case.store()), names(&case.at("")));
    assert_eq!(before.0, after.0);
    assert_eq!(after.1, ["formulae", "sources", "store"]);
    let ran = case
        .pybuild()
        .args(["run", "debian-12", "--dry-run", "--", "true"])
        .run();
    let out = ran.succeeds().out;
    assert!(
        out.contains("a sandbox of debian-12\n") && out.contains("filter system calls"),
        "{out}"
    );
    case.is_clean();
}
