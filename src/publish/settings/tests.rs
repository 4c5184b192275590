//! What settings come to, input by input.

use std::path::Path;

use reqwest::Url;

use super::*;
use crate::publish::Secret;

const CANARY: &str = "canary";

#[derive(Default)]
struct Given<'a> {
    target: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
    env_file: &'a str,
    config: &'a str,
    aws_config: &'a str,
    aws_credentials: &'a str,
}

fn resolve(given: &Given<'_>) -> Result<Settings, SettingsError> {
    let env = given.env.iter();
    Settings::resolve(&Inputs {
        target: given.target.map(str::to_owned),
        upstream: None,
        env: env.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
        env_file: Some((PathBuf::from("env"), given.env_file.to_owned())),
        config: Some((PathBuf::from("/p/pybuild.toml"), given.config.to_owned())),
        aws_config: Some(given.aws_config.to_owned()),
        aws_credentials: Some(given.aws_credentials.to_owned()),
    })
}

fn resolved(given: &Given<'_>) -> Settings {
    resolve(given).expect("nothing is wrong with it")
}

fn keys(id: &str, token: Option<&str>) -> Credentials {
    Credentials::Static(Keys {
        id: Secret::new(id),
        secret: Secret::new(CANARY),
        token: token.map(Secret::new),
    })
}

#[test]
fn flags_win_then_the_environment_then_the_env_file_then_the_project() {
    let mut given = Given {
        target: Some("s3://flag"),
        env: &[("S3_BUCKET", "env"), ("S3_PREFIX", "heroku-20")],
        env_file: "S3_BUCKET=file\nS3_PREFIX=x\nUPSTREAM_S3_BUCKET=upstream\nUPSTREAM_S3_REGION=there",
        config: "target = 'out'",
        ..Given::default()
    };
    let target = |given: &Given<'_>| resolved(given).target().to_string();
    assert_eq!(target(&given), "s3://flag/");
    given.target = None;
    assert_eq!(target(&given), "s3://env/heroku-20/");
    given.env = &[("S3_BUCKET", "")];
    assert_eq!(target(&given), "s3://file/x/");
    let settings = resolved(&given);
    let upstream = settings.upstream().expect("the env-file says it");
    assert_eq!(settings.s3(settings.whose(upstream)).region, "there");
    assert_eq!(
        settings.s3(settings.whose(settings.target())).region,
        "us-east-1"
    );
    given.env_file = "";
    assert_eq!(target(&given), "/p/out");
    given.config = "";
    assert_eq!(target(&given), "dist");
    assert_eq!(resolved(&given).upstream(), None);
}

#[test]
fn regions_and_endpoints_are_found_where_awss_tools_find_them() {
    type Env = &'static [(&'static str, &'static str)];
    let config = "[s3]\nregion = 'c'";
    let aws = "[default]\nregion = d";
    let table: [(Env, &str, &str, &str); 6] = [
        (&[("S3_REGION", "a"), ("AWS_REGION", "b")], config, aws, "a"),
        (
            &[("AWS_REGION", "a"), ("AWS_DEFAULT_REGION", "b")],
            config,
            aws,
            "a",
        ),
        (&[("AWS_DEFAULT_REGION", "b")], config, aws, "b"),
        (&[], config, aws, "c"),
        (&[], "", aws, "d"),
        (&[], "", "", "us-east-1"),
    ];
    for (env, config, aws_config, region) in table {
        let given = Given {
            env,
            config,
            aws_config,
            ..Given::default()
        };
        assert_eq!(resolved(&given).s3.region, region);
    }
    let env = [
        ("AWS_ENDPOINT_URL", "http://one.example.org"),
        ("AWS_ENDPOINT_URL_S3", "http://two.example.org"),
    ];
    for (env, endpoint) in [(&env[..], env[1].1), (&env[..1], env[0].1)] {
        let given = Given {
            env,
            ..Given::default()
        };
        let found = resolved(&given).s3.endpoint.expect("given");
        assert_eq!(found.as_str(), format!("{endpoint}/"));
    }
}

#[test]
fn credentials_are_those_that_awss_tools_would_use() {
    let shared = "[default]\naws_access_key_id=shared\naws_secret_access_key=canary\n[p]\naws_access_key_id=p\naws_secret_access_key=canary\naws_session_token=t";
    let process = "[default]\ncredential_process=print canary\naws_access_key_id=config\naws_secret_access_key=canary";
    let web = |session: Option<&str>| Credentials::WebIdentity {
        token_file: PathBuf::from("/token"),
        role_arn: "arn".to_owned(),
        session_name: session.map(str::to_owned),
        endpoint: None,
    };
    let chosen = |env: &[(&str, &str)], aws_credentials: &str, aws_config: &str| {
        let given = Given {
            env,
            env_file: "AWS_SESSION_TOKEN=of another key",
            aws_config,
            aws_credentials,
            ..Given::default()
        };
        resolve(&given).map(|settings| settings.s3.credentials)
    };
    let of = |env: &[(&str, &str)], credentials: &str, config: &str| {
        chosen(env, credentials, config).expect("nothing is wrong with it")
    };
    let env = [
        ("AWS_ACCESS_KEY_ID", "env"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
    ];
    let token = [env[0], env[1], ("AWS_SESSION_TOKEN", "t")];
    let identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn"),
    ];
    assert_eq!(of(&env, shared, process), keys("env", None));
    assert_eq!(of(&token, shared, process), keys("env", Some("t")));
    assert_eq!(of(&identity, shared, process), web(None));
    assert_eq!(
        of(&[("AWS_PROFILE", "p")], shared, ""),
        keys("p", Some("t"))
    );
    let anonymous = [env[0], env[1], ("AWS_SKIP_SIGNATURE", "true")];
    assert_eq!(of(&anonymous, shared, process), Credentials::Anonymous);
    for half in [&env[..1], &env[1..], &identity[..1]] {
        let error = chosen(half, "", "").expect_err("half of a key");
        assert!(error.to_string().contains("is set but"), "{error}");
    }
}

