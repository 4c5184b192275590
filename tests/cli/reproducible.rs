//! The same bytes, whoever builds, where, when, and with how many jobs.

use std::fs;

use crate::formula::{Formula, digest, tarball};
use crate::kit::{Case, STACK, is_root, seed, shared_store};

#[test]
fn a_build_again_gives_the_same_bytes() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello();
    formula.build(&case).args(["--jobs", "1"]).run().succeeds();
    let first = fs::read(tarball(&case)).expect("delivered");
    let ran = formula
        .build(&case)
        .args(["--jobs", "2", "--rebuild"])
        .run()
        .succeeds();
    assert!(
        ran.err.contains("hello-1.0: compile"),
        "it is not built: {}",
        ran.err
    );
    assert_eq!(fs::read(tarball(&case)).expect("delivered"), first);
    for jobs in ["1", "2"] {
        let check = formula
            .build(&case)
            .args(["--check-reproducible", "--jobs", jobs]);
        let ran = check.run().succeeds();
        assert!(ran.err.contains("the same bytes, SHA-256 "), "{}", ran.err);
        assert!(
            ran.err.contains("hello-1.0: compile"),
            "it is not built: {}",
            ran.err
        );
    }
    case.is_clean();
}

#[test]
fn a_build_that_differs_is_found_out_with_the_files_that_differ() {
    let Some(case) = Case::new() else { return };
    let formula = Formula::hello().step(
        "differ",
        "cat /proc/sys/kernel/random/uuid >$1/lib/chance
date +%s%N >$1/share/doc/hello/when
echo $2 >$1/lib/jobs",
    );
    let run = formula.build(&case).args(["--check-reproducible"]).run();
    let ran = run.fails(
        1,
        &[
            "hello-1.0 is not reproducible: ",
            "hint: differs: lib/chance\n",
            "hint: differs: lib/jobs\n",
            "hint: differs: share/doc/hello/when\n",
        ],
    );
    assert!(!ran.err.contains("bin/hello"), "{}", ran.err);
    assert!(!case.dist().exists(), "it is delivered");
    case.is_clean();
    // With the first in the store, another is no longer the same build.
    formula
        .build(&case)
        .args(["--rebuild"])
        .run()
        .fails(1, &["hello-1.0", "hint: "]);
    case.is_clean();
}

#[test]
fn sqlite_is_the_same_in_two_stores_by_two_users_with_other_jobs() {
    let Some(shared) = shared_store() else { return };
    let build = |uid: u32, jobs: &str| {
        let case = Case::bare();
        seed(&case.store(), shared, uid);
        let run = case.pybuild().args(["sandbox", STACK, "sqlite-3.46.1"]);
        let run = run.args(["--jobs", jobs, "--output"]).args([case.dist()]);
        let uid = uid.to_string();
        let user = if is_root() {
            &["--run-as", &uid][..]
        } else {
            &[]
        };
        run.args(user).run().succeeds();
        case.is_clean();
        digest(
            &case
                .dist()
                .join(STACK)
                .join("libraries/sqlite-3.46.1.tar.gz"),
        )
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| build(4_000_001, "1"));
        let other = build(4_000_002, "2");
        assert_eq!(one.join().expect("a build"), other);
    });
}
