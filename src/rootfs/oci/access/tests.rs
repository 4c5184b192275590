//! Settings for registries, and what is gathered for them.

use std::fs;

use super::*;

fn inputs(mirrors: &str, plain: &str) -> Inputs {
    Inputs {
        mirrors: Some(mirrors.to_owned()),
        plain: Some(plain.to_owned()),
        ..Inputs::default()
    }
}

fn endpoints(mirrors: &str, plain: &str, image: &str) -> Vec<String> {
    let access = Access::resolve(&inputs(mirrors, plain)).expect("sound");
    let endpoints = access.endpoints(&image.parse().expect("an image"));
    let show = |at: Endpoint| format!("{} {}", at.origin, at.repository);
    endpoints.into_iter().map(show).collect()
}

#[test]
fn images_are_asked_for_at_mirrors_first() {
    let mirrors = "docker.io=m.example.org/hub/x,localhost:5000 ghcr.io=g.example.org";
    let hub = "https://registry-1.docker.io library/debian";
    assert_eq!(endpoints("", "", "debian"), [hub]);
    assert_eq!(
        endpoints(mirrors, "", "debian"),
        [
            "https://m.example.org hub/x/library/debian",
            "http://localhost:5000 library/debian",
            hub
        ]
    );
    assert_eq!(
        endpoints(mirrors, "g.example.org", "ghcr.io/o/i"),
        ["http://g.example.org o/i", "https://ghcr.io o/i"]
    );
}

#[test]
fn only_loopback_is_plain_by_itself() {
    let access =
        Access::resolve(&inputs("", "Plain.example.org:80, other.example.org")).expect("sound");
    for plain in [
        "localhost",
        "localhost:5000",
        "127.0.0.1",
        "127.1.2.3:1",
        "[::1]:5000",
        "[::1]",
        "plain.example.org:80",
        "other.example.org",
    ] {
        assert!(access.is_plain(plain), "{plain}");
    }
    for secure in [
        "docker.io",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "10.0.0.1:5000",
        "plain.example.org",
        "other.example.org:80",
        "[2001:db8::1]",
    ] {
        assert!(!access.is_plain(secure), "{secure}");
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    for mirrors in [
        "docker.io",
        "docker.io=mirror",
        "docker.io=https://m.example.org",
        "docker.io=m.example.org/",
        "docker.io=m.example.org/Hub",
        "do cker.io=m.example.org",
        "=m.example.org",
        "docker.io=m.example.org/../x",
    ] {
        assert!(Access::resolve(&inputs(mirrors, "")).is_err(), "{mirrors}");
    }
    for plain in ["http://example.org", "example.org/x", "*"] {
        assert!(Access::resolve(&inputs("", plain)).is_err(), "{plain}");
    }
    assert!(Access::resolve(&inputs("docker.io=", " , ")).is_ok());
}

#[test]
fn credentials_are_gathered_from_where_they_are() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, registry: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("mkdir");
        let text = format!(r#"{{"auths": {{"{registry}": {{"auth": "dTpw"}}}}}}"#);
        fs::write(path, text).expect("write");
    };
    write("home/.docker/config.json", "home.example");
    write("docker/config.json", "docker.example");
    write("run/containers/auth.json", "podman.example");
    write("named.json", "named.example");
    fs::write(dir.path().join("empty.json"), "\n").expect("write");
    let known = |pairs: &[(&str, &str)]| {
        let pair = |(name, path): &(&str, &str)| {
            ((*name).to_owned(), dir.path().join(path).into_os_string())
        };
        let inputs = Inputs::gather(pairs.iter().map(pair).collect()).expect("readable");
        let access = Access::resolve(&inputs).expect("sound");
        let interrupt = Interrupt::manual().expect("an eventfd");
        let has = |registry: &&&str| {
            let registry = format!("{registry}.example");
            let found = access.credential(&registry, "a", &interrupt);
            found.expect("no helper").is_some()
        };
        let names = ["home", "docker", "podman", "named"];
        names.iter().filter(has).copied().collect::<Vec<_>>()
    };
    assert_eq!(known(&[]), Vec::<&str>::new());
    assert_eq!(known(&[("HOME", "home")]), ["home"]);
    let both = [("HOME", "home"), ("DOCKER_CONFIG", "docker")];
    assert_eq!(known(&both), ["docker"]);
    let all = [
        both[0],
        ("XDG_RUNTIME_DIR", "run"),
        ("REGISTRY_AUTH_FILE", "named.json"),
    ];
    assert_eq!(known(&all), ["home", "podman", "named"]);
    let absent = [("HOME", "nowhere"), ("REGISTRY_AUTH_FILE", "empty.json")];
    assert_eq!(known(&absent), Vec::<&str>::new());
}

#[test]
fn inputs_travel_and_show_nothing() {
    let text = r#"{"auths": {"a.example": {"auth": "dTpjYW5hcnk="}}}"#;
    let mut inputs = Inputs {
        files: vec![("config.json".into(), text.to_owned())],
        ..Inputs::default()
    };
    let password = Credential::Password {
        user: "u".to_owned(),
        password: crate::model::Secret::new("canary"),
    };
    inputs
        .told
        .insert("h k".to_owned(), Some(Told(password.clone())));
    let json = serde_json::to_string(&inputs).expect("it is plain");
    let back: Inputs = serde_json::from_str(&json).expect("the same");
    assert_eq!(back.files, inputs.files);
    let told = back.told["h k"].clone().map(|told| told.0);
    assert_eq!(told, Some(password));
    let access = Access::resolve(&back).expect("sound");
    for shown in [format!("{back:?}"), format!("{access:?}")] {
        assert!(
            !shown.contains("canary") && !shown.contains("dTpj"),
            "{shown}"
        );
    }
}
