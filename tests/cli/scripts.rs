//! Scripts for bob-builder, run as they are: what they see, what becomes of what they leave, and
//! that nothing that goes wrong in them is swallowed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::deploy::CANARY;
use crate::kit::{Case, STACK, files_below};
use crate::program::{Pybuild, Ran};
use crate::server::{Reply, Server};

/// Tells what it sees, and installs a Python of the version that it is called by: a shell script.
const PYTHON: &str = r"#!/usr/bin/env bash
# Build Path: /app/.heroku/python/

source $(dirname $0)/python
";
/// What those scripts read: named from the workspace too.
const HELPER: &str = r#"
set -euo pipefail
formula=${0#$WORKSPACE_DIR/}
version=${formula##*-}
{
    echo "formula $formula"
    echo "arguments $*"
    echo "stack $STACK"
    echo "bucket ${S3_BUCKET:-none} ${S3_PREFIX:-none} ${UPSTREAM_S3_BUCKET:-none}"
    echo "left $(ls -A | wc -l)"
    "$WORKSPACE_DIR/tools/greet"
    env; tr '\0' '\n' </proc/self/environ
} >&2
touch here
prefix=${1%/}
mkdir -p $prefix/bin $prefix/lib/python/test
printf '#!/bin/sh\ntest "$4" = %s || { echo "it is Python %s" >&2; exit 1; }\n' \
    ${REALLY:-$version} ${REALLY:-$version} >$prefix/bin/python3
chmod 755 $prefix/bin/python3
ln $prefix/bin/python3 $prefix/bin/python
ln -s $prefix/lib $prefix/lib64
date >$prefix/lib/python/os.py
echo test >$prefix/lib/python/test/test.py
find $prefix -type d -name test -exec rm -rf '{}' +
echo os >$prefix/lib/python/os.py
"#;

/// A directory of scripts, with a link that leads out of it.
pub(crate) fn tree(case: &Case, scripts: &[(&str, &str)]) -> PathBuf {
    let dir = case.at("builds");
    let common = [
        ("runtimes/python", HELPER),
        ("runtimes/python-3.8.8", PYTHON),
        ("tools/greet", "#!/bin/sh\necho greetings\n"),
    ];
    for (path, text) in common.iter().chain(scripts) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
        fs::write(path, text).expect("written");
    }
    dir
}

/// The run that does something with scripts of this directory.
pub(crate) fn scripts(case: &Case, command: &str, dir: &Path, names: &[&str]) -> Pybuild {
    let run = case.pybuild().cwd(&case.at("")).args([command, STACK]);
    run.args(names).args(["--formulae"]).args([dir])
}

/// What an archive holds: by name its mode, its time and what is in it.
pub(crate) fn members(path: &Path) -> BTreeMap<String, (u32, u64, String)> {
    let mut found = BTreeMap::new();
    let file = fs::File::open(path).expect("there");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("a member");
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
        let header = entry.header().clone();
        let (mode, time) = (
            header.mode().expect("a mode"),
            header.mtime().expect("a time"),
        );
        let mut text = match entry.link_name().expect("UTF-8") {
            Some(link) => format!("-> {}", link.display()),
            None => String::new(),
        };
        entry.read_to_string(&mut text).expect("text");
        found.insert(name, (mode, time, text));
    }
    found
}

fn python(case: &Case) -> PathBuf {
    case.dist().join(STACK).join("runtimes/python-3.8.8.tar.gz")
}

/// The log of the newest build.
fn log(case: &Case) -> String {
    case.pybuild().args(["log"]).run().succeeds().out
}

#[test]
fn a_script_sees_what_bob_builder_shows_it_and_no_secret() {
    let Some(case) = Case::new() else { return };
    let dir = tree(&case, &[]);
    let run = || {
        scripts(&case, "sandbox", &dir, &["runtimes/python-3.8.8"])
            .env("S3_BUCKET", "bucket")
            .env("S3_PREFIX", "heroku-20/")
            .env("AWS_ACCESS_KEY_ID", CANARY)
            .env("AWS_SECRET_ACCESS_KEY", CANARY)
            .env("SOME_TOKEN", CANARY)
    };
    let ran = run().run().succeeds();
    assert!(
        ran.out.starts_with("runtimes/python-3.8.8 for debian-12\n"),
        "{}",
        ran.out
    );
    let told = log(&case);
    for said in [
        "formula runtimes/python-3.8.8\n",
        "arguments /app/.heroku/python/\n",
        "stack debian-12\n",
        "bucket bucket heroku-20/ none\n",
        "left 0\n",
        "greetings\n",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(!told.contains(CANARY), "{told}");
    let found = members(&python(&case));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "bin/",
            "bin/python",
            "bin/python3",
            "lib/",
            "lib/python/",
            "lib/python/os.py",
            "lib64",
        ]
    );
    assert_eq!(found["lib64"].2, "-> lib");
    assert!(
        found.values().all(|(_, time, _)| *time == 315_532_800),
        "{found:?}"
    );
    let first = fs::read(python(&case)).expect("there");
    // Another store, another time, another directory of scripts: the same bytes.
    let Some(other) = Case::new() else { return };
    let dir = tree(&other, &[]);
    let ran = scripts(&other, "sandbox", &dir, &["runtimes/python-3.8.8"])
        .env("S3_BUCKET", "bucket")
        .env("S3_PREFIX", "heroku-20/")
        .args(["--check-reproducible"])
        .run()
        .succeeds();
    assert!(ran.err.contains("the same bytes"), "{}", ran.err);
    assert!(fs::read(python(&other)).expect("there") == first);
    // The release's own time, if it is said.
    let ran = run()
        .env("SOURCE_DATE_EPOCH", "1613692800")
        .run()
        .succeeds();
    let found = members(&python(&case));
    assert!(
        found.values().all(|(_, time, _)| *time == 1_613_692_800),
        "{}",
        ran.out
    );
    case.is_clean();
}

