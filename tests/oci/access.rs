//! Who asks: tokens, passwords, who is told them and who is not, and mirrors.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pybuild::rootfs::oci::{AuthError, Inputs, OciError, Refusal};

use crate::kit::{Content, Here, image, refusal, two_layers};
use crate::server::{Reply, Request, Server};

const PASSWORD: &str = "canary-password";
const IDENTITY: &str = "canary-identity";
const TOKEN: &str = "canary-token";

/// Who asks with this `config.json`, and these mirrors.
fn with(config: Option<String>, mirrors: Option<String>) -> Here {
    Here::with(&Inputs {
        files: config
            .map(|text| (PathBuf::from("config.json"), text))
            .into_iter()
            .collect(),
        mirrors,
        ..Inputs::default()
    })
}

fn password(server: &str) -> String {
    let auth = STANDARD.encode(format!("user:{PASSWORD}"));
    format!(r#"{{"auths": {{"{server}": {{"auth": "{auth}"}}}}}}"#)
}

fn identity(server: &str) -> String {
    format!(r#"{{"auths": {{"{server}": {{"identitytoken": "{IDENTITY}"}}}}}}"#)
}

fn host(server: &Server) -> String {
    server.url("").trim_start_matches("http://").to_owned()
}

fn sound() -> Content {
    let mut content = Content::default();
    let wanted = content.image(&two_layers());
    content.tag("v1", &wanted);
    content
}

/// A token server that gives `TOKEN-n` to whoever `lets_in` says.
fn tokens(lets_in: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |n, request| {
        if lets_in(request) {
            Reply::ok(format!(r#"{{"token": "{TOKEN}-{n}"}}"#).as_bytes())
        } else {
            Reply::ok(format!("you said {:?}", request.header("authorization")).as_bytes()).but(401)
        }
    })
}

/// A registry that takes those tokens that `takes` says.
fn registry(
    content: Content,
    realm: &str,
    takes: impl Fn(&str, &Request) -> bool + Send + Sync + 'static,
) -> Server {
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:team/image:pull,push repository:other:pull\""
    );
    Server::start(move |_, request| {
        let token = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| takes(token, request)) {
            content.answer(request)
        } else {
            let echo = format!(r#"{{"errors":[{{"message":"not {token:?}"}}]}}"#);
            Reply::ok(echo.as_bytes()).but(401).header(&challenge)
        }
    })
}

/// Nothing that was told is in any of these texts.
fn is_kept(texts: &[String]) {
    for text in texts {
        for secret in [
            PASSWORD,
            IDENTITY,
            TOKEN,
            &STANDARD.encode(format!("user:{PASSWORD}")),
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn anyone_gets_a_token_for_what_anyone_may_have() {
    let auth = tokens(|request| request.header("authorization").is_none());
    let server = registry(sound(), &auth.url("/token?a=b"), |token, _| {
        token.starts_with(TOKEN)
    });
    let here = with(None, None);
    here.pull(&image(&server), &two_layers());
    // One token for the repository, for all of its documents and layers, and only to pull.
    let asked = auth.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].path,
        "/token?a=b&service=reg&scope=repository%3Ateam%2Fimage%3Apull"
    );
    assert_eq!(server.requests().len(), 1 + 1 + 1 + 2);
}

#[test]
fn passwords_and_identities_go_to_the_token_server_alone() {
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}")));
    let auth = tokens(move |request| {
        if request.method == "GET" {
            return request.header("authorization") == Some(&basic);
        }
        let form = [
            "grant_type=refresh_token",
            "client_id=pybuild",
            "service=reg",
            "scope=repository%3Ateam%2Fimage%3Apull",
            &format!("refresh_token={IDENTITY}"),
        ];
        request.body == form.join("&") && request.path == "/token"
    });
    for config in [password, identity] {
        let server = registry(sound(), &auth.url("/token"), |token, _| {
            token.starts_with(TOKEN)
        });
        let here = with(Some(config(&host(&server))), None);
        here.pull(&image(&server), &two_layers());
        let told: Vec<String> = server
            .requests()
            .iter()
            .map(|request| format!("{request:?}"))
            .collect();
        assert!(
            !told
                .iter()
                .any(|text| text.contains(PASSWORD) || text.contains(IDENTITY))
        );
    }
}

#[test]
fn a_registry_may_take_passwords_itself() {
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}")));
    let content = sound();
    let server = Server::start(move |_, request| match request.header("authorization") {
        Some(value) if value == basic => content.answer(request),
        _ => Reply::status(401).header("WWW-Authenticate: Basic realm=\"here\""),
    });
    with(Some(password(&host(&server))), None).pull(&image(&server), &two_layers());
    // Who has none, or another's, is told.
    for config in [None, Some(password("other.example.org"))] {
        let error = with(config, None)
            .resolve(&image(&server))
            .expect_err("refused");
        let missing = matches!(refusal(&error), Refusal::Auth(AuthError::Missing { .. }));
        assert!(missing && error.is_denied(), "{error}");
    }
    let other =
        password(&host(&server)).replace(&STANDARD.encode(format!("user:{PASSWORD}")), "dTpw");
    let error = with(Some(other), None)
        .resolve(&image(&server))
        .expect_err("refused");
    let Refusal::Auth(AuthError::Refused { path }) = refusal(&error) else {
        panic!("{error}");
    };
    assert_eq!(path, &PathBuf::from("config.json"));
}

/// Tokens run out: in the middle of the documents, and in the middle of the layers.
#[test]
fn a_token_that_runs_out_is_renewed() {
    let auth = tokens(|_| true);
    let uses = Arc::new(AtomicUsize::new(0));
    let server = registry(sound(), &auth.url("/token"), {
        let uses = Arc::clone(&uses);
        // Each is good for two requests.
        move |token, _| {
            let n = uses.load(Ordering::SeqCst);
            let good = token == format!("{TOKEN}-{}", n / 2);
            if good {
                uses.fetch_add(1, Ordering::SeqCst);
            }
            good
        }
    });
    with(None, None).pull(&image(&server), &two_layers());
    assert_eq!(uses.load(Ordering::SeqCst), 4);
    assert_eq!(auth.requests().len(), 2);
}

#[test]
fn a_token_that_is_never_good_is_asked_for_once_more_and_no_more() {
    let auth = tokens(|_| true);
    let server = registry(sound(), &auth.url("/token"), |_, _| false);
    let here = with(None, None);
    let error = here.resolve(&image(&server)).expect_err("refused");
    assert!(error.is_denied(), "{error}");
    assert_eq!((auth.requests().len(), server.requests().len()), (1, 2));
    is_kept(&[error.to_string(), format!("{error:?}")]);
}

/// For each refusal on the way: what is told, and that nothing secret is.
#[test]
fn secrets_are_in_no_error() {
    let refusing = tokens(|_| false);
    let broken = Server::start(|_, request| {
        Reply::ok(format!("{:?}", request.header("authorization")).as_bytes()).but(500)
    });
    let silly = Server::start(|_, request| {
        let said = request
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        Reply::ok(format!(r#"{{"token": ["{said}", "{TOKEN}"]}}"#).as_bytes())
    });
    let posted = tokens(|_| true);
    let away = format!("Location: {}", posted.url("/"));
    let redirecting = Server::start(move |_, _| Reply::status(307).header(&away));
    let closed = format!("http://127.0.0.1:{}/", crate::server::closed_port());
    let table = [
        (
            refusing.url("/token"),
            "refuses the credentials that config.json has",
        ),
        (broken.url("/token"), "answered 500"),
        (silly.url("/token"), "what it gives is not the JSON"),
        (closed, "cannot connect"),
        (
            "http://auth.example.org/token".to_owned(),
            "not spoken to over HTTPS",
        ),
        ("nonsense".to_owned(), "no URL that is one"),
        (redirecting.url("/token"), ""),
    ];
    for (realm, words) in table {
        for config in [password, identity] {
            let server = registry(sound(), &realm, |_, _| false);
            let here = with(Some(config(&host(&server))), None);
            let error = here.resolve(&image(&server)).expect_err("refused");
            assert!(error.to_string().contains(words), "{words}: {error}");
            is_kept(&[error.to_string(), format!("{error:?}")]);
        }
    }
    let caught = posted.requests();
    assert!(!format!("{caught:?}").contains(IDENTITY) && !format!("{caught:?}").contains(PASSWORD));
}

/// A registry that repeats what it was told.
#[test]
fn what_a_registry_repeats_is_not_told() {
    let auth = tokens(|_| true);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{}\"", auth.url("/"));
    let basic = Server::start(|_, request| match request.header("authorization") {
        None => Reply::status(401).header("WWW-Authenticate: Basic"),
        Some(said) => {
            let pair = STANDARD.decode(&said["Basic ".len()..]).expect("base64");
            let pair = String::from_utf8(pair).expect("text");
            let body = format!(r#"{{"errors":[{{"message":"not {pair}"}}]}}"#);
            Reply::ok(body.as_bytes()).but(403)
        }
    });
    let bearer = Server::start(move |_, request| match request.header("authorization") {
        None => Reply::status(401).header(&challenge),
        Some(said) => {
            Reply::ok(format!(r#"{{"errors":[{{"message":"not {said}"}}]}}"#).as_bytes()).but(403)
        }
    });
    for server in [basic, bearer] {
        let here = with(Some(password(&host(&server))), None);
        let error = here.resolve(&image(&server)).expect_err("refused");
        assert!(
            error.is_denied() && error.to_string().contains("403"),
            "{error}"
        );
        is_kept(&[error.to_string(), format!("{error:?}")]);
    }
}

/// Layers that are elsewhere are fetched without what the registry was told.
#[test]
fn redirects_lose_what_authorises() {
    let content = sound();
    let elsewhere = Server::start({
        let content = content.clone();
        move |_, request| content.answer(request)
    });
    let auth = tokens(|_| true);
    let challenge = format!("WWW-Authenticate: Bearer realm=\"{}\"", auth.url("/"));
    let server = Server::start({
        let to = elsewhere.url("");
        move |_, request| match request.header("authorization") {
            None => Reply::status(401).header(&challenge),
            Some(_) if request.path.contains("/blobs/") => {
                Reply::status(307).header(&format!("Location: {to}{}", request.path))
            }
            Some(_) => content.answer(request),
        }
    });
    with(Some(password(&host(&server))), None).pull(&image(&server), &two_layers());
    let told = elsewhere.requests();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn mirrors_come_first_and_the_registry_is_there_for_what_they_lack() {
    let layers = two_layers();
    let content = sound();
    let mut half = content.clone();
    // It has the image, but not all layers; they lie below a prefix of its own.
    let large = half.blobs.iter().find(|(_, bytes)| bytes.len() > 1 << 20);
    let large = large.map(|(digest, _)| digest.clone()).expect("there");
    half.blobs.remove(&large);
    let page = Server::start(|_, _| Reply::ok(b"<html>Log in here</html>"));
    let mirror = Server::start(move |_, request| half.answer(request));
    let liar = Server::start({
        let content = content.clone();
        move |_, request| match content.answer(request) {
            _ if request.path.contains("/blobs/") => Reply::ok(&[0; 100]).chunked(),
            sound => sound,
        }
    });
    let closed = crate::server::closed_port();
    let server = Server::start(move |_, request| content.answer(request));
    let mirrors = format!(
        "{}=127.0.0.1:{closed},{},{}/a/prefix,{}",
        host(&server),
        host(&page),
        host(&mirror),
        host(&liar)
    );
    let here = with(None, Some(mirrors));
    here.pull(&image(&server), &layers);
    let asked: Vec<String> = mirror
        .requests()
        .iter()
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(asked[0], "/v2/a/prefix/team/image/manifests/v1");
    let own: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.path.clone())
        .collect();
    // Twice: what the liar gave was gone on from once, and did not fit.
    assert_eq!(own, vec![format!("/v2/team/image/blobs/{large}"); 2]);
}

#[test]
fn each_that_was_asked_is_told() {
    let gone = Server::start(|_, _| Reply::status(404));
    let server = Server::start(|_, _| Reply::status(404));
    let here = with(None, Some(format!("{}={}", host(&server), host(&gone))));
    let error = here.resolve(&image(&server)).expect_err("nowhere");
    let OciError::Unavailable { tried, .. } = &error else {
        panic!("{error}");
    };
    let urls: Vec<&str> = tried.0.iter().map(|tried| tried.url.as_str()).collect();
    assert_eq!(
        urls,
        [
            gone.url("/v2/team/image/manifests/v1"),
            server.url("/v2/team/image/manifests/v1")
        ]
    );
    assert!(error.is_not_found());
}

/// The helper of one registry is asked by whoever may, and what it says is handed over.
#[test]
fn helpers_answers_travel() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let helper = dir.path().join("docker-credential-test");
    let script =
        format!("#!/bin/sh\nprintf '{{\"Username\":\"user\",\"Secret\":\"{PASSWORD}\"}}'\n");
    // Another process writes it, or it could be busy (ETXTBSY).
    let made = std::process::Command::new("/bin/sh")
        .args([
            "-c",
            "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"",
            "sh",
            &script,
        ])
        .arg(&helper)
        .status();
    assert!(made.expect("a shell").success());
    let basic = format!("Basic {}", STANDARD.encode(format!("user:{PASSWORD}")));
    let content = sound();
    let server = Server::start(move |_, request| match request.header("authorization") {
        Some(value) if value == basic => content.answer(request),
        _ => Reply::status(401).header("WWW-Authenticate: Basic"),
    });
    let config = format!(r#"{{"credHelpers": {{"{}": "test"}}}}"#, host(&server));
    let inputs = Inputs {
        files: vec![("config.json".into(), config)],
        env: [("PATH".to_owned(), dir.path().into())].into(),
        ..Inputs::default()
    };
    Here::with(&inputs).pull(&image(&server), &two_layers());
    let here = Here::new();
    let reference = image(&server).parse().expect("a reference");
    let settled = inputs
        .settled(&[reference], &here.interrupt)
        .expect("asked");
    std::fs::remove_file(&helper).expect("there");
    let json = serde_json::to_string(&settled).expect("plain");
    let handed: Inputs = serde_json::from_str(&json).expect("the same");
    assert!(handed.env.is_empty());
    is_kept(&[format!("{handed:?}")]);
    Here::with(&handed).pull(&image(&server), &two_layers());
}
