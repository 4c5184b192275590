//! Trees of scripts as they were written for bob-builder, and what becomes of them.

use std::fs;

use super::*;
use crate::formula::Catalog;

const PYTHON3: &str = r#"#!/usr/bin/env bash
# fail hard
set -o pipefail
# fail harder
set -eu

OUT_PREFIX=$1

# Use new path, containing autoconf.
hash -r

dep_formula=${0#$WORKSPACE_DIR/} # this is the original script
dep_name=$(basename $BASH_SOURCE) # this is us

BASE=${dep_formula##*/}
python_version=${BASE^}
version_number=$(echo "$python_version" | cut -d- -f2)
dep_url=https://example.org/ftp/python/${version_number}/${python_version}.tgz

echo "Building Python 3..."
echo "Pulling from source: ${dep_url}"
curl -L "${dep_url}" | tar xz -C "${OUT_PREFIX}"
mv "${OUT_PREFIX}/${python_version}" src
cd src

./configure --prefix=$OUT_PREFIX \
    --with-ensurepip=no
make
make install

find "${OUT_PREFIX}" \( -type d -a \( -name test -o -name tests \) \) -exec rm -rf '{}' +

# Remove spare /
LOCATION=${OUT_PREFIX%?}

ln $LOCATION/bin/python3 $LOCATION/bin/python
"#;

const SQLITE: &str = "#!/usr/bin/env bash
# Build Path: /app/.heroku/python/

OUT_PREFIX=$1

echo \"Building SQLite\"
SOURCE_TARBALL='https://example.org/2018/sqlite-autoconf-3240000.tar.gz'

curl $SOURCE_TARBALL | tar xz
# jx
mv sqlite-autoconf-3240000 sqlite

cd sqlite
./configure --prefix=$OUT_PREFIX --disable-static &&
make -j$(nproc)
make install

# Cleanup
cd ..
rm -fr sqlite
";

/// A script that reads `python3`.
fn runtime(deps: &str) -> String {
    format!(
        "#!/usr/bin/env bash\n# Build Path: /app/.heroku/python/\n{deps}\nsource $(dirname $0)/python3\n"
    )
}

fn read(files: &[(&str, &str)]) -> (Vec<Understood>, Vec<Refusal>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
        fs::write(path, text).expect("written");
    }
    understand(&Workspace::read(dir.path()).expect("readable")).expect("readable")
}

fn fetched(all: Vec<Understood>) -> Vec<(Understood, Fetched)> {
    let with = |one: Understood| {
        let fetched = Fetched {
            sha256: Sha256::of(one.url.as_bytes()),
            released: "2021-02-19".to_owned(),
        };
        (one, fetched)
    };
    all.into_iter().map(with).collect()
}

#[test]
fn a_tree_of_simple_scripts_becomes_formulae() {
    let plain = runtime("");
    let with = runtime("# Build Deps: libraries/sqlite");
    let (understood, refused) = read(&[
        ("runtimes/python3", PYTHON3),
        ("runtimes/python-3.8.8", &plain),
        ("runtimes/python-3.8.7", &plain),
        ("runtimes/python-3.6.0", &with),
        ("libraries/sqlite", SQLITE),
        ("README", "what this is"),
    ]);
    assert_eq!(refused, []);
    let (files, refused) = write(&fetched(understood));
    assert_eq!(refused, []);
    let text: Vec<String> = files
        .iter()
        .map(|(name, text)| format!("==> {name}\n{text}"))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
    // They are formulae.
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in &files {
        fs::write(dir.path().join(name), text).expect("written");
    }
    let catalog = Catalog::load(Some(dir.path()));
    let catalog = catalog.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error)));
    let stack = "debian-12".parse().expect("a stack");
    let recipes = catalog.recipes(
        &"python-3.6.0".parse().expect("a name"),
        Some("plain"),
        &stack,
    );
    let names: Vec<String> = recipes
        .expect("there")
        .iter()
        .map(|recipe| recipe.reference.to_string())
        .collect();
    assert_eq!(names, ["sqlite-3240000", "python-3.6.0"]);
}

