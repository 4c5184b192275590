//! Manifests, and the mistakes in them.

use super::*;
use crate::rootfs::origin::Packages;

const TEXT: &str = r#"schema = 1
name = "debian-12"
end_of_life = 2028-06-30
architectures = ["amd64"]

[debian]
suites = ["bookworm"]
components = ["main"]
keyring = "debian-archive"
run = ["tzdata"]
build = ["gcc"]
"#;

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let keyring = ("debian-archive".to_owned(), Cow::Borrowed(&b"keys"[..]));
    Manifest::parse("x.toml", text, &Keyrings::from([keyring]))
}

#[test]
fn a_manifest_is_read() {
    let manifest = parse(TEXT).expect("a manifest");
    assert_eq!(manifest.name().as_str(), "debian-12");
    assert_eq!(manifest.end_of_life().to_string(), "2028-06-30");
    let commented = parse(&format!("# new\n{TEXT}")).expect("a manifest");
    assert_eq!(commented.digest(), manifest.digest());
    let other = parse(&TEXT.replace("gcc", "clang")).expect("a manifest");
    assert_ne!(other.digest(), manifest.digest());
    assert_eq!(manifest.series("python"), None);
}

/// A manifest with these lines in place of `[debian]` and what is in it.
fn with(lines: &str) -> String {
    let (head, _) = TEXT.split_once("[debian]").expect("there");
    format!("{head}{lines}\n")
}

#[test]
fn every_kind_of_origin_is_read() {
    let sha256 = Sha256::of(b"");
    let tarball =
        format!("tarball.urls = ['https://u:p@example.org/a?b']\ntarball.sha256 = '{sha256}'");
    let table = [
        (
            "image.build = 'heroku/heroku:20-build'\nimage.run = 'heroku/heroku:20'",
            "heroku/heroku:20-build and heroku/heroku:20",
        ),
        ("image.build = 'oci:images:a'", "oci:/dir/images:a"),
        (
            "image.build = 'docker-archive:/a.tar'",
            "docker-archive:/a.tar",
        ),
        (&tarball, "https://example.org/a?…"),
        ("directory = 'root'", "/dir/root"),
        (
            "mirror = 's3://bucket/prefix'",
            "the mirror s3://bucket/prefix",
        ),
        ("mirror = 'stacks'", "the mirror /dir/stacks"),
        (
            "mirror = 'https://u:p@example.org/a'",
            "the mirror https://example.org/a",
        ),
        (
            "debian = { suites = ['sid'], components = ['main'], keyring = 'debian-archive', run = [], build = [] }",
            "Debian sid",
        ),
    ];
    for (lines, shown) in table {
        let manifest = parse(&with(&format!("[[from]]\n{lines}"))).expect(lines);
        let manifest = manifest.rooted(Path::new("/dir"));
        let [origin] = manifest.origins() else {
            panic!("{lines}: {manifest:?}");
        };
        assert_eq!(origin.to_string(), shown);
    }
}

#[test]
fn origins_keep_their_order() {
    let text = format!("{TEXT}[[from]]\nimage.build = 'b'\n[[from]]\ndirectory = '/c'\n");
    let manifest = parse(&text).expect("a manifest");
    let shown: Vec<String> = manifest.origins().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["Debian bookworm", "b:latest", "/c"]);
    let references = manifest.references();
    assert_eq!(references, [&"b".parse().expect("a reference")]);
}

#[test]
fn packages_sources_and_series_are_read() {
    let manifest = parse(&with(
        "series.python = ['2.7', '3.9']\n[[from]]\nimage.build = 'b'\npackages.run = ['r']\n\
         packages.build = ['g++']\n\
         packages.sources = ['deb [check-valid-until=no] http://example.org/ x main']",
    ))
    .expect("a manifest");
    let python = ["2.7".to_owned(), "3.9".to_owned()];
    assert_eq!(manifest.series("python"), Some(&python[..]));
    let [Origin::Made(made)] = manifest.origins() else {
        panic!("{manifest:?}");
    };
    let Packages {
        run,
        build,
        sources,
    } = &made.packages;
    assert_eq!((run.join(" "), build.join(" ")), ("r".into(), "g++".into()));
    assert_eq!(sources.len(), 1);
}

