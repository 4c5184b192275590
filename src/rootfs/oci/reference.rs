//! Names of images, by the grammar of the distribution project (`reference`), Docker Hub's short
//! names included. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::Sha256;

/// The registry of names that do not say one.
const HUB: &str = "docker.io";
/// Where Docker Hub keeps what has no owner.
const LIBRARY: &str = "library";
/// The tag of names that say neither tag nor digest.
const LATEST: &str = "latest";
const REPOSITORY_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;
/// A host name's (RFC 1035), with room for a port.
const REGISTRY_LIMIT: usize = 255 + 6;

/// An image in a registry: `heroku/heroku:20` is `docker.io/heroku/heroku:20`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` names no image: {why}", text.escape_debug())]
pub struct ReferenceError {
    /// The text, or its beginning.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Reference {
    /// Host and port of the registry, in lower case: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. There is a tag or a digest; where there are both, the digest says which image.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the image's manifest or index.
    pub fn digest(&self) -> Option<Sha256> {
        self.digest
    }

    /// The same image and no other, whatever becomes of the tag.
    #[must_use]
    pub fn with_digest(mut self, digest: Sha256) -> Self {
        self.digest = Some(digest);
        self
    }

    /// All of it, nothing left out: `docker.io/library/debian:12`.
    pub fn canonical(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.version())
    }

    /// What follows the name: `:tag`, `@digest` or both.
    fn version(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}"));
        let digest = self.digest.map(|digest| format!("@sha256:{digest}"));
        tag.unwrap_or_default() + &digest.unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => (name, Some(parse_digest(digest)?)),
        };
        // A colon in the last part begins a tag; one before that, a port.
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last..].find(':') {
            None => (name, None),
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("its tag is none");
        }
        let (registry, path) = split(name);
        let registry = registry.to_ascii_lowercase();
        if !is_registry(&registry) {
            return Err("its registry is no host name");
        }
        let registry = match registry.as_str() {
            "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
            _ => registry,
        };
        if path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("64 hexadecimal digits are an image's identifier and not its name");
        }
        let repository = if registry == HUB && !path.contains('/') {
            format!("{LIBRARY}/{path}")
        } else {
            path.to_owned()
        };
        if registry != HUB && registry != "localhost" && !registry.contains(['.', ':', '[']) {
            // Docker takes `EXAMPLE/a` for a registry, which in lower case it would not.
            return Err("its name has upper-case letters");
        }
        if path.is_empty() {
            return Err("its name is empty");
        }
        if repository.len() > REPOSITORY_LIMIT {
            return Err("its name is too long");
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err("its name has upper-case letters");
        }
        if !repository.split('/').all(is_path_component) {
            return Err("its name has parts that are none");
        }
        let tag = match (tag, digest) {
            (None, None) => Some(LATEST),
            (tag, _) => tag,
        };
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// The registry and the path. The first part is a registry if it could be nothing else.
fn split(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':', '['])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (HUB, name),
    }
}

fn parse_digest(text: &str) -> Result<Sha256, &'static str> {
    let Some(hex) = text.strip_prefix("sha256:") else {
        return Err("its digest is not one of SHA-256");
    };
    if hex.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("its digest has upper-case letters");
    }
    hex.parse()
        .map_err(|_| "its digest does not have 64 hexadecimal digits")
}

/// `[\w][\w.-]{0,127}`
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= TAG_LIMIT
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = text.as_bytes().split(plain);
    // The first and the last of what lies between letters must be nothing at all.
    let ends = text.bytes().next().is_some_and(|byte| plain(&byte))
        && text.bytes().last().is_some_and(|byte| plain(&byte));
    ends && separators.all(|between| {
        matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
    })
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
pub(super) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The last colon of an address in brackets may be its own.
        Some((_, tail)) if tail.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0)
    });
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(label),
    };
    text.len() <= REGISTRY_LIMIT && port_fits && host_fits
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text).map_err(|why| ReferenceError {
            text: text.chars().take(300).collect(),
            why,
        })
    }
}