#[test]
fn the_record_says_which_script_and_all_that_lay_beside_it() {
    let Some(case) = Case::new() else { return };
    let dir = tree(
        &case,
        &[(
            "libraries/vendor/libffi",
            "# Build Path: /app/.heroku/vendor\nmkdir $1/lib; echo 1 >$1/lib/ffi\n",
        )],
    );
    scripts(&case, "sandbox", &dir, &["libraries/vendor/libffi"])
        .run()
        .succeeds();
    let key = format!("{STACK}/libraries/vendor/libffi.tar.gz");
    let names = ["", ".json", ".sha256"].map(|end| format!("{key}{end}"));
    assert_eq!(files_below(&case.dist()), names);
    let record = || -> serde_json::Value {
        let text = fs::read_to_string(case.dist().join(format!("{key}.json"))).expect("there");
        serde_json::from_str(&text).expect("JSON")
    };
    let first = record();
    assert_eq!(first["script"], "libraries/vendor/libffi");
    assert_eq!(
        (&first["name"], &first["version"]),
        (&"libffi".into(), &serde_json::Value::Null)
    );
    assert_eq!(first["network"], true);
    assert_eq!(first["prefix"], "/app/.heroku/vendor");
    assert_eq!(first["source"]["flavour"], "script");
    let files: Vec<&str> = first["files"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|file| file["path"].as_str())
        .collect();
    assert_eq!(
        files,
        [
            "libraries/vendor/libffi",
            "runtimes/python",
            "runtimes/python-3.8.8",
            "tools/greet"
        ]
    );
    // What lies beside it is another build's, even if it gives the same bytes.
    fs::write(dir.join("tools/greet"), "#!/bin/sh\necho hello\n").expect("written");
    scripts(&case, "sandbox", &dir, &["libraries/vendor/libffi"])
        .run()
        .succeeds();
    let second = record();
    assert_ne!(first["build_id"], second["build_id"]);
    assert_eq!(first["artifact"]["sha256"], second["artifact"]["sha256"]);
    case.is_clean();
}

#[test]
fn a_script_reaches_the_network_and_its_record_says_so() {
    let Some(case) = Case::new() else { return };
    let server = Server::start(|_, request| {
        assert_eq!(request.path, "/source");
        Reply::ok(b"from the network\n").header("Connection: close")
    });
    let url = server.url("/source");
    let address = url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/source"));
    let (host, port) = address
        .and_then(|address| address.split_once(':'))
        .expect("an address");
    let script = format!(
        "set -eu\nmkdir -p $1/lib\nexec 3<>/dev/tcp/{host}/{port}\n\
         printf 'GET /source HTTP/1.0\\r\\n\\r\\n' >&3\n\
         while read -r line <&3; [ \"$line\" != $'\\r' ]; do :; done\n\
         read -r line <&3; echo \"$line\" >$1/lib/source\n"
    );
    let dir = tree(&case, &[("libraries/fetched", &script)]);
    scripts(&case, "sandbox", &dir, &["libraries/fetched"])
        .run()
        .succeeds();
    let path = case.dist().join(STACK).join("libraries/fetched.tar.gz");
    assert_eq!(members(&path)["lib/source"].2, "from the network\n");
    case.is_clean();
}

