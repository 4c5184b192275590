//! Credentials from where they come from, used against a server that checks signatures.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        let old = seen.is("PUT", "/bucket/b") && expired.swap(false, Ordering::SeqCst);
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
fn a_containers_agent_is_asked_again_and_one_that_is_down_may_come_back() {
    let root = root();
    let asked = AtomicUsize::new(0);
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if !seen.is("GET", "/agent") {
            return Fault::None;
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => refusal(503, ""),
            1 => Fault::Reset,
            2 => Fault::Answer(200, Vec::new(), json("Token", LATER)),
            _ => refusal(500, ""),
        }
    });
    let url = format!("{}/agent", server.url());
    let env = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url)];
    put(&remote(&server, &env, ""), "a", b"x", Mode::Create).expect("put");
    let error = put(&remote(&server, &env, ""), "b", b"x", Mode::Create);
    let error = error.expect_err("the agent is down");
    assert!(error.may_pass(), "{error:?}");
    assert!(error.to_string().contains("tried 4 times"), "{error}");
}

/// What STS answers, with credentials until then.
fn assumed(expiration: &str) -> Fault {
    let text = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>me</SubjectFromWebIdentityToken>\
         <Credentials><SessionToken>canary</SessionToken><SecretAccessKey>{SECRET}</SecretAccessKey>\
         <Expiration>{expiration}</Expiration><AccessKeyId>{KEY}</AccessKeyId></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    Fault::Answer(200, Vec::new(), text)
}

#[test]
fn the_token_of_a_web_identity_is_exchanged_for_them() {
    let root = root();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("token");
    let file_name = file.to_str().expect("UTF-8");
    fs::write(&file, "canary/one+\n").expect("write");
    let asked = AtomicUsize::new(0);
    let changed = file.clone();
    let server = Server::faulty(root.path(), AWS, move |_, seen| {
        if !seen.is("POST", "/sts") {
            return Fault::None;
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => refusal(500, ""),
            1 => {
                fs::write(&changed, "canary-two").expect("write");
                assumed(&soon())
            }
            2 => assumed(LATER),
            3 => Fault::Answer(
                403,
                Vec::new(),
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary</Message></Error></ErrorResponse>".to_owned(),
            ),
            4 => Fault::Answer(200, Vec::new(), "<canary>".to_owned()),
            5 => assumed("2000-01-01T00:00:00Z"),
            _ => Fault::Reset,
        }
    });
    let url = format!("{}/sts", server.url());
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file_name),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"),
        ("AWS_ROLE_SESSION_NAME", "session"),
        ("AWS_ENDPOINT_URL_STS", &*url),
    ];
    // What is soon to expire is used once, and then they are asked for again.
    let long = remote(&server, &env, "");
    for key in ["a", "b", "c"] {
        put(&long, key, b"x", Mode::Overwrite).expect("put");
    }
    let bodies = server.bodies("POST", "/sts");
    let form = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr\
                &RoleSessionName=session&WebIdentityToken=";
    let wanted = ["canary%2Fone%2B", "canary%2Fone%2B", "canary-two"];
    assert_eq!(bodies, wanted.map(|token| format!("{form}{token}")));
    for (told, passes) in [
        ("it answered 403 AccessDenied", false),
        ("not the document", false),
        ("has expired", false),
        ("tried 4 times", true),
    ] {
        let error = put(&remote(&server, &env, ""), "d", b"x", Mode::Create).expect_err(told);
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.may_pass(), passes, "{error:?}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    fs::remove_file(&file).expect("removed");
    let error = put(&remote(&server, &env, ""), "d", b"x", Mode::Create).expect_err("no token");
    assert!(error.to_string().contains(file_name), "{error}");
}

/// So soon that it is as good as now.
fn soon() -> String {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    soon.to_string()
}

#[test]
fn those_that_are_about_to_expire_are_asked_for_again() {
    let root = root();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().display();
    fs::write(dir.path().join("json"), json("SessionToken", &soon())).expect("write");
    let process = format!("[default]\ncredential_process = echo >> '{path}/runs'; cat {path}/json");
    let server = Server::start(root.path(), AWS);
    let remote = remote(&server, &[], &process);
    put(&remote, "a", b"x", Mode::Overwrite).expect("put");
    put(&remote, "b", b"x", Mode::Overwrite).expect("put");
    let runs = fs::read(dir.path().join("runs")).expect("it has run");
    assert_eq!(runs.len(), server.seen().len(), "for each request");
}

#[test]
fn an_instance_hands_them_out() {
    let root = root();
    let server = Server::faulty(root.path(), AWS, |_, seen| {
        let json = json("Token", LATER);
        let answer = |text: &str| Fault::Answer(200, Vec::new(), text.to_owned());
        let role = "/latest/meta-data/iam/security-credentials/";
        // The second version of the service: nothing without a token.
        let header = |name: &str| seen.headers.get(name).map(String::as_str);
        let allowed = match seen.method.as_str() {
            "PUT" => header("x-aws-ec2-metadata-token-ttl-seconds").is_some(),
            _ => header("x-aws-ec2-metadata-token") == Some("token"),
        };
        if seen.uri.starts_with("/latest/") && !allowed {
            return refusal(401, "");
        }
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
