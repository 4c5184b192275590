//! The program with credentials from where they come from, whoever it is started as.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::unistd::geteuid;

use crate::bucket::root;
use crate::deploy::{deploy, three};
use crate::farm;
use crate::formula::Formula;
use crate::kit::{Case, STACK, files_below};
use crate::program::Pybuild;
use crate::s3::{AWS, Fault, KEY, SECRET, Server, Store};

/// What names the bucket, but no credentials.
fn at(run: Pybuild, url: &str) -> Pybuild {
    run.env("AWS_ENDPOINT_URL", url)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("S3_BUCKET", "bucket")
        .env("S3_PREFIX", "p")
        .env("NO_PROXY", "127.0.0.1")
}

/// Credentials that expire so many seconds from now.
fn json(seconds: i64) -> String {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    format!(
        r#"{{"Version": 1, "AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}", "Expiration": "{at}"}}"#
    )
}

/// A place that only whoever runs this may look into.
fn private() -> tempfile::TempDir {
    let dir = crate::kit::directory();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("chmod");
    dir
}

/// A profile whose program prints credentials that are as good as expired, says who runs it, and
/// with which variable.
fn profile(dir: &Path) -> std::path::PathBuf {
    fs::write(dir.join("json"), json(60)).expect("written");
    let script = format!(
        "cd {} && id -u >>who && echo \"$SOME_TOKEN\" >>with && cat json\n",
        dir.display()
    );
    fs::write(dir.join("print.sh"), script).expect("written");
    let config = dir.join("config");
    let text = format!(
        "[profile p]\ncredential_process = sh {}/print.sh\n",
        dir.display()
    );
    fs::write(&config, text).expect("written");
    config
}

#[test]
fn a_credential_process_is_run_by_whoever_started_pybuild() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), private());
    let server = Server::start(root.path(), AWS);
    let config = profile(dir.path());
    let who = geteuid().to_string();
    let secretly = |run: Pybuild| {
        at(run, &server.url())
            .env("AWS_PROFILE", "p")
            .env("AWS_CONFIG_FILE", &config)
            .env("SOME_TOKEN", "seen")
    };
    let runs = || {
        let who = fs::read_to_string(dir.path().join("who")).unwrap_or_default();
        let with = fs::read_to_string(dir.path().join("with")).unwrap_or_default();
        assert!(with.lines().all(|line| line == "seen"), "{with}");
        who.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // To a bucket: again and again, since they are always about to expire.
    secretly(deploy(&Formula::hello(), &case)).run().succeeds();
    assert_eq!(files_below(&root.path().join("bucket/p")), three());
    let first = runs();
    assert!(
        first.len() > 5 && first.iter().all(|run| *run == who),
        "{first:?}"
    );
    // Only to look.
    let dry = secretly(deploy(&Formula::hello(), &case)).args(["--dry-run"]);
    let dry = dry.run().succeeds();
    assert!(dry.out.contains("this very build is there"), "{}", dry.out);
    let verify = case.pybuild().args(["verify", "--formulae"]);
    let verify = verify.args([case.at("formulae")]).cwd(&case.at(""));
    secretly(verify).run().succeeds();
    let gc = case.pybuild().args(["gc"]);
    secretly(gc).run().succeeds();
    let second = runs();
    assert!(second.len() > first.len() + 2, "{second:?}");
    assert!(second.iter().all(|run| *run == who), "{second:?}");
    case.is_clean();
}

#[test]
fn a_credential_process_serves_the_upstream_of_a_directory_too() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), private());
    let server = Server::start(root.path(), AWS);
    let config = profile(dir.path());
    let secretly = |run: Pybuild| {
        at(run, &server.url())
            .env("AWS_PROFILE", "p")
            .env("AWS_CONFIG_FILE", &config)
    };
    let base = farm::command(&case, "deploy").args([STACK, "base-1.0"]);
    secretly(base).run().succeeds();
    let Some(other) = Case::new() else { return };
    let run = farm::command(&other, "deploy").args([STACK, "good-1.0"]);
    let run = run
        .args(["--upstream", "s3://bucket/p", "--target"])
        .args([other.dist()]);
    let ran = secretly(run).run().succeeds();
    assert!(
        ran.err.contains("fetched base-1.0 from s3://bucket/p"),
        "{}",
        ran.err
    );
    other.is_clean();
}

