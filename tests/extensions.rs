//! What a packaged runtime is for: with it in the build image, a virtual environment can be made, and
//! an extension module written in C can be compiled, installed and imported.
//!
//! Builds a real CPython, `plain`, from the sources that Debian redistributes.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const STACK: &str = "debian-12";
const RUNTIME: &str = "python-3.11.2";

const SETUP: &str = r#"
from setuptools import Extension, setup
setup(name="tell", version="1.0", ext_modules=[Extension("tell", ["tell.c"])])
"#;

const MODULE: &str = r#"
#include <Python.h>

static PyObject *answer(PyObject *self, PyObject *unused)
{
    return PyLong_FromLong(42);
}

static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tell", NULL, -1, methods};

PyMODINIT_FUNC PyInit_tell(void)
{
    return PyModule_Create(&module);
}
"#;

/// Nothing is asked of a network: ensurepip has pip and setuptools. Each line that is printed is
/// compared.
const SCRIPT: &str = r#"
set -eu
python=/app/.heroku/python/bin/python
cp -R /extension /tmp/extension
$python -m venv /tmp/venv
/tmp/venv/bin/pip install --quiet --no-index --no-build-isolation /tmp/extension
cd /
/tmp/venv/bin/python -c 'import sys, tell; print(tell.answer(), sys.prefix, sys.base_prefix)'
/tmp/venv/bin/python -c 'import tell; print(tell.__file__)'
/tmp/venv/bin/pip debug --verbose 2>/dev/null | grep -o 'cp311-cp311-linux_[a-z0-9_]*' | head -n 1
test "$(/app/.heroku/python/bin/python3.11-config --extension-suffix)" = "$($python -c '
import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')"
"#;

#[test]
fn extension_modules_are_compiled_installed_and_imported() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    // Root's builds are another user's, who must get through.
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    let extension = dir.path().join("extension");
    fs::create_dir(&extension).expect("mkdir");
    fs::write(extension.join("setup.py"), SETUP).expect("written");
    fs::write(extension.join("tell.c"), MODULE).expect("written");

    let store = dir.path().join("store");
    let prepared = pybuild(&store, &["prepare", STACK]);
    if prepared.status.code() == Some(3) && std::env::var_os("CI").is_none() {
        let why = String::from_utf8_lossy(&prepared.stderr);
        complain(&format!("NOT RUN: this host cannot sandbox: {why}"));
        return;
    }
    succeeds(&prepared);
    let mut bind = OsString::from(&extension);
    bind.push(":/extension");
    let bind = bind.to_str().expect("UTF-8");
    let script = ["--with", RUNTIME, "--profile", "plain", "--bind", bind];
    let script = [
        &["run", STACK],
        &script[..],
        &["--", "/bin/sh", "-c", SCRIPT],
    ]
    .concat();
    let said = succeeds(&pybuild(&store, &script));
    let arch = std::env::consts::ARCH;
    let wanted = [
        "42 /tmp/venv /app/.heroku/python".to_owned(),
        format!("/tmp/venv/lib/python3.11/site-packages/tell.cpython-311-{arch}-linux-gnu.so"),
        format!("cp311-cp311-linux_{arch}"),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted);
}

fn pybuild(store: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pybuild"));
    command.args(arguments).env("PYBUILD_HOME", store);
    command.output().expect("pybuild")
}

/// What it printed.
fn succeeds(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("\n{text}\n");
}
