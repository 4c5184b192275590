//! The program: its first line, its exit codes, its JSON, its lock.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use pybuild::archive::Codec;
use serde_json::Value;

use crate::kit::{Dist, FLAT, PYTHON, SQLITE};

/// A place to run in, with a store of its own.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
        let store = dir.path().join("store");
        fs::create_dir(&store).expect("mkdir");
        if nix::unistd::geteuid().is_root() {
            chown(&store, Some(65534), Some(65534)).expect("chown");
        }
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.path().join("checksums.lock")).expect("a lock")
    }

    #[track_caller]
    pub(crate) fn verify(&self, dist: &Dist, args: &[&str]) -> Ran {
        let target = dist.path().to_str().expect("ASCII");
        let args = [&["verify"], args, &["--target", target]].concat();
        self.run(&args, &[])
    }

    /// The program with these arguments, and nothing in its environment but this.
    pub(crate) fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pybuild"));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PYBUILD_HOME", self.path().join("store"))
            .envs(env.iter().copied())
            .current_dir(self.path());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let output = self.command(args, env).output().expect("the program runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ran {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, first: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert_eq!(self.out.lines().next(), Some(first), "{}", self.err);
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert!(self.out.contains(text), "{}", self.out);
    }
}

#[test]
fn the_first_line_and_the_exit_code_say_it() {
    let place = Place::new();
    let dist = Dist::sound();
    place.verify(&dist, &[]).ends(0, "all 3 archives are sound");
    place
        .verify(&dist, &["debian-12", "python"])
        .ends(0, "all 2 archives are sound");
    place
        .verify(&dist, &["--digests"])
        .ends(0, "all 3 archives are as recorded; they were not unpacked");
    let quick = place.verify(&dist, &["--quick"]);
    quick.ends(
        0,
        "all 3 archives are as recorded, by their headers alone; they were not read",
    );
    quick.says("not checked: readable, digest, compression, whole, contents, safe,");
    let mut bytes = dist.get(PYTHON);
    bytes[20] ^= 1;
    dist.put(PYTHON, &bytes);
    let ran = place.verify(&dist, &[]);
    ran.ends(4, "1 of 3 archives is wrong");
    ran.says(&format!("\n\n{PYTHON}\n  digest "));
    place
        .verify(&dist, &["debian-12", "sqlite"])
        .ends(0, "the 1 archive is sound");
    dist.put("notes.txt", b"");
    place
        .verify(&dist, &[])
        .ends(4, "1 of 3 archives is wrong, and 1 other thing");
}

#[test]
fn nothing_to_verify_is_not_all_well() {
    let place = Place::new();
    let dist = Dist::empty();
    let nothing = format!(
        "nothing was verified: {} has no such archives",
        dist.path().display()
    );
    for args in [
        &[][..],
        &["--quick"],
        &["debian-12"],
        &["debian-12", "python-3.11.2"],
    ] {
        place.verify(&dist, args).ends(4, &nothing);
    }
    let dist = Dist::sound();
    let ran = place.verify(&dist, &["debian-12", "python-3.11.2", "python-3.8.8"]);
    ran.ends(4, "1 thing is wrong beside 1 archive");
    ran.says("debian-12/python-3.8.8\n  present  nothing there is called so\n");
}

#[test]
fn what_cannot_be_looked_at_is_neither_right_nor_wrong() {
    let place = Place::new();
    let dist = Dist::sound();
    let dir = dist.at("debian-12/runtimes");
    fs::set_permissions(&dir, Permissions::from_mode(0o0)).expect("chmod");
    let ran = place.verify(&dist, &[]);
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!((ran.code, ran.out.as_str()), (75, ""), "{}", ran.err);
    assert!(ran.err.contains("Permission denied"), "{}", ran.err);
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let place = Place::new();
    let dist = Dist::sound();
    for args in [
        &["--quick", "--identity"][..],
        &["debian-12", "Python"],
        &["debian-12", "a/*"],
        &["--lock", "nowhere.lock"],
        &["--list", "nowhere.txt"],
    ] {
        let ran = place.verify(&dist, args);
        assert!(matches!(ran.code, 2 | 75), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "", "{args:?}");
    }
}

#[test]
fn a_list_says_what_must_be_there() {
    let place = Place::new();
    let dist = Dist::sound();
    let list = place.path().join("list");
    fs::write(
        &list,
        format!("# all\nindex.json\n{PYTHON}\n{PYTHON}.sha256\n\n{SQLITE}\n{FLAT}\n"),
    )
    .expect("written");
    place
        .verify(&dist, &["--list", "list"])
        .ends(0, "all 3 archives are sound");
    fs::write(&list, "debian-12/runtimes/python-3.8.8.tar.gz\nnotes\n").expect("written");
    let ran = place.verify(&dist, &["--list", "list"]);
    ran.ends(4, "1 of 4 archives is wrong, and 1 other thing");
}

