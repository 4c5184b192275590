//! Small formulae that build in no time, or fail as a test wants it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use pybuild::model::Sha256;

use crate::kit::{Case, STACK};
use crate::program::Pybuild;

/// What is compiled, unless a test says otherwise.
const HELLO: &str = "\
cc -O1 -o hello hello.c
mkdir -p $1/bin $1/include $1/lib $1/share/doc/hello
cp hello $1/bin/hello
echo '#define HELLO 1' >$1/include/hello.h
echo data >$1/lib/hello.dat
echo read me >$1/share/doc/hello/README
";

/// A formula `hello` of version 1.0: shell scripts over a source of one C file.
pub(crate) struct Formula {
    steps: Vec<(String, String)>,
    check: String,
    digest: Option<Sha256>,
    weight: usize,
}

impl Formula {
    /// One that builds.
    pub(crate) fn hello() -> Self {
        Self {
            steps: vec![("compile".to_owned(), HELLO.to_owned())],
            check: "test \"$($1/bin/hello)\" = 'hello 1.0'".to_owned(),
            digest: None,
            weight: 0,
        }
    }

    /// One more step. `$1` is the prefix, `$2` the number of jobs.
    pub(crate) fn step(mut self, name: &str, script: &str) -> Self {
        self.steps.push((name.to_owned(), script.to_owned()));
        self
    }

    /// Another check. `$1` is the prefix.
    pub(crate) fn check(mut self, script: &str) -> Self {
        script.clone_into(&mut self.check);
        self
    }

    /// A digest that the source has not.
    pub(crate) fn digest(mut self, digest: Sha256) -> Self {
        self.digest = Some(digest);
        self
    }

    /// A source that unpacks to so many bytes more.
    pub(crate) fn weight(mut self, bytes: usize) -> Self {
        self.weight = bytes;
        self
    }

    /// Writes it into a directory, its source beside it, and gives the directory of formulae.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let formulae = dir.join("formulae");
        fs::create_dir_all(formulae.join("hello")).expect("mkdir");
        let mut steps = String::new();
        for (name, script) in &self.steps {
            let file = formulae.join("hello").join(format!("{name}.sh"));
            fs::write(file, format!("set -eu\n{script}\n")).expect("written");
            let run = format!(r#"["sh", "{{files}}/{name}.sh", "{{prefix}}", "{{jobs}}"]"#);
            writeln!(steps, r#"  {{ name = "{name}", run = {run} }},"#).expect("a String");
        }
        let check = formulae.join("hello/check.sh");
        fs::write(check, format!("set -eu\n{}\n", self.check)).expect("written");
        let text = format!(
            r#"schema = 1
name = "hello"
kind = "library"
prefix = "/app/hello"

[common]
steps = [
{steps}]
checks = [{{ name = "says hello", run = ["sh", "{{files}}/check.sh", "{{prefix}}"], moved = true }}]

[[series]]
versions = ">=1, <2"
"#
        );
        fs::write(formulae.join("hello.toml"), text).expect("written");
        let source = source(dir, self.weight);
        let digest = self.digest.unwrap_or_else(|| digest(&source));
        let text = format!(
            r#"schema = 1

[sources.tgz]
urls = ["http://127.0.0.1:1/upstream/hello-{{version}}.tar.gz"]

[versions]
"1.0" = {{ released = 2024-01-02, tgz = {{ sha256 = "{digest}" }} }}
"#
        );
        fs::write(formulae.join("hello.versions.toml"), text).expect("written");
        formulae
    }

    /// The run that builds it.
    pub(crate) fn build(&self, case: &Case) -> Pybuild {
        self.build_by(case, case.pybuild())
    }

    /// The same, started in another way.
    pub(crate) fn build_by(&self, case: &Case, pybuild: Pybuild) -> Pybuild {
        let formulae = self.write(&case.at(""));
        pybuild
            .args(["sandbox", STACK, "hello-1.0", "--formulae"])
            .args([formulae.as_path(), "--source-mirror".as_ref()])
            .args([
                case.at("sources").as_path(),
                "--output".as_ref(),
                &case.dist(),
            ])
    }
}

/// Writes the manifest of a stack `tiny`, of the essential packages alone, and gives the directory
/// of manifests. It is quickly prepared, and from packages that the big stack has too.
pub(crate) fn tiny(case: &Case) -> PathBuf {
    let manifests = case.at("manifests");
    fs::create_dir_all(&manifests).expect("mkdir");
    let text = r#"schema = 1
name = "tiny"
end_of_life = 2028-06-30
architectures = ["amd64", "arm64"]

[debian]
suites = ["bookworm"]
components = ["main"]
keyring = "debian-archive"
run = ["usr-is-merged"]
build = []
"#;
    fs::write(manifests.join("tiny.toml"), text).expect("written");
    manifests
}

/// The SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> Sha256 {
    Sha256::of(&fs::read(path).expect("readable"))
}

/// The source: the same bytes each time.
fn source(dir: &Path, weight: usize) -> PathBuf {
    let sources = dir.join("sources");
    fs::create_dir_all(&sources).expect("mkdir");
    let path = sources.join("hello-1.0.tar.gz");
    let file = File::create(&path).expect("created");
    let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut tar = tar::Builder::new(gzip);
    let code = b"#include <stdio.h>\nint main(void) { puts(\"hello 1.0\"); return 0; }\n";
    for (name, content) in [("hello.c", &code[..]), ("weight", &vec![0; weight])] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_704_153_600);
        tar.append_data(&mut header, format!("hello-1.0/{name}"), content)
            .expect("written");
    }
    tar.into_inner()
        .expect("written")
        .finish()
        .expect("written");
    path
}

/// Where a built `hello` is delivered.
pub(crate) fn tarball(case: &Case) -> PathBuf {
    case.dist().join(STACK).join("libraries/hello-1.0.tar.gz")
}