#[test]
fn a_credential_process_that_fails_or_hangs_is_told_and_ended() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), private());
    let server = Server::start(root.path(), AWS);
    let config = dir.path().join("config");
    let run = |process: &str| {
        fs::write(
            &config,
            format!("[default]\ncredential_process = {process}\n"),
        )
        .expect("written");
        at(deploy(&Formula::hello(), &case), &server.url()).env("AWS_CONFIG_FILE", &config)
    };
    let said = [
        "no credentials from credential_process: exit status: 3",
        "hint: ",
    ];
    let ran = run("echo canary; exit 3").run().fails(2, &said);
    assert!(!ran.err.contains("canary"), "{}", ran.err);
    let mark = case.at("hangs");
    let hangs = run(&format!(
        "touch {}/hangs; exec sleep 86400",
        dir.path().display()
    ))
    .start();
    crate::kit::eventually("it is run", || dir.path().join("hangs").exists());
    hangs.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(hangs.wait().code, 130);
    assert!(!mark.exists());
    crate::kit::eventually("nothing of it is left", || {
        crate::kit::processes_of(&case.at("")).is_empty()
    });
    case.is_clean();
}

#[test]
fn tokens_that_nobody_else_may_read_are_read() {
    let Some(case) = Case::new() else { return };
    let (root, dir) = (root(), private());
    let token = dir.path().join("token");
    fs::write(&token, "canary-token\n").expect("written");
    fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("chmod");
    let server = Server::faulty(root.path(), AWS, |_, seen| {
        let answer = |text: String| Fault::Answer(200, Vec::new(), text);
        if seen.is("POST", "/sts") {
            let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
            return answer(format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                 <AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>{at}</Expiration></Credentials>\
                 </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            ));
        }
        let token = seen.headers.get("authorization").map(String::as_str);
        match (seen.is("GET", "/agent"), token) {
            (false, _) => Fault::None,
            (true, Some("canary-token")) => answer(json(3600)),
            (true, _) => Fault::Answer(403, Vec::new(), String::new()),
        }
    });
    let elsewhere = Server::start(root.path(), AWS);
    let run = || {
        // What is on this host no proxy is told of.
        let run = at(deploy(&Formula::hello(), &case), &server.url());
        run.env("http_proxy", elsewhere.url()).args(["--overwrite"])
    };
    let agent = format!("{}/agent", server.url());
    run()
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)
        .run()
        .succeeds();
    assert_eq!(server.count("GET", "/agent"), 1);
    // Not even if the proxy is for everything.
    run()
        .env("NO_PROXY", "")
        .env(
            "AWS_ENDPOINT_URL",
            format!(
                "http://localhost:{}",
                server.url().rsplit(':').next().expect("a port")
            ),
        )
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent)
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)
        .run();
    assert_eq!(server.count("GET", "/agent"), 2);
    assert_eq!(elsewhere.count("GET", "/agent"), 0);
    run()
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
        .env("AWS_ENDPOINT_URL_STS", format!("{}/sts", server.url()))
        .run()
        .succeeds();
    assert!(server.bodies("POST", "/sts")[0].ends_with("WebIdentityToken=canary-token"));
    case.is_clean();
}

/// Where the bucket is in the host's name, which no resolver knows here: a proxy is asked.
#[test]
fn a_bucket_can_be_addressed_by_its_host() {
    let Some(case) = Case::new() else { return };
    let root = root();
    let store = Store {
        domain: Some("s3.example.org"),
        ..AWS
    };
    let server = Server::start(root.path(), store);
    let run = || {
        at(deploy(&Formula::hello(), &case), "http://s3.example.org")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("http_proxy", server.url())
            .env("NO_PROXY", "")
    };
    for (style, host) in [
        ("virtual", "bucket.s3.example.org"),
        ("path", "s3.example.org"),
    ] {
        let before = server.seen().len();
        run().env("S3_ADDRESSING_STYLE", style).run().succeeds();
        assert_eq!(files_below(&root.path().join("bucket/p")), three());
        let seen = server.seen();
        let hosts = seen[before..].iter().map(|seen| &*seen.headers["host"]);
        // The formula's source is looked for through the proxy too.
        let mut hosts: Vec<_> = hosts.filter(|host| !host.starts_with("127.")).collect();
        hosts.dedup();
        assert_eq!(hosts, [host], "{style}");
    }
    case.is_clean();
}