#[test]
fn json_is_for_programs() {
    let place = Place::new();
    let dist = Dist::sound();
    dist.remove(&format!("{PYTHON}.sha256"));
    let ran = place.verify(&dist, &["--json"]);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let json: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(json["verdict"], "wrong");
    assert_eq!(json["summary"], "1 of 3 archives is wrong");
    assert_eq!((&json["archives"], &json["wrong"]), (&3.into(), &1.into()));
    let finding = &json["findings"][0];
    assert_eq!(finding["key"], PYTHON);
    assert_eq!(finding["rule"], "sidecars");
    assert_eq!(finding["detail"], "its .sha256 is missing");
    let checked = json["checked"].as_array().expect("a list");
    assert_eq!(checked.len(), 3);
    let digest = dist.record_of(PYTHON).artifact.sha256.to_string();
    let python = checked.iter().find(|c| c["key"] == PYTHON).expect("PYTHON");
    assert_eq!(python["sha256"], digest.as_str());
    assert!(
        python["rules"]
            .as_array()
            .is_some_and(|rules| rules.contains(&"whole".into()))
    );
}

#[test]
fn record_adopts_and_later_runs_compare() {
    let place = Place::new();
    let dist = Dist::sound();
    for key in [PYTHON, SQLITE, FLAT] {
        dist.remove(&format!("{key}.sha256"));
        dist.remove(&format!("{key}.json"));
    }
    place.verify(&dist, &[]).ends(4, "all 3 archives are wrong");
    place
        .verify(&dist, &["--record", "debian-12", "python-3.11.2", "sqlite"])
        .ends(0, "all 2 archives are sound");
    let first = place.lock();
    assert_eq!(
        first.lines().filter(|line| !line.starts_with('#')).count(),
        2
    );
    place
        .verify(&dist, &["debian-12", "sqlite"])
        .ends(0, "the 1 archive is sound");
    place.verify(&dist, &[]).ends(4, "1 of 3 archives is wrong");
    place
        .verify(&dist, &["--record"])
        .ends(0, "all 3 archives are sound");
    place.verify(&dist, &[]).ends(0, "all 3 archives are sound");
    let lock = place.lock();
    assert!(first.lines().all(|line| lock.contains(line)), "{lock}");

    // Another tarball of the same name, however sound, is not what was recorded.
    dist.put(
        PYTHON,
        &crate::kit::made_of(&[crate::kit::file("other")]).bytes,
    );
    for args in [&[][..], &["--record"], &["--digests"]] {
        let ran = place.verify(&dist, args);
        ran.ends(4, "1 of 3 archives is wrong");
        ran.says("checksums.lock says");
        assert_eq!(place.lock(), lock);
    }
    dist.remove(PYTHON);
    place
        .verify(&dist, &["--quick"])
        .ends(4, "1 of 3 archives is wrong");

    // Of another target it says nothing, unless one insists.
    let other = Dist::sound();
    let ran = place.verify(&other, &[]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(
        ran.err.contains("hint: --lock checksums.lock"),
        "{}",
        ran.err
    );
    place
        .verify(&other, &["--lock", "checksums.lock"])
        .ends(0, "all 3 archives are sound");
    fs::write(place.path().join("checksums.lock"), &lock[..lock.len() - 1]).expect("written");
    let ran = place.verify(&dist, &[]);
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.err.contains("cut short"), "{}", ran.err);
}

#[test]
fn what_was_asked_for_and_could_not_be_done_is_not_called_sound() {
    let place = Place::new();
    let dist = Dist::sound();
    // Its record is of a source that no formula has: it cannot be built again.
    let args = ["--rebuild", "debian-12", "python-3.11.2"];
    let ran = place.verify(&dist, &args);
    assert_eq!(ran.code, 75, "{}{}", ran.out, ran.err);
    ran.says("it was not built again: the formula has another source by now");
    let json = place.verify(&dist, &[&args[..], &["--json"]].concat());
    assert_eq!(json.code, 75, "{}", json.err);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["verdict"], "unknown");
    assert_eq!(json["unseen"][0]["key"], PYTHON);
    // Of this stack there are no images, so that nobody can run what is there.
    let dist = Dist::empty();
    let bytes = crate::kit::tarball(Codec::Gzip).bytes;
    dist.put("nowhere-1/runtimes/python-3.11.2.tar.gz", &bytes);
    place
        .verify(&dist, &["--record"])
        .ends(0, "the 1 archive is sound");
    let ran = place.verify(&dist, &["--identity"]);
    assert_eq!(ran.code, 75, "{}{}", ran.out, ran.err);
    ran.says("its identity cannot be told: there is no run image of its stack");
}

#[test]
fn archives_are_unpacked_unless_somebody_says_otherwise() {
    let place = Place::new();
    let dist = Dist::sound();
    let mut cut = crate::kit::tarball(Codec::Gzip);
    cut.bytes.truncate(cut.bytes.len() / 2);
    dist.forge(PYTHON, &cut);
    place
        .verify(&dist, &["--digests"])
        .ends(0, "all 3 archives are as recorded; they were not unpacked");
    let ran = place.verify(&dist, &[]);
    ran.ends(4, "1 of 3 archives is wrong");
    ran.says(&format!("\n\n{PYTHON}\n  whole "));
}
