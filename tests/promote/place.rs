//! Where the program runs, and what it runs on.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde_json::Value;

use crate::kit::{Dist, FLAT, PYTHON, SQLITE};
use crate::program::{Pybuild, Ran, pybuild};
use crate::server::{KEY, SECRET, Server};

pub(crate) const KEYS: [&str; 3] = [PYTHON, SQLITE, FLAT];
pub(crate) const ENDS: [&str; 3] = ["", ".sha256", ".json"];

/// A store for the program, and a directory for whatever else.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Root's pybuild becomes somebody else, who must get through.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        let store = dir.path().join("store");
        fs::create_dir(&store).expect("mkdir");
        if geteuid().is_root() {
            chown(&store, Some(65534), Some(65534)).expect("chown");
        }
        for bucket in ["staging", "production"] {
            fs::create_dir_all(dir.path().join("buckets").join(bucket)).expect("mkdir");
        }
        Self { dir }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the server keeps.
    pub(crate) fn buckets(&self) -> PathBuf {
        self.at("buckets")
    }

    /// `pybuild promote`, with these arguments to follow.
    pub(crate) fn promote<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> Pybuild {
        let run = pybuild(&self.at("store")).cwd(self.dir.path());
        run.args(["promote"])
            .args(args)
            .env("NO_PROXY", "127.0.0.1")
    }

    /// The same from `s3://staging/p` to `s3://production/q` of this server.
    pub(crate) fn between(&self, server: &Server, args: &[&str]) -> Pybuild {
        let all = [&["s3://staging/p", "s3://production/q"], args].concat();
        with(self.promote(&all), server)
    }

    /// Fails if anything is left of a run.
    #[track_caller]
    pub(crate) fn is_clean(&self) {
        let scratch = self.at("store/scratch");
        let left: Vec<_> = fs::read_dir(&scratch).into_iter().flatten().collect();
        assert!(left.is_empty(), "left in scratch: {left:?}");
    }
}

/// With what it takes to use this server.
pub(crate) fn with(run: Pybuild, server: &Server) -> Pybuild {
    run.env("AWS_ENDPOINT_URL", server.url())
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_EC2_METADATA_DISABLED", "true")
}

/// Everything below a directory, with its bytes; what the server keeps for itself is left out.
pub(crate) fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("readdir");
        let name = entry.file_name().into_string().expect("ASCII");
        if entry.file_type().expect("lstat").is_dir() {
            let below = tree(&entry.path()).into_iter();
            found.extend(below.map(|(key, bytes)| (format!("{name}/{key}"), bytes)));
        } else {
            found.insert(name, fs::read(entry.path()).expect("read"));
        }
    }
    found
}

/// Copies a directory's archives to a place on disk.
pub(crate) fn fill(dist: &Dist, to: &Path) {
    for (key, bytes) in tree(dist.path()) {
        let path = to.join(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, bytes).expect("written");
    }
}

/// What became of each archive, by its key.
pub(crate) fn outcomes(ran: &Ran) -> BTreeMap<String, Value> {
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    let archives = json["archives"].as_array().expect("a list").iter();
    archives
        .map(|it| (it["key"].as_str().expect("a key").to_owned(), it.clone()))
        .collect()
}

/// Fails unless all three ended so.
#[track_caller]
pub(crate) fn all_are(ran: &Ran, outcome: &str) {
    let found = outcomes(ran);
    for key in KEYS {
        assert_eq!(
            found[key]["outcome"], outcome,
            "{key}: {}{}",
            ran.out, ran.err
        );
    }
}

/// Fails unless it ends so.
#[track_caller]
pub(crate) fn ends(ran: Ran, code: i32) -> Ran {
    assert_eq!(ran.code, code, "{}\n{}", ran.err, ran.out);
    for said in [&ran.out, &ran.err] {
        assert!(!said.contains(SECRET) && !said.contains("canary"), "{said}");
    }
    ran
}
