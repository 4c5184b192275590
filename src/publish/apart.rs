//! Whether two targets are two: what is copied from one to the other must not be what it is copied
//! to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::target::Target;

/// Whether the upstream target and the target are one, or one is inside the other.
pub fn overlap(settings: &Settings) -> bool {
    let Some(from) = settings.upstream() else {
        return false;
    };
    match (from, settings.target()) {
        (
            Target::S3 { bucket, prefix },
            Target::S3 {
                bucket: other,
                prefix: others,
            },
        ) => {
            let nested = prefix.starts_with(others.as_str()) || others.starts_with(prefix.as_str());
            bucket == other && nested && settings.one_store()
        }
        (Target::Directory(from), Target::Directory(to)) => inside(from, to) || inside(to, from),
        (one, other) => one == other,
    }
}

/// Whether a directory is another or somewhere below it, by whatever path and mount.
fn inside(path: &Path, root: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let (path, root) = (real(path), real(root));
    if path.starts_with(&root) {
        return true;
    }
    id(&root).is_some_and(|root| path.ancestors().any(|above| id(above) == Some(root)))
}

/// The path without links as far as it is there; what is not there yet follows as it is said.
fn real(path: &Path) -> PathBuf {
    // Fails only for an empty path or without a working directory.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(above), absolute.strip_prefix(above)) {
            // Joined to nothing, a path would get a slash at its end.
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Inputs;

    fn overlaps(from: &str, to: &str, env: &[(&str, &str)]) -> bool {
        let env = env.iter();
        let inputs = Inputs {
            target: Some(to.to_owned()),
            upstream: Some(from.to_owned()),
            env: env.map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
            ..Inputs::default()
        };
        overlap(&Settings::resolve(&inputs).expect("settings"))
    }

    #[test]
    fn buckets_are_told_apart_by_name_prefix_and_store() {
        let elsewhere = [("UPSTREAM_AWS_ENDPOINT_URL", "http://127.0.0.1:1")];
        for (from, to, env, expected) in [
            ("s3://abc", "s3://abc/", &[][..], true),
            ("s3://abc/a", "s3://abc/a/b", &[], true),
            ("s3://abc/a/b", "s3://abc/a", &[], true),
            ("s3://abc", "s3://abc/a", &[], true),
            ("s3://abc/a", "s3://abc/ab", &[], false),
            ("s3://abc/a", "s3://abd/a", &[], false),
            ("s3://abc/a", "s3://abc/a", &elsewhere, false),
            ("s3://abc/a", "abc/a", &[], false),
            ("https://example.org/a", "s3://abc/a", &[], false),
        ] {
            assert_eq!(overlaps(from, to, env), expected, "{from} {to}");
        }
    }

    #[test]
    fn directories_are_told_apart_whatever_they_are_called() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir_all(dir.path().join("one/two")).expect("mkdir");
        fs::create_dir(dir.path().join("other")).expect("mkdir");
        std::os::unix::fs::symlink("one", dir.path().join("link")).expect("a link");
        for (from, to, expected) in [
            ("one", "one", true),
            ("one/", "other/../one/.", true),
            ("one", "link", true),
            ("link/two", "one", true),
            ("one", "link/two", true),
            ("one", "link/new/er", true),
            ("one", "other", false),
            ("one", "one-more", false),
            ("other", "new", false),
        ] {
            assert_eq!(overlaps(&at(from), &at(to), &[]), expected, "{from} {to}");
        }
        let file = format!("file://{}", at("one"));
        assert!(overlaps(&file, &at("link"), &[]));
    }
}
