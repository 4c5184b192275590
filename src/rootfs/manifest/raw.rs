//! A manifest as it is written, and what each part of it must be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{Keyrings, Mistake};
use crate::model::{Arch, Sha256, StackName, Version, nearest};
use crate::rootfs::oci::Place;
use crate::rootfs::origin::{Base, Debian, Made, Origin, Packages, StackMirror};

/// A manifest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) schema: Spanned<i64>,
    pub(super) name: Spanned<StackName>,
    pub(super) end_of_life: Spanned<toml::value::Datetime>,
    pub(super) architectures: Spanned<Vec<Arch>>,
    #[serde(default)]
    pub(super) series: BTreeMap<String, Texts>,
    /// The same as a first entry of `from` with nothing but this.
    pub(super) debian: Option<RawDebian>,
    #[serde(default)]
    pub(super) from: Vec<Spanned<RawFrom>>,
}

/// One of [`Origin`]'s kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFrom {
    debian: Option<RawDebian>,
    image: Option<RawImage>,
    tarball: Option<Spanned<RawTarball>>,
    directory: Option<Spanned<PathBuf>>,
    mirror: Option<Spanned<String>>,
    digest: Option<Spanned<String>>,
    packages: Option<Spanned<RawPackages>>,
}

/// [`Debian`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDebian {
    suites: Texts,
    components: Texts,
    keyring: Spanned<String>,
    run: Texts,
    build: Texts,
}

/// [`Base::Images`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    build: Spanned<String>,
    /// The same as `build` if it is left out.
    run: Option<Spanned<String>>,
}

/// [`Base::Tarball`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarball {
    urls: Texts,
    sha256: Spanned<String>,
}

/// [`Packages`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPackages {
    run: Texts,
    build: Texts,
    sources: Texts,
}

impl Default for RawPackages {
    fn default() -> Self {
        let none = || Spanned::new(0..0, Vec::new());
        Self {
            run: none(),
            build: none(),
            sources: none(),
        }
    }
}

type Texts = Spanned<Vec<Spanned<String>>>;

/// Series by formula: `python = ["2.7", "3.9"]`.
pub(super) fn series(
    raw: BTreeMap<String, Texts>,
) -> Result<BTreeMap<String, Vec<String>>, Mistake> {
    for text in raw.values().flat_map(Spanned::get_ref) {
        if text.get_ref().parse::<Version>().is_err() {
            let message = format!("`{}` is no version", text.get_ref().escape_debug());
            return Err((text.span(), message, None));
        }
    }
    let series = raw.into_iter().map(|(name, texts)| (name, plain(texts)));
    Ok(series.collect())
}

/// All origins, in order. `whole` is what is pointed at if there is none.
pub(super) fn origins(
    debian: Option<RawDebian>,
    from: Vec<Spanned<RawFrom>>,
    whole: Range<usize>,
    keyrings: &Keyrings,
) -> Result<Vec<Origin>, Mistake> {
    let mut origins = Vec::new();
    if let Some(debian) = debian {
        origins.push(Origin::Debian(debian.check(keyrings)?));
    }
    for from in from {
        let span = from.span();
        origins.push(from.into_inner().check(&span, keyrings)?);
    }
    if origins.is_empty() {
        let message = "nothing says where this stack comes from: [debian] or [[from]] does";
        return Err((whole, message.to_owned(), None));
    }
    Ok(origins)
}

impl RawFrom {
    fn check(self, span: &Range<usize>, keyrings: &Keyrings) -> Result<Origin, Mistake> {
        let Self {
            debian,
            image,
            tarball,
            directory,
            mirror,
            digest,
            packages,
        } = self;
        if let (Some(digest), None) = (&digest, &mirror) {
            let message = "the digest is that of a mirror's index: an image has it in its name";
            return Err((digest.span(), message.to_owned(), None));
        }
        let base = match (debian, image, tarball, directory, mirror) {
            (None, None, None, None, Some(mirror)) => {
                if let Some(packages) = packages {
                    let message = "a mirror has a stack with its packages: nothing is installed \
                                   on top";
                    return Err((packages.span(), message.to_owned(), None));
                }
                return check_mirror(mirror, digest).map(Origin::Mirror);
            }
            (Some(debian), None, None, None, None) => {
                if let Some(packages) = packages {
                    let message = "the packages of a Debian suite are `debian.run` and \
                                   `debian.build`";
                    return Err((packages.span(), message.to_owned(), None));
                }
                return Ok(Origin::Debian(debian.check(keyrings)?));
            }
            (None, Some(image), None, None, None) => image.check()?,
            (None, None, Some(tarball), None, None) => tarball.into_inner().check()?,
            (None, None, None, Some(directory), None) => {
                if directory.get_ref().as_os_str().is_empty() {
                    let message = "a directory has a name".to_owned();
                    return Err((directory.span(), message, None));
                }
                Base::Directory(directory.into_inner())
            }
            _ => {
                let message = "an entry of `from` has one of `debian`, `image`, `tarball`, \
                               `directory` and `mirror`";
                return Err((span.clone(), message.to_owned(), None));
            }
        };
        let packages = packages.map(|packages| packages.into_inner().check());
        Ok(Origin::Made(Made {
            base,
            packages: packages.transpose()?.unwrap_or_default(),
        }))
    }
}