/// What a script does, and how the program must end for it, saying what.
type Row = (&'static str, i32, &'static [&'static str]);

#[test]
fn nothing_that_goes_wrong_is_swallowed() {
    let Some(case) = Case::new() else { return };
    let table: [Row; 9] = [
        (
            "mkdir $1/bin; echo so long; exit 7",
            1,
            &["failed with exit code 7", "so long"],
        ),
        (
            "mkdir $1/bin; kill -TERM $$",
            143,
            &["was killed by signal 15"],
        ),
        // As scripts without `set -e` end that have done nothing.
        ("false; exit 0", 1, &["the prefix is empty"]),
        (
            "mkdir $1/lib; ln -s /etc/passwd $1/lib/x",
            1,
            &["lib/x is a symlink to the absolute path /etc/passwd"],
        ),
        (
            "mkdir $1/lib; echo 1 >$1/y; ln -s ../../../etc $1/lib/x",
            1,
            &["lib/x is a symlink out of the prefix"],
        ),
        ("mkfifo $1/pipe; echo 1 >$1/x", 1, &["pipe is a named pipe"]),
        (
            "mkdir $1/bin; cp /bin/true $1/bin/tool; sed -i 's/libc.so.6/libd.so.6/' $1/bin/tool",
            1,
            &["bin/tool needs libd.so.6, which is not there"],
        ),
        (
            "no-such-program || exit; echo 1 >$1/x",
            1,
            &["failed with exit code 127", "no-such-program"],
        ),
        (
            "echo 1 >$1/x; echo 1 >/build/files/tools/greet",
            1,
            &["Read-only file system"],
        ),
    ];
    for (script, code, said) in table {
        let script = format!("{script}\n");
        let dir = tree(&case, &[("libraries/wrong", &script)]);
        let ran = scripts(&case, "sandbox", &dir, &["libraries/wrong"]).run();
        ran.fails(code, said);
        case.delivered_nothing();
    }
    case.is_clean();
}

#[test]
fn an_archive_is_of_the_version_that_its_name_says() {
    let Some(case) = Case::new() else { return };
    let wrong = "# Build Path: /app/.heroku/python/\nREALLY=3.7.2\nsource $(dirname $0)/python\n";
    let none = "# Build Path: /app/.heroku/python/\nmkdir $1/bin; echo 1 >$1/bin/pypy\n";
    let dir = tree(
        &case,
        &[
            ("runtimes/python-3.4.10", wrong),
            ("runtimes/python-3.4.9", none),
        ],
    );
    for (name, said) in [
        ("runtimes/python-3.4.10", "it is Python 3.7.2"),
        ("runtimes/python-3.4.9", "there is no bin/python"),
    ] {
        let ran = scripts(&case, "sandbox", &dir, &[name]).run();
        ran.fails(1, &["the check version", said]);
    }
    case.delivered_nothing();
    case.is_clean();
}

#[test]
fn what_is_wrong_with_a_script_is_said_before_anything_is_done() {
    let case = Case::bare();
    let dir = tree(
        &case,
        &[
            ("libraries/nowhere", "# Build Path: app\n"),
            ("libraries/ours", "# Build Path: /build/files/x\n"),
            ("libraries/up", "# Build Deps: ../../secret\n"),
        ],
    );
    std::os::unix::fs::symlink("/etc/passwd", dir.join("libraries/out")).expect("symlink");
    let table: [(&str, &[&str]); 7] = [
        (
            "runtimes/python-3.8.9",
            &[
                "there is no script runtimes/python-3.8.9",
                "hint: did you mean `runtimes/python-3.8.8`?",
            ],
        ),
        ("libraries/out", &["there is no script libraries/out"]),
        (
            "libraries/nowhere",
            &[
                "libraries/nowhere says `# Build Path: app`",
                "it must begin with `/`",
            ],
        ),
        ("libraries/ours", &["the prefix cannot lie in /build"]),
        (
            "libraries/up",
            &["../../secret", "no archive can have this name"],
        ),
        ("libraries//up", &["is not the path of a script"]),
        ("../up", &["names take lower-case letters"]),
    ];
    for (name, said) in table {
        let ran = scripts(&case, "sandbox", &dir, &[name]).run();
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
        for said in said {
            assert!(ran.err.contains(said), "{name}: {said}: {}", ran.err);
        }
    }
    let nowhere = |run: Pybuild| run.args(["sandbox", STACK, "runtimes/python-3.8.8"]).run();
    let ran: Ran = nowhere(case.pybuild());
    ran.fails(2, &["nobody says where scripts are", "WORKSPACE_DIR"]);
    let ran = nowhere(case.pybuild().env("WORKSPACE_DIR", "/nowhere"));
    ran.fails(2, &["/nowhere"]);
    // Nothing else takes them.
    let run = case.pybuild().args([
        "shell",
        STACK,
        "--with",
        "runtimes/python-3.8.8",
        "--formulae",
    ]);
    run.args([&dir])
        .run()
        .fails(2, &["is a script for bob-builder, not a formula"]);
    assert_eq!(files_below(&case.dist()), [""; 0]);
}