#[test]
fn what_is_not_understood_is_told_by_its_line() {
    let head = "#!/usr/bin/env bash\n# Build Path: /app/x\n";
    let fetch = "curl -L https://example.org/x-1.0.tar.gz | tar xz\ncd x-1.0\n";
    let table: [(&str, usize, &str); 20] = [
        (
            "if [ -n \"$A\" ]; then exit 0; fi\n",
            3,
            "`if` is not followed",
        ),
        ("if true; then exit 0; fi\n", 3, "`if` is not followed"),
        (
            "f() { true; }\n",
            3,
            "subshells and functions are not followed",
        ),
        (
            "curl https://example.org/a.tgz | tar xz\ncurl https://example.org/b.tgz | tar xz\n",
            4,
            "it fetches more than one thing",
        ),
        (
            "curl ftp://example.org/a-1.tgz | tar xz\n",
            3,
            "is not fetched by https or http",
        ),
        (
            "export PATH=\"/app/bin:$PATH\"\n",
            3,
            "nobody knows what $PATH is",
        ),
        ("make || true\n", 3, "`||` is not followed"),
        ("echo x >/etc/passwd\n", 3, "redirections are not followed"),
        ("apt-get install -y curl\n", 3, "`apt-get` is not followed"),
        ("make\n", 3, "`make` is not followed outside of the source"),
        ("cd /tmp\n", 3, "`cd /tmp` is not followed"),
        (
            "source /etc/profile\n",
            3,
            "/etc/profile is not in the directory of scripts",
        ),
        ("A=`date`\n", 3, "backquotes are not followed"),
        ("A=$(date)\n", 3, "`$(date)` is not followed"),
        (
            "FETCHcp *.h $1/include\n",
            5,
            "the pattern `*.h` is not followed",
        ),
        ("FETCHcurl x | sh\n", 5, "a pipe into sh is not followed"),
        ("FETCHrm -rf $1\n", 5, "the whole prefix is removed"),
        (
            "FETCHsleep 1 &\n",
            5,
            "what runs in the background is not followed",
        ),
        (
            "FETCHln -s /usr/lib/x.so $1/lib/x.so\n",
            5,
            "a link leads out of the prefix",
        ),
        (
            "echo \"one\ntwo\"\n",
            3,
            "a quotation does not end on its line",
        ),
    ];
    for (script, line, said) in table {
        let text = format!("{head}{}", script.replace("FETCH", fetch));
        let (understood, refused) = read(&[("libraries/x", &text)]);
        assert_eq!(understood, [], "{script}");
        let [refusal] = refused.as_slice() else {
            panic!("{script}: {refused:?}");
        };
        assert_eq!(
            refusal.place,
            Some(("libraries/x".to_owned(), line)),
            "{script}: {refusal}"
        );
        assert!(refusal.why.contains(said), "{script}: {refusal}");
    }
    let (_, refused) = read(&[("libraries/x", &format!("{head}echo nothing\n"))]);
    assert_eq!(refused[0].to_string(), "libraries/x: it fetches no tarball");
    // In a file that it reads, too.
    let helper = "#!/bin/bash\nunknown\n";
    let script = format!("{head}source $(dirname $0)/helper\n");
    let (_, refused) = read(&[("libraries/helper", helper), ("libraries/x", &script)]);
    let said: Vec<String> = refused.iter().map(Refusal::to_string).collect();
    assert_eq!(
        said,
        ["libraries/x: libraries/helper, line 2: `unknown` is not followed outside of the source"]
    );
}

#[test]
fn what_cannot_be_one_formula_is_told() {
    let script = |prefix: &str, version: &str| {
        format!(
            "#!/bin/bash\n# Build Path: {prefix}\nwget -qO- https://example.org/x-{version}.tar.gz | tar xz\ncd x-{version}\nmake install DESTDIR=$1\n"
        )
    };
    let (one, other) = (script("/app/a", "1.0"), script("/app/b", "1.1"));
    let missing = one.replace("# Build Path", "# Build Deps: libraries/y\n# Build Path");
    let (understood, refused) = read(&[
        ("libraries/x-1.0", &one),
        ("libraries/x-1.1", &other),
        ("libraries/z-1.0", &missing),
    ]);
    assert_eq!(refused, []);
    let (files, refused) = write(&fetched(understood));
    let said: Vec<String> = refused.iter().map(Refusal::to_string).collect();
    assert_eq!(
        said,
        [
            "libraries/x-1.1: libraries/x-1.0 has this name too, and is another formula",
            "libraries/z-1.0: it begins with libraries/y, which is not imported",
        ]
    );
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(names, ["x.toml", "x.versions.toml"]);
}