/// Whether it can be opened, shows when it is.
fn check_mirror(
    mirror: Spanned<String>,
    digest: Option<Spanned<String>>,
) -> Result<StackMirror, Mistake> {
    let text = mirror.get_ref();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let known = scheme.is_none_or(|scheme| ["s3", "https", "http", "file"].contains(&scheme));
    if text.is_empty() || text.contains(char::is_control) || !known {
        let message = "a mirror is s3://BUCKET/PREFIX, a directory, or an https:// address";
        return Err((mirror.span(), message.to_owned(), None));
    }
    let parsed = digest.map(|digest| {
        let hex = digest.get_ref().strip_prefix("sha256:");
        hex.and_then(|hex| hex.parse().ok()).ok_or_else(|| {
            let message = "a digest is `sha256:` and 64 hexadecimal digits".to_owned();
            (digest.span(), message, None)
        })
    });
    Ok(StackMirror {
        digest: parsed.transpose()?,
        at: mirror.into_inner(),
    })
}

impl RawDebian {
    fn check(self, keyrings: &Keyrings) -> Result<Debian, Mistake> {
        let needed = [(&self.suites, "suite"), (&self.components, "component")];
        if let Some((texts, what)) = needed.iter().find(|(texts, _)| texts.get_ref().is_empty()) {
            return Err((texts.span(), format!("[debian] names no {what}"), None));
        }
        for names in [&self.suites, &self.components, &self.run, &self.build] {
            check_names(names)?;
        }
        let name = self.keyring.get_ref();
        let Some(keys) = keyrings.get(name) else {
            let message = format!("there is no keyring named `{}`", name.escape_debug());
            let near = nearest(name, keyrings.keys().map(String::as_str));
            return Err((self.keyring.span(), message, near.map(str::to_owned)));
        };
        Ok(Debian {
            keys: keys.clone(),
            suites: plain(self.suites),
            components: plain(self.components),
            keyring: self.keyring.into_inner(),
            run: plain(self.run),
            build: plain(self.build),
        })
    }
}

impl RawImage {
    fn check(self) -> Result<Base, Mistake> {
        let place = |text: &Spanned<String>| {
            let parsed: Result<Place, _> = text.get_ref().parse();
            parsed.map_err(|error| (text.span(), error.to_string(), None))
        };
        let build = place(&self.build)?;
        let run = self.run.as_ref().map(place).transpose()?;
        Ok(Base::Images {
            run: run.unwrap_or_else(|| build.clone()),
            build,
        })
    }
}

impl RawTarball {
    fn check(self) -> Result<Base, Mistake> {
        if self.urls.get_ref().is_empty() {
            let message = "a tarball has at least one URL".to_owned();
            return Err((self.urls.span(), message, None));
        }
        for url in self.urls.get_ref() {
            let schemes = ["https://", "http://", "file:///"];
            if !schemes
                .iter()
                .any(|scheme| url.get_ref().starts_with(scheme))
            {
                let message = "a tarball's URL begins with https://, http:// or file:///";
                return Err((url.span(), message.to_owned(), None));
            }
        }
        let sha256: Sha256 = self.sha256.get_ref().parse().map_err(|_| {
            let message = "a SHA-256 is 64 hexadecimal digits".to_owned();
            (self.sha256.span(), message, None)
        })?;
        Ok(Base::Tarball {
            urls: plain(self.urls),
            sha256,
        })
    }
}

impl RawPackages {
    fn check(self) -> Result<Packages, Mistake> {
        check_names(&self.run)?;
        check_names(&self.build)?;
        for line in self.sources.get_ref() {
            let text = line.get_ref();
            if !text.starts_with("deb ") || text.contains(char::is_control) {
                let message = "a source is a line of apt's: `deb http://… suite component…`";
                return Err((line.span(), message.to_owned(), None));
            }
        }
        Ok(Packages {
            run: plain(self.run),
            build: plain(self.build),
            sources: plain(self.sources),
        })
    }
}

/// Names become parts of URLs, and arguments of apt.
fn check_names(names: &Texts) -> Result<(), Mistake> {
    let fit = |name: &str| {
        let of_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        // apt would take out what ends so.
        first && name.bytes().all(of_name) && !name.ends_with('-')
    };
    match names.get_ref().iter().find(|name| !fit(name.get_ref())) {
        None => Ok(()),
        Some(name) => {
            let shown = name.get_ref().escape_debug();
            let message = format!("`{shown}` is no name of a suite, component or package");
            Err((name.span(), message, None))
        }
    }
}

fn plain(texts: Texts) -> Vec<String> {
    let texts = texts.into_inner().into_iter();
    texts.map(Spanned::into_inner).collect()
}