impl fmt::Display for Reference {
    /// As short as it can be and still name this image: `debian:12`, `heroku/heroku:20`,
    /// `ghcr.io/owner/image@sha256:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = self.canonical();
        if self.registry == HUB {
            let version = self.version();
            let library = format!("{LIBRARY}/");
            let shorter = [
                self.repository.strip_prefix(&library),
                Some(self.repository.as_str()),
            ];
            for name in shorter.into_iter().flatten() {
                let short = format!("{name}{version}");
                // `docker.io/localhost/image` has no short form, say.
                if Self::parse(&short).as_ref() == Ok(self) {
                    return f.pad(&short);
                }
            }
        }
        f.pad(&full)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let table = [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            (
                "heroku/heroku:20",
                "docker.io/heroku/heroku:20",
                "heroku/heroku:20",
            ),
            (
                "docker.io/heroku/heroku:20",
                "docker.io/heroku/heroku:20",
                "heroku/heroku:20",
            ),
            (
                "docker.io/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            (
                "index.docker.io/library/debian:12",
                "docker.io/library/debian:12",
                "debian:12",
            ),
            (
                "library/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            (
                "localhost:5000/a:b",
                "localhost:5000/a:b",
                "localhost:5000/a:b",
            ),
            (
                "127.0.0.1:5000/a",
                "127.0.0.1:5000/a:latest",
                "127.0.0.1:5000/a:latest",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            (
                "[2001:db8::1]/a",
                "[2001:db8::1]/a:latest",
                "[2001:db8::1]/a:latest",
            ),
            ("Example.ORG/a:B", "example.org/a:B", "example.org/a:B"),
            ("a/b/c/d", "docker.io/a/b/c/d:latest", "a/b/c/d:latest"),
            (
                "a-b--c/d_e__f.g",
                "docker.io/a-b--c/d_e__f.g:latest",
                "a-b--c/d_e__f.g:latest",
            ),
            (
                "docker.io/a.b/c",
                "docker.io/a.b/c:latest",
                "docker.io/a.b/c:latest",
            ),
            (
                "docker.io/localhost/c",
                "docker.io/localhost/c:latest",
                "docker.io/localhost/c:latest",
            ),
            (
                "example.org/library/a",
                "example.org/library/a:latest",
                "example.org/library/a:latest",
            ),
            (
                "ghcr.io/o/i:_x.Y-z",
                "ghcr.io/o/i:_x.Y-z",
                "ghcr.io/o/i:_x.Y-z",
            ),
        ];
        for (text, canonical, shown) in table {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(reference.canonical(), canonical, "{text}");
            assert_eq!(reference.to_string(), shown, "{text}");
            assert_eq!(
                reference.to_string().parse(),
                Ok(reference.clone()),
                "{text}"
            );
            assert_eq!(reference.canonical().parse(), Ok(reference), "{text}");
        }
    }

    #[test]
    fn digests_say_which_image() {
        let text = format!("debian@sha256:{HEX}");
        let reference: Reference = text.parse().expect("a digest");
        assert_eq!((reference.tag(), reference.to_string()), (None, text));
        let both = format!("debian:12@sha256:{HEX}");
        let reference: Reference = both.parse().expect("both");
        assert_eq!(reference.tag(), Some("12"));
        assert_eq!(
            reference.digest().map(|d| d.to_string()).as_deref(),
            Some(HEX)
        );
        assert_eq!(reference.to_string(), both);
        let pinned = "debian:12".parse::<Reference>().expect("a tag");
        assert_eq!(pinned.with_digest(HEX.parse().expect("hex")), reference);
    }

    #[test]
    fn what_names_no_image_is_refused() {
        let long = format!("a/{}", "b".repeat(254));
        let tag = format!("a:{}", "t".repeat(129));
        let host = format!("{}.org/a", "h.".repeat(140));
        let upper = format!("a@sha256:{}", HEX.to_uppercase());
        let md5 = "a@md5:d41d8cd98f00b204e9800998ecf8427e";
        let double = format!("a@sha256:{HEX}@sha256:{HEX}");
        let short = format!("a@sha256:{}", &HEX[1..]);
        let sha512 = format!("a@sha512:{HEX}{HEX}");
        let table = [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            ":tag",
            "a:",
            "a:b:c",
            "Debian",
            "EXAMPLE/a",
            "a/B",
            "../a",
            "a/..",
            "a/../b",
            "./a",
            "a/.b",
            "a/b.",
            "-a",
            "a-",
            "a._b",
            "a___b",
            "a..b",
            "a\n",
            "a\nb",
            "a:t\n",
            " a",
            "a b",
            "a\0",
            "a?b",
            "a#b",
            "a%2fb",
            "a\\b",
            "ä",
            "https://example.org/a",
            "user@example.org/a",
            "u:p@example.org/a",
            "example.org:x/a",
            "example.org:/a",
            "example.org:0/a",
            "example.org:65536/a",
            "example.org:+1/a",
            "-example.org/a",
            "example..org/a",
            "exa_mple.org/a",
            "[::1/a",
            "::1/a",
            "[x]/a",
            "a:.t",
            "a:-t",
            "a:t/b:",
            HEX,
            md5,
            &long,
            &tag,
            &host,
            &upper,
            &double,
            &short,
            &sha512,
        ];
        for text in table {
            let error = text.parse::<Reference>().expect_err(text);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let huge = "a".repeat(1 << 20);
        let error = huge.parse::<Reference>().expect_err("too long");
        assert!(error.to_string().len() < 500);
    }
}
