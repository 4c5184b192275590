//! `pybuild formula import`: what simple scripts for bob-builder become, and that it can be built.

use std::fs;
use std::io::Write as _;

use crate::kit::{Case, STACK, files_below};
use crate::scripts::{members, tree};
use crate::server::{Reply, Server};
use crate::tarball::tar;

#[test]
fn simple_scripts_become_formulae_and_of_others_the_line_is_told() {
    let Some(case) = Case::new() else { return };
    let makefile = "install:\n\tmkdir -p $(PREFIX)/bin\n\tcp tool $(PREFIX)/bin/tool\n";
    let bytes = tar()
        .dir("tool-1.0/")
        .file("tool-1.0/Makefile", makefile)
        .file("tool-1.0/tool", "a tool\n")
        .end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&bytes).expect("written");
    let source = gzip.finish().expect("written");
    let server = Server::start(move |_, request| match request.path.as_str() {
        "/tool-1.0.tar.gz" => Reply::ok(&source),
        _ => Reply::status(404),
    });
    let script = |name: &str| {
        format!(
            "#!/usr/bin/env bash\n# Build Path: /app/tool/\n\ncurl -L {} | tar xz\ncd {name}\nmake install PREFIX=$1\n",
            server.url(&format!("/{name}.tar.gz"))
        )
    };
    let (good, gone) = (script("tool-1.0"), script("gone-1.0"));
    let odd = good.replace("make install", "make install || exit 1 #");
    let dir = tree(
        &case,
        &[
            ("libraries/tool", &good),
            ("libraries/odd", &odd),
            ("libraries/gone", &gone),
        ],
    );
    let import = || {
        let run = case.pybuild().args(["formula", "import"]).args([&dir]);
        run.args(["--output"]).args([case.at("out")])
    };
    let ran = import().run();
    assert_eq!(ran.code, 75, "{}\n{}", ran.err, ran.out);
    for said in [
        "libraries/odd, line 6: `||` is not followed",
        "libraries/gone: ",
        "runtimes/python-3.8.8: ",
        "1 of 5 scripts became formulae",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    assert_eq!(
        files_below(&case.at("out")),
        ["tool.toml", "tool.versions.toml"]
    );
    let ran = case
        .pybuild()
        .args(["sandbox", STACK, "tool-1.0", "--formulae"])
        .args([case.at("out").as_path(), "--output".as_ref(), &case.dist()])
        .run()
        .succeeds();
    assert!(ran.out.contains("tool-1.0 for debian-12\n"), "{}", ran.out);
    let tarball = case.dist().join(STACK).join("libraries/tool-1.0.tar.gz");
    assert_eq!(members(&tarball)["bin/tool"].2, "a tool\n");
    // What is there is nobody's to replace.
    let before = fs::read(case.at("out/tool.toml")).expect("there");
    import()
        .run()
        .fails(2, &["tool.toml is there already, and is not replaced"]);
    assert!(fs::read(case.at("out/tool.toml")).expect("there") == before);
    case.is_clean();
}
