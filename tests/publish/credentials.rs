//! Credentials from where they come from, used against a server that checks signatures.

use std::fs;

use pybuild::publish::{Inputs, Mode, PublishError, Put, Remote, Settings};

use crate::kit::{interrupt, put};
use crate::server::{AWS, Fault, KEY, SECRET, Server, patience, refusal, root};

/// A bucket with these variables alone and this profile.
fn remote(server: &Server, env: &[(&str, &str)], aws_config: &str) -> Remote {
    let url = server.url();
    let given = [("AWS_ENDPOINT_URL_S3", &*url), ("S3_BUCKET", "bucket")];
    let all = given.iter().chain(env);
    let inputs = Inputs {
        env: all.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
        aws_config: Some(aws_config.to_owned()),
        ..Inputs::default()
    };
    let settings = Settings::resolve(&inputs)
        .expect("sound")
        .with_patience(patience());
    Remote::open(settings.target(), &settings).expect("nothing is done yet")
}

fn json(token: &str, expiration: &str) -> String {
    format!(
        "{{\"Version\": 1, \"AccessKeyId\": \"{KEY}\", \"SecretAccessKey\": \"{SECRET}\", \"{token}\": \"canary\", \"Expiration\": \"{expiration}\"}}"
    )
}

const LATER: &str = "2200-01-01T00:00:00Z";

#[test]
fn a_process_prints_them_and_is_asked_again_when_they_have_expired() {
    let root = root();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = json("SessionToken", LATER);
    fs::write(dir.path().join("json"), text).expect("write");
    let path = dir.path().display();
    let process = format!("[default]\ncredential_process = echo >> '{path}/runs'; cat {path}/json");
    let runs = || fs::read(dir.path().join("runs")).map_or(0, |runs| runs.len());
    let expired = std::sync::atomic::AtomicBool::new(true);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        let old =
            seen.is("PUT", "/bucket/b") && expired.swap(false, std::sync::atomic::Ordering::SeqCst);
        if old {
            refusal(400, "ExpiredToken")
        } else {
            Fault::None
        }
    });
    let remote = remote(&server, &[], &process);
    for key in ["a", "a2"] {
        assert_eq!(
            put(&remote, key, b"x", Mode::Overwrite).expect("put"),
            Put::Written
        );
    }
    assert_eq!(runs(), 1);
    put(&remote, "b", b"x", Mode::Overwrite).expect("put with new ones");
    assert_eq!(runs(), 2);
    let token = server.seen()[0]
        .headers
        .get("x-amz-security-token")
        .cloned();
    assert_eq!(token.as_deref(), Some("canary"));
}

#[test]
fn a_process_that_fails_is_told_without_what_it_prints() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let past = json("SessionToken", "2000-01-01T00:00:00Z");
    for (command, words) in [
        ("echo canary; exit 3", "exit status: 3"),
        ("echo canary", "not the JSON"),
        (
            "echo '{\"AccessKeyId\": \"canary\", \"SecretAccessKey\": [\"canary\"]}'",
            "not the JSON",
        ),
        (
            "echo '{\"AccessKeyId\": \"canary x\", \"SecretAccessKey\": \"canary\"}'",
            "spaces",
        ),
        (&format!("echo '{past}'"), "has expired"),
    ] {
        let process = format!("[default]\ncredential_process = {command}");
        let remote = remote(&server, &[], &process);
        let error = put(&remote, "a", b"x", Mode::Create).expect_err(command);
        assert!(
            matches!(error, PublishError::CredentialSource { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn a_process_that_does_not_end_is_interrupted() {
    let root = root();
    let server = Server::start(root.path(), AWS);
    let remote = remote(
        &server,
        &[],
        "[default]\ncredential_process = exec sleep 3600",
    );
    let interrupt = interrupt();
    interrupt.raise(nix::sys::signal::Signal::SIGINT);
    let error = remote.list("", &interrupt).expect_err("interrupted");
    assert!(matches!(error, PublishError::Interrupted(_)), "{error:?}");
}

#[test]
fn a_containers_agent_hands_them_out() {
    let root = root();
    let server = Server::faulty(root.path(), AWS, |_, seen| {
        if !seen.is("GET", "/agent") {
            return Fault::None;
        }
        match seen.headers.get("authorization").map(String::as_str) {
            Some("canary-token") => Fault::Answer(200, Vec::new(), json("Token", LATER)),
            _ => Fault::Answer(403, Vec::new(), String::new()),
        }
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("token");
    fs::write(&file, "canary-token\n").expect("write");
    let url = format!("{}/agent", server.url());
    let url = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url);
    let file = file.to_str().expect("UTF-8");
    for token in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-token"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file),
    ] {
        let remote = remote(&server, &[url, token], "");
        put(&remote, "a", b"x", Mode::Create).expect("put");
    }
    let refused = [
        url,
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "canary-that-is-wrong"),
    ];
    let error = put(&remote(&server, &refused, ""), "b", b"x", Mode::Create);
    let error = error.expect_err("the agent does not give any");
    assert!(
        matches!(error, PublishError::CredentialSource { .. }),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[test]
fn an_instance_hands_them_out() {
    let root = root();
    let server = Server::faulty(root.path(), AWS, |_, seen| {
        let json = json("Token", LATER);
        let answer = |text: &str| Fault::Answer(200, Vec::new(), text.to_owned());
        let role = "/latest/meta-data/iam/security-credentials/";
        match (seen.method.as_str(), seen.uri.as_str()) {
            ("PUT", "/latest/api/token") => answer("token"),
            ("GET", uri) if uri == role => answer("role"),
            ("GET", uri) if uri.starts_with(role) => answer(&json),
            _ => Fault::None,
        }
    });
    let url = server.url();
    let there = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*url);
    put(&remote(&server, &[there], ""), "a", b"x", Mode::Create).expect("put");
    let nowhere = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    let error = put(&remote(&server, &[nowhere], ""), "a", b"x", Mode::Create);
    let error = error.expect_err("there are none");
    assert!(
        matches!(error, PublishError::NoCredentials { .. }),
        "{error:?}"
    );
}