#[test]
fn profiles_containers_and_instances_follow() {
    let of = |env: &[(&str, &str)], aws_credentials: &str, aws_config: &str| {
        let given = Given {
            env,
            aws_config,
            aws_credentials,
            ..Given::default()
        };
        resolved(&given).s3.credentials
    };
    let shared = "[default]\naws_access_key_id=shared\naws_secret_access_key=canary";
    let process = "[default]\ncredential_process=print canary\naws_access_key_id=config\naws_secret_access_key=canary";
    let command = Secret::new("print canary");
    assert_eq!(of(&[], shared, process), keys("shared", None));
    assert_eq!(of(&[], "", process), Credentials::Process { command });
    assert_eq!(
        of(&[], "", &shared.replace("shared", "config")),
        keys("config", None)
    );
    let relative = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/a")];
    let container = |url: &str, authorization| Credentials::Container {
        url: url.to_owned(),
        authorization,
    };
    assert_eq!(
        of(&relative, "", ""),
        container("http://169.254.170.2/a", None)
    );
    let full = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/a"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", CANARY),
    ];
    let token = Some(Authorization::Token(Secret::new(CANARY)));
    assert_eq!(of(&full, "", ""), container("http://127.0.0.1/a", token));
    let Credentials::Instance { endpoint } = of(&[], "", "") else {
        panic!("the instance's are the last that are tried");
    };
    assert_eq!(endpoint, "http://169.254.169.254");
    let off = of(&[("AWS_EC2_METADATA_DISABLED", "true")], "", "");
    assert!(matches!(off, Credentials::Missing(_)));
}

/// What is wrong with them: a variable, the env-file, `pybuild.toml`, AWS's files.
fn told(env: &[(&str, &str)], env_file: &str, config: &str, aws: [&str; 2], begin: &str) {
    let error = resolve(&Given {
        target: None,
        env,
        env_file,
        config,
        aws_config: aws[0],
        aws_credentials: aws[1],
    });
    let error = error.expect_err(begin);
    assert!(error.to_string().starts_with(begin), "{error}");
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
}

#[test]
fn mistakes_in_files_are_told_with_their_place_and_without_secrets() {
    let no = ["", ""];
    told(&[], "A=b\ncanary x", "", no, "env: line 2: ");
    let line = "/p/pybuild.toml:3: ";
    told(&[], "", "\n[s3]\nsecret = 'canary'", no, line);
    told(&[], "", "a = canary", no, "/p/pybuild.toml:1: ");
    let profile = "the profile `default`: ";
    told(
        &[],
        "",
        "",
        ["[default]\nsso_session = canary", ""],
        profile,
    );
    let half = "[default]\naws_secret_access_key = canary";
    told(&[], "", "", ["", half], profile);
    let near = "the profile `prox`: there is no such profile, but there is `prod`";
    let env = [("AWS_PROFILE", "prox")];
    told(&env, "", "", ["[profile prod]", ""], near);
}

#[test]
fn mistakes_in_variables_are_told_with_their_name_and_without_secrets() {
    for (name, value) in [
        ("S3_BUCKET", "x"),
        ("AWS_ENDPOINT_URL", "https://u:canary@example.org"),
        ("AWS_ENDPOINT_URL_S3", "canary"),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://example.org/canary",
        ),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "canary"),
        ("AWS_EC2_METADATA_DISABLED", "canary"),
        ("S3_ADDRESSING_STYLE", "canary"),
        ("S3_STORAGE_CLASS", "canary\nx"),
    ] {
        told(&[(name, value)], "", "", ["", ""], &format!("{name}: "));
    }
    let env = [("S3_BUCKET", "abc"), ("S3_PREFIX", "../x")];
    told(&env, "", "", ["", ""], "S3_PREFIX: ");
    let target = Some("https://u:canary@example.org");
    let error = resolve(&Given {
        target,
        ..Given::default()
    });
    let error = error.expect_err("a password").to_string();
    assert!(
        error.starts_with("--target: ") && !error.contains(CANARY),
        "{error}"
    );
}