#[test]
#[rustfmt::skip] // one mistake a line
fn mistakes_in_origins_are_pointed_at() {
    let one_of = |line| format!("x.toml:{line}:1: an entry of `from` has one of `debian`, `image`, `tarball`, `directory` and `mirror`");
    let table = [
        ("", "x.toml:2:8: nothing says where this stack comes from: [debian] or [[from]] does"),
        ("[[from]]", &one_of(6)),
        ("[[from]]\nimage.build = 'b'\ndirectory = '/d'", &one_of(6)),
        ("[[from]]\nimage.build = 'b'\n[[from]]\npackages.run = []", &one_of(8)),
        ("[[form]]", "x.toml:6:3: unknown field `form`, expected one of `schema`, `name`, `end_of_life`, `architectures`, `series`, `debian`, `from`; did you mean `from`?"),
        ("[[from]]\nimages.build = 'b'", "x.toml:7:1: unknown field `images`, expected one of `debian`, `image`, `tarball`, `directory`, `mirror`, `digest`, `packages`; did you mean `image`?"),
        ("[[from]]\nimage.run = 'b'", "x.toml:7:1: missing field `build`"),
        ("[[from]]\nimage.build = 'Debian:12'", "x.toml:7:15: `Debian:12` names no image: "),
        ("[[from]]\nimage.build = 'b'\nimage.run = 'oci:'", "x.toml:8:13: `oci:` names no file"),
        ("[[from]]\nimage.build = 'b'\npackages.dev = []", "x.toml:8:10: unknown field `dev`, expected one of `run`, `build`, `sources`"),
        ("[[from]]\nimage.build = 'b'\npackages.run = ['a', 'b c']", "x.toml:8:22: `b c` is no name of a suite, component or package"),
        ("[[from]]\nimage.build = 'b'\npackages.run = ['-o']", "x.toml:8:17: `-o` is no name"),
        ("[[from]]\nimage.build = 'b'\npackages.build = ['a-']", "x.toml:8:19: `a-` is no name"),
        ("[[from]]\nimage.build = 'b'\npackages.sources = ['http://example.org']", "x.toml:8:21: a source is a line of apt's"),
        ("[[from]]\nimage.build = 'b'\npackages.sources = [\"deb a\\nEND\"]", "x.toml:8:21: a source is a line of apt's"),
        ("[[from]]\ntarball.urls = []\ntarball.sha256 = ''", "x.toml:7:16: a tarball has at least one URL"),
        ("[[from]]\ntarball.urls = ['ftp://a']\ntarball.sha256 = ''", "x.toml:7:17: a tarball's URL begins with https://, http:// or file:///"),
        ("[[from]]\ntarball.urls = ['file:///a']\ntarball.sha256 = 'abc'", "x.toml:8:18: a SHA-256 is 64 hexadecimal digits"),
        ("[[from]]\ntarball.urls = ['file:///a']", "x.toml:7:1: missing field `sha256`"),
        ("[[from]]\nmirror = ''", "x.toml:7:10: a mirror is s3://BUCKET/PREFIX, a directory, or an https:// address"),
        ("[[from]]\nmirror = 'ftp://example.org'", "x.toml:7:10: a mirror is s3://"),
        ("[[from]]\nmirror = 'a'\ndigest = 'abc'", "x.toml:8:10: a digest is `sha256:` and 64 hexadecimal digits"),
        ("[[from]]\nmirror = 'a'\npackages.run = []", "x.toml:8:1: a mirror has a stack with its packages"),
        ("[[from]]\ndirectory = '/d'\ndigest = 'abc'", "x.toml:8:10: the digest is that of a mirror's index"),
        ("[[from]]\ndirectory = ''", "x.toml:7:13: a directory has a name"),
        ("series.python = ['new']\n[[from]]\ndirectory = '/d'", "x.toml:6:18: `new` is no version"),
    ];
    for (lines, said) in table {
        let error = parse(&with(lines)).expect_err(said).to_string();
        assert!(error.starts_with(said), "{lines}\n{error}\n{said}");
    }
    let both = "[[from]]\npackages.run = []\n[from.debian]\nsuites = ['a']\ncomponents = ['b']\n\
                keyring = 'debian-archive'\nrun = []\nbuild = []";
    let error = parse(&with(both)).expect_err("packages twice").to_string();
    assert!(error.contains("the packages of a Debian suite are `debian.run` and `debian.build`"), "{error}");
}

#[test]
fn mistakes_are_pointed_at() {
    let table = [
        (
            "schema = 1",
            "schema = 2",
            "x.toml:1:10: this pybuild reads manifests of schema 1",
        ),
        (
            "suites =",
            "suits =",
            "x.toml:7:1: unknown field `suits`, expected one of `suites`, `components`, `keyring`, `run`, `build`; did you mean `suites`?",
        ),
        (
            "\"amd64\"",
            "\"amd46\"",
            "x.toml:4:18: unknown variant `amd46`, expected `amd64` or `arm64`; did you mean `amd64`?",
        ),
        (
            "2028-06-30",
            "07:32:00",
            "x.toml:3:15: the end of life is a date: 2028-06-30",
        ),
        (
            "[\"amd64\"]",
            "[]",
            "x.toml:4:17: a stack has at least one architecture",
        ),
        (
            "[\"bookworm\"]",
            "[]",
            "x.toml:7:10: [debian] names no suite",
        ),
        (
            "\"gcc\"",
            "\"gcc\", \"g++/..\"",
            "x.toml:11:17: `g++/..` is no name of a suite, component or package",
        ),
        (
            "\"bookworm\"",
            "\"../sid\"",
            "x.toml:7:11: `../sid` is no name of a suite, component or package",
        ),
        (
            "debian-archive",
            "debian-archiv",
            "x.toml:9:11: there is no keyring named `debian-archiv`; did you mean `debian-archive`?",
        ),
        ("debian-12", "Debian", "x.toml:2:8: "),
        ("[debian]", "[debian", "x.toml:6:8: "),
        (
            "run = [\"tzdata\"]\n",
            "",
            "x.toml:6:1: missing field `run`",
        ),
    ];
    for (from, to, said) in table {
        let error = parse(&TEXT.replacen(from, to, 1))
            .expect_err(said)
            .to_string();
        assert!(error.starts_with(said), "{error}");
    }
}
