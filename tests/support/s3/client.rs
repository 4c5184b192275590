//! What it takes to use the server: a bucket, the settings, and little patience.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use pybuild::net;
use pybuild::publish::{Inputs, Remote, Settings};

use super::{KEY, SECRET};

/// What a server that asks for time is given at most.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_millis(300);

/// A directory with the bucket `bucket`.
pub(crate) fn root() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("bucket")).expect("mkdir");
    dir
}

/// Little of it.
pub(crate) fn patience() -> net::Settings {
    let short = Duration::from_millis(2);
    net::Settings {
        tries: 4,
        backoff: short,
        backoff_max: short,
        retry_after_max: RETRY_AFTER_MAX,
        idle_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(5),
        proxy: false,
        ..net::Settings::default()
    }
}

/// The variables that name `s3://bucket/p/` on the server at this URL.
pub(crate) fn environment(url: &str) -> [(&str, &str); 6] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("S3_BUCKET", "bucket"),
        ("S3_PREFIX", "p"),
    ]
}

/// `s3://bucket/p/` as the environment gives it, with this besides.
pub(crate) fn remote(url: &str, env: &[(&str, &str)]) -> Remote {
    let mut all: BTreeMap<String, _> = BTreeMap::new();
    for (name, value) in environment(url).iter().chain(env) {
        all.insert((*name).to_owned(), (*value).into());
    }
    let inputs = Inputs {
        env: all,
        ..Inputs::default()
    };
    let settings = Settings::resolve(&inputs)
        .expect("sound")
        .with_patience(patience());
    Remote::open(settings.target(), &settings).expect("nothing is done yet")
}
