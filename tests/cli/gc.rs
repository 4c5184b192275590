//! `pybuild gc`: what killed uploads have left in a target.

use std::fs;

use crate::kit::{Case, files_below};

#[test]
fn what_killed_uploads_left_is_given_up_once_it_is_old() {
    let case = Case::bare();
    let dist = case.dist();
    fs::create_dir_all(dist.join("a")).expect("mkdir");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    for (name, old) in [
        ("a/.pybuild-01.part", true),
        ("a/.pybuild-02.part", false),
        ("a/.somebody-elses", true),
        ("a/artifact", true),
    ] {
        let file = fs::File::create(dist.join(name)).expect("created");
        if old {
            file.set_modified(long_ago).expect("set");
        }
    }
    let before = files_below(&dist);
    let gc = || {
        let run = case.pybuild().args(["gc", "--target"]);
        run.args([&dist])
    };
    let dry = gc().args(["--dry-run"]).run().succeeds();
    assert!(
        dry.out.contains("1 unfinished uploads would be given up"),
        "{}",
        dry.out
    );
    assert_eq!(files_below(&dist), before);
    let ran = gc().run().succeeds();
    let said = "1 unfinished uploads given up";
    assert!(
        ran.out.contains(said) && ran.out.contains("1 younger"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("a/.pybuild-01.part"), "{}", ran.out);
    let left = ["a/.pybuild-02.part", "a/.somebody-elses", "a/artifact"];
    assert_eq!(files_below(&dist), left);
    let web = case
        .pybuild()
        .args(["gc", "--target", "https://example.org/r/"]);
    web.run().fails(2, &["https://example.org/r/", "hint: "]);
}