#[test]
fn settings_show_no_secrets() {
    let env = [
        ("AWS_ACCESS_KEY_ID", CANARY),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
    ];
    let given = Given {
        env: &env,
        env_file: "AWS_SESSION_TOKEN=canary",
        ..Given::default()
    };
    let shown = format!("{:#?}", resolved(&given));
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn files_are_found_above_and_where_variables_say() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let below = dir.path().join("a/b");
    std::fs::create_dir_all(&below).expect("mkdir");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    write("pybuild.toml", "target = 'out'");
    let aws = write("aws", "[default]\nregion = found");
    let env_file = write("env", &format!("AWS_CONFIG_FILE={}\nHOME", aws.display()));
    let home = dir.path().as_os_str().to_owned();
    let env = std::collections::BTreeMap::from([("HOME".to_owned(), home)]);
    let gather = |env_file: &Path| Inputs::gather(None, None, Some(env_file), env.clone(), &below);
    let settings = Settings::resolve(&gather(&env_file).expect("read")).expect("sound");
    assert_eq!(
        *settings.target(),
        Target::Directory(dir.path().join("out"))
    );
    assert_eq!(settings.s3.region, "found");
    let error = gather(&dir.path().join("nowhere")).expect_err("it must be there");
    assert!(matches!(error, SettingsError::Fs(_)));
}

/// The environment, `pybuild.toml`, and what they come to: region, endpoint, key.
type Upstream<'a> = (
    &'a [(&'a str, &'a str)],
    &'a str,
    (&'a str, Option<&'a str>, &'a str),
);

#[test]
fn what_is_upstream_has_its_own_settings_where_they_are_said() {
    let files = "[staging]\naws_access_key_id = s\naws_secret_access_key = canary\n\
                 [production]\naws_access_key_id = p\naws_secret_access_key = canary\n";
    let aws_config = "[profile staging]\nregion = by-profile\nendpoint_url = http://by.profile\n";
    let both: (&str, Option<&str>, &str) = ("both", Some("http://both.org/"), "p");
    let table: [Upstream<'_>; 8] = [
        (&[], "", both),
        (&[("UPSTREAM_S3_REGION", "own")], "", ("own", both.1, "p")),
        // By whatever name, it is the region.
        (
            &[("UPSTREAM_AWS_DEFAULT_REGION", "own")],
            "",
            ("own", both.1, "p"),
        ),
        (
            &[("UPSTREAM_AWS_ENDPOINT_URL", "http://own.org")],
            "[s3]\nupstream-region = 'there'",
            ("there", Some("http://own.org/"), "p"),
        ),
        (
            &[("UPSTREAM_AWS_PROFILE", "staging")],
            "",
            ("by-profile", Some("http://by.profile/"), "s"),
        ),
        (
            &[("UPSTREAM_S3_REGION", "own")],
            "[s3]\nupstream-profile = 'staging'\nupstream-endpoint = 'http://toml.org'",
            ("own", Some("http://toml.org/"), "s"),
        ),
        (
            &[
                ("UPSTREAM_AWS_ACCESS_KEY_ID", "u"),
                ("UPSTREAM_AWS_SECRET_ACCESS_KEY", CANARY),
            ],
            "",
            ("both", both.1, "u"),
        ),
        (
            &[
                ("UPSTREAM_AWS_PROFILE", "production"),
                ("UPSTREAM_S3_REGION", ""),
            ],
            "",
            both,
        ),
    ];
    for (env, config, (region, endpoint, id)) in table {
        let shared = [
            ("UPSTREAM_S3_BUCKET", "upstream"),
            ("AWS_REGION", "both"),
            ("AWS_ENDPOINT_URL", "http://both.org"),
            ("AWS_PROFILE", "production"),
        ];
        let env: Vec<_> = shared.iter().chain(env).copied().collect();
        let settings = resolved(&Given {
            target: Some("s3://target"),
            env: &env,
            config,
            aws_config,
            aws_credentials: files,
            ..Given::default()
        });
        let upstream = settings.s3(Whose::Upstream);
        assert_eq!(
            upstream,
            settings.s3(settings.whose(settings.upstream().expect("it is said")))
        );
        assert_eq!(upstream.region, region, "{env:?}");
        let found = upstream.endpoint.as_ref().map(Url::as_str);
        assert_eq!(found, endpoint, "{env:?}");
        assert_eq!(upstream.credentials, keys(id, None), "{env:?}");
        // The target's are what they are without.
        let target = settings.s3(settings.whose(settings.target()));
        assert_eq!(
            (target.region.as_str(), &target.credentials),
            ("both", &keys("p", None))
        );
        assert_eq!(target.endpoint.as_ref().map(Url::as_str), both.1);
    }
    let half = resolve(&Given {
        env: &[
            ("UPSTREAM_S3_BUCKET", "upstream"),
            ("AWS_ACCESS_KEY_ID", "p"),
            ("AWS_SECRET_ACCESS_KEY", CANARY),
            ("UPSTREAM_AWS_ACCESS_KEY_ID", "u"),
        ],
        ..Given::default()
    });
    assert!(
        matches!(half, Err(SettingsError::HalfOfAKey { .. })),
        "{half:?}"
    );
}
