//! `pybuild test`: what passes, what has become worse, and tests that do not play by the rules.

use std::fs;
use std::path::{Path, PathBuf};

use crate::formula::Formula;
use crate::kit::{Case, STACK, files_below, give, is_root};
use crate::program::Pybuild;

/// The driver: a test is a file of the source, or of the prefix.
const DRIVER: &str = r#"
case $1 in
list) mkdir -p $2/share/tests; cp $3/weight $2/share/tests/laid
      echo test_runs; echo test_ends; echo test_reads ;;
run)  test -e $2/share/tests/laid || exit 9
      # What one test writes no other sees.
      test ! -e $2/share/tests/written && touch $2/share/tests/written || exit 9
      ! touch $3/written 2>/dev/null || exit 9
      # It is where the runtime will be: nothing to build with, nobody special, no network.
      ! command -v cc >/dev/null && test $(id -u) = 1000 || exit 9
      test "$(sed -n 's/^ *\([^ ]*\):.*/\1/p' /proc/net/dev)" = lo || exit 9
      . ${0%/*}/cases.sh ;;
esac
"#;

/// What each test does if a case of it says nothing else.
const CASES: &str = r#"
case $4 in
test_runs)  $2/bin/hello; echo '{"outcome":"passed"}' ;;
test_reads) grep -q HELLO $2/include/hello.h; echo '{"outcome":"passed"}' ;;
test_ends)  echo '{"outcome":"skipped","why":"it never does"}' ;;
esac
"#;

const TESTS: &str = r#"
[common.tests]
list = ["sh", "{files}/tests/driver.sh", "list", "{prefix}", "{source}"]
run  = ["sh", "{files}/tests/driver.sh", "run", "{prefix}", "{source}"]
suites.quick = ["test_runs", "test_ends", "test_of_another_version"]
suites.reading = ["test_reads"]
"#;

/// A formula that says how it is tested.
struct Tested {
    case: Case,
    formulae: PathBuf,
}

impl Tested {
    /// `None` where nothing can be built.
    fn new() -> Option<Self> {
        let case = Case::new()?;
        let formulae = Formula::hello().write(&case.at(""));
        let file = formulae.join("hello.toml");
        let text = fs::read_to_string(&file).expect("readable");
        let text = text.replace("\n[[series]]", &format!("{TESTS}\n[[series]]"));
        fs::write(file, text).expect("written");
        fs::create_dir(formulae.join("hello/tests")).expect("mkdir");
        let tested = Self { case, formulae };
        tested.write("tests/driver.sh", DRIVER);
        tested.does(CASES);
        Some(tested)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.formulae.join("hello").join(name), text).expect("written");
    }

    /// What the tests do from now on.
    fn does(&self, cases: &str) {
        self.write("tests/cases.sh", cases);
    }

    /// The same but for one test.
    fn but(&self, test: &str, script: &str) {
        self.does(&format!(
            "if test $4 = {test}; then {script}\nelse {CASES}\nfi\n"
        ));
    }

    fn test(&self, args: &[&str]) -> Pybuild {
        let sources = self.case.at("sources");
        self.case
            .pybuild()
            .args(["test", STACK, "hello-1.0"])
            .args(args)
            .args([Path::new("--formulae"), &self.formulae])
            .args([Path::new("--source-mirror"), &sources])
    }

    fn json(&self, args: &[&str]) -> (i32, serde_json::Value) {
        let ran = self.test(args).arg("--json").run();
        let json = serde_json::from_str(&ran.out);
        (
            ran.code,
            json.unwrap_or_else(|error| panic!("{error}: {}", ran.err)),
        )
    }

    fn baseline(&self) -> PathBuf {
        self.formulae
            .join("hello/baselines")
            .join(STACK)
            .join("1.0.toml")
    }
}

/// The row of a test.
fn row<'a>(json: &'a serde_json::Value, test: &str) -> &'a serde_json::Value {
    let rows = json["runs"][0]["results"].as_array().expect("rows");
    let found = rows.iter().find(|row| row["name"] == test);
    found.unwrap_or_else(|| panic!("no {test} in {json}"))
}

#[test]
fn what_passes_is_told_and_recorded() {
    let Some(tested) = Tested::new() else { return };
    let ran = tested.test(&[]).run().succeeds();
    assert!(
        ran.out
            .contains("2 tests, 1 passed, 1 skipped, no regression"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("--record"), "{}", ran.out);
    // The build is the same whether there are tests or not.
    let artifacts = files_below(&tested.case.store().join("artifacts"));
    tested.but(
        "test_runs",
        "echo '{\"outcome\":\"failed\",\"cases\":[\"A.a\",\"A.b\"]}'",
    );
    let ran = tested.test(&["--suite", "all"]).run();
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("A.a") && ran.out.contains("1 regression"),
        "{}",
        ran.out
    );
    if is_root() {
        give(&tested.formulae.join("hello"));
    }
    let ran = tested
        .test(&["--suite", "all", "--record"])
        .run()
        .succeeds();
    assert!(ran.out.contains("recorded in"), "{}", ran.out);
    let text = fs::read_to_string(tested.baseline()).expect("recorded");
    assert!(
        text.contains("\"A.b\",") && text.contains("it never does"),
        "{text}"
    );
    let ran = tested.test(&["--suite", "all"]).run().succeeds();
    assert!(
        ran.out
            .contains("3 tests, 1 passed, 1 skipped, 1 failed as before, no regression"),
        "{}",
        ran.out
    );
    // What is recorded is no part of the build either.
    assert_eq!(
        files_below(&tested.case.store().join("artifacts")),
        artifacts
    );
    tested.does(CASES);
    let (code, json) = tested.json(&["--suite", "all"]);
    assert_eq!(
        (code, &row(&json, "test_runs")["standing"]),
        (0, &"better".into())
    );
    tested.case.is_clean();
}

#[test]
fn what_has_become_worse_is_found() {
    let Some(tested) = Tested::new() else { return };
    tested
        .test(&["--suite", "all", "--record"])
        .run()
        .succeeds();
    let table = [
        (
            "echo broken; echo '{\"outcome\":\"failed\",\"cases\":[\"A.new\"]}'",
            "failed",
        ),
        ("echo '{\"outcome\":\"skipped\"}'", "skipped"),
        ("echo broken; kill -SEGV $$", "crashed"),
        ("echo broken; exit 3", "crashed"),
    ];
    for (script, ended) in table {
        tested.but("test_reads", script);
        let (code, json) = tested.json(&["--suite", "all"]);
        let row = row(&json, "test_reads");
        assert_eq!(
            (code, &row["standing"]),
            (4, &"regression".into()),
            "{json}"
        );
        assert_eq!(row["ended"], ended, "{json}");
        // Worse, and not by chance.
        let first = (ended != "skipped").then_some(ended);
        assert_eq!(row["first"].as_str(), first, "{json}");
        if ended != "skipped" {
            let log = json["runs"][0]["log"].as_str().expect("a log");
            let log = fs::read_to_string(log).expect("readable");
            assert!(
                log.contains("# test_reads") && log.contains("# test_reads, run again alone, "),
                "{log}"
            );
            assert_eq!(log.matches("broken\n").count(), 2, "{log}");
        }
        // It is not asked for, and so not missed.
        let (code, _) = tested.json(&["test_runs"]);
        assert_eq!(code, 0);
    }
    tested.but("test_reads", "exec sleep 1000");
    let (code, json) = tested.json(&["test_reads", "--test-timeout", "1s"]);
    assert_eq!(
        (code, &row(&json, "test_reads")["ended"]),
        (4, &"timed out".into())
    );
    tested.does(CASES);
    tested.write("tests/driver.sh", &DRIVER.replace("echo test_reads", ""));
    let (code, json) = tested.json(&["--suite", "all"]);
    assert_eq!(
        (code, &row(&json, "test_reads")["ended"]),
        (4, &"missing".into())
    );
    tested.case.is_clean();
}

#[test]
fn whoever_lies_has_crashed() {
    let Some(tested) = Tested::new() else { return };
    let lies = [
        "echo passed",
        "printf '\\377\\376\\n'",
        "echo '{\"outcome\":\"passed\"}'; echo more",
        "echo '{\"outcome\":\"passed\",\"cases\":[\"A.a\"]}'",
        "echo '{\"outcome\":\"failed\",\"cases\":[\"\\u001b[2J\"]}'",
        "yes | head -c 100000000; echo '{\"outcome\":\"passed\"}'",
        "head -c 3000000 /dev/zero; echo '{\"outcome\":\"passed\"}'",
    ];
    for lie in lies {
        tested.but("test_runs", lie);
        let (code, json) = tested.json(&["test_runs"]);
        assert_eq!(
            (code, &row(&json, "test_runs")["ended"]),
            (4, &"crashed".into()),
            "{lie}"
        );
        let ran = tested.test(&["test_runs"]).run();
        assert!(
            !ran.out.contains('\u{1b}') && ran.out.len() < 20_000,
            "{}",
            ran.out
        );
    }
    for lie in ["exit 5", "echo --help", "echo ../x", "yes test_x", ":"] {
        let driver = DRIVER.replace("echo test_runs;", &format!("{lie};"));
        let driver = driver.replace("echo test_ends; echo test_reads", "");
        tested.write("tests/driver.sh", &driver);
        let said = ["it cannot be told which tests hello-1.0 has"];
        tested.test(&[]).run().fails(1, &said);
    }
    tested.case.is_clean();
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let Some(tested) = Tested::new() else { return };
    let table: [(&[&str], [&str; 2]); 6] = [
        (
            &["--suite", "quik"],
            ["has no suite of tests `quik`", "did you mean `quick`?"],
        ),
        (
            &["--suite", "zzz"],
            [
                "has no suite of tests `zzz`",
                "known suites: quick, reading, all",
            ],
        ),
        (
            &["test_rums"],
            ["has no test `test_rums`", "did you mean `test_runs`?"],
        ),
        (&["a/b"], ["is not the name of a test", "a/b"]),
        (
            &["test_runs", "--suite", "quick"],
            ["cannot be used with", "--suite"],
        ),
        (
            &["--baseline", "/nowhere/x.toml"],
            ["/nowhere/x.toml", "--record writes one"],
        ),
    ];
    for (args, said) in table {
        tested.test(args).run().fails(2, &said);
    }
    let baseline = tested.case.at("baseline.toml");
    fs::write(&baseline, "schema = 1\nfoo = 2\n").expect("written");
    let path = baseline.to_str().expect("ASCII");
    let said = ["baseline.toml: not a baseline", "unknown field `foo`"];
    tested.test(&["--baseline", path]).run().fails(2, &said);
    let file = tested.formulae.join("hello.toml");
    let text = fs::read_to_string(&file).expect("readable");
    fs::write(&file, text.replace(TESTS, "")).expect("written");
    let said = [
        "the formula hello does not say how it is tested",
        "[common.tests]",
    ];
    tested.test(&[]).run().fails(2, &said);
}

#[test]
fn nothing_is_done_where_it_is_only_shown() {
    let Some(tested) = Tested::new() else { return };
    let ran = tested.test(&["--dry-run"]).run().succeeds();
    for said in [
        "build hello-1.0",
        "test hello-1.0 in the run image",
        "there is no baseline",
    ] {
        assert!(ran.out.contains(said), "{}", ran.out);
    }
    assert_eq!(files_below(&tested.case.store().join("artifacts")), [""; 0]);
}
