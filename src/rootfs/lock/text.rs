//! A lock as it is written: TOML, one line a package, so that two locks are compared by eye.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{Lock, Locked, LockedImage, MadeOf};
use crate::model::{Arch, Sha256, StackName};
use crate::rootfs::Package;
use crate::rootfs::debian::{Pick, Released, Selection, Today};
use crate::rootfs::record::Source;

/// The only version of the lock's form.
const SCHEMA: i64 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    schema: Spanned<i64>,
    stack: StackName,
    arch: BTreeMap<Arch, Spanned<RawPart>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPart {
    from: String,
    origin: Sha256,
    run: Sha256,
    build: Sha256,
    debian: Option<RawDebian>,
    images: Option<RawImages>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDebian {
    releases: Vec<Released>,
    run: Vec<Pick>,
    build: Vec<Pick>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImages {
    run: RawImage,
    build: RawImage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    place: String,
    digest: Option<Sha256>,
    index: Option<Sha256>,
    chain: Sha256,
    size: u64,
    packages: Vec<Package>,
}

/// What is wrong, and where in the text.
type Mistake = (Range<usize>, String);

pub(super) fn parse(text: &str) -> Result<Lock, Mistake> {
    let raw: Raw = toml::from_str(text)
        .map_err(|found| (found.span().unwrap_or(0..0), found.message().to_owned()))?;
    if *raw.schema.get_ref() != SCHEMA {
        let message = format!("this pybuild reads locks of schema {SCHEMA}");
        return Err((raw.schema.span(), message));
    }
    let parts = raw.arch.into_iter().map(|(arch, part)| {
        let span = part.span();
        let part = part.into_inner().check(arch);
        part.map(|part| (arch, part))
            .map_err(|message| (span, message.to_owned()))
    });
    Ok(Lock {
        stack: raw.stack,
        parts: parts.collect::<Result<_, Mistake>>()?,
    })
}

impl RawPart {
    fn check(self, arch: Arch) -> Result<Locked, &'static str> {
        let Self {
            from,
            origin,
            run,
            build,
            debian,
            images,
        } = self;
        let made_of = match (debian, images) {
            (Some(debian), None) => {
                let selection = Selection {
                    run: debian.run,
                    build: debian.build,
                };
                // Who edits it by hand would get what nobody has looked up.
                if selection.digests(&origin, arch) != [run, build] {
                    return Err(
                        "the digests of its images are not those of its packages: it was \
                                edited, and `pybuild stack lock` writes it anew",
                    );
                }
                MadeOf::Debian(Today {
                    releases: debian.releases,
                    selection,
                })
            }
            (None, Some(RawImages { run, build })) => MadeOf::Images {
                run: Box::new(run.into()),
                build: Box::new(build.into()),
            },
            _ => return Err("a lock has one of `debian` and `images`"),
        };
        Ok(Locked {
            origin,
            from,
            run,
            build,
            made_of,
        })
    }
}

impl From<RawImage> for LockedImage {
    fn from(raw: RawImage) -> Self {
        let RawImage {
            place,
            digest,
            index,
            chain,
            size,
            packages,
        } = raw;
        let source = Source {
            place,
            digest,
            index,
            chain,
            size,
        };
        Self { source, packages }
    }
}

pub(super) fn render(lock: &Lock) -> String {
    let Lock { stack, parts } = lock;
    let mut text = format!(
        "# What the stack {stack} was made of when it was locked. `pybuild stack lock {stack}` writes\n\
         # this; with --locked, and wherever CI is set, pybuild takes just this or fails.\n\
         schema = {SCHEMA}\n\
         stack = {}\n",
        quoted(stack.as_str())
    );
    for (arch, locked) in parts {
        part(&mut text, *arch, locked);
    }
    text
}

fn part(text: &mut String, arch: Arch, locked: &Locked) {
    let Locked {
        origin,
        from,
        run,
        build,
        made_of,
    } = locked;
    let from = quoted(from);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n[arch.{arch}]\nfrom = {from}\norigin = \"{origin}\"\nrun = \"{run}\"\nbuild = \"{build}\"\n"
    );
    match made_of {
        MadeOf::Debian(Today {
            releases,
            selection: Selection { run, build },
        }) => {
            let _ = writeln!(text, "\n[arch.{arch}.debian]");
            list(text, "releases", releases, |released| {
                let Released {
                    suite,
                    date,
                    sha256,
                } = released;
                let (suite, date) = (quoted(suite), quoted(date));
                format!("suite = {suite}, date = {date}, sha256 = \"{sha256}\"")
            });
            list(text, "run", run, pick);
            list(text, "build", build, pick);
        }
        MadeOf::Images { run, build } => {
            for (name, image) in [("run", run), ("build", build)] {
                let _ = writeln!(text, "\n[arch.{arch}.images.{name}]");
                image_of(text, image);
            }
        }
    }
}

fn image_of(text: &mut String, image: &LockedImage) {
    let LockedImage {
        source:
            Source {
                place,
                digest,
                index,
                chain,
                size,
            },
        packages,
    } = image;
    let _ = writeln!(text, "place = {}", quoted(place));
    for (name, digest) in [("digest", digest), ("index", index)] {
        if let Some(digest) = digest {
            let _ = writeln!(text, "{name} = \"{digest}\"");
        }
    }
    let _ = writeln!(text, "chain = \"{chain}\"\nsize = {size}");
    list(text, "packages", packages, |package| {
        let Package {
            name,
            version,
            arch,
        } = package;
        let [name, version, arch] = [name, version, arch].map(|text| quoted(text));
        format!("name = {name}, version = {version}, arch = {arch}")
    });
}

fn pick(pick: &Pick) -> String {
    let Pick {
        name,
        version,
        arch,
        filename,
        size,
        sha256,
    } = pick;
    let [name, version, arch, filename] = [name, version, arch, filename].map(|text| quoted(text));
    format!(
        "name = {name}, version = {version}, arch = {arch}, filename = {filename}, size = {size}, \
         sha256 = \"{sha256}\""
    )
}

/// An array of tables, one a line.
fn list<T>(text: &mut String, name: &str, items: &[T], each: impl Fn(&T) -> String) {
    let _ = writeln!(text, "{name} = [");
    for item in items {
        let _ = writeln!(text, "    {{ {} }},", each(item));
    }
    text.push_str("]\n");
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(text: &str) -> Sha256 {
        Sha256::of(text.as_bytes())
    }

    fn debian() -> Locked {
        let pick = |name: &str, version: &str| Pick {
            name: name.to_owned(),
            version: version.to_owned(),
            arch: "amd64".to_owned(),
            filename: format!("pool/main/{name}_{version}.deb"),
            size: 7,
            sha256: sha(name),
        };
        let selection = Selection {
            run: vec![pick("zlib1g", "1:1.2"), pick("a", "1\"\\\n")],
            build: vec![pick("gcc", "4:12~rc1")],
        };
        let origin = sha("origin");
        let [run, build] = selection.digests(&origin, Arch::Amd64);
        Locked {
            origin,
            from: "Debian bookworm".to_owned(),
            run,
            build,
            made_of: MadeOf::Debian(Today {
                releases: vec![Released {
                    suite: "bookworm".to_owned(),
                    date: "2026-09-05T10:00:00Z".to_owned(),
                    sha256: sha("InRelease"),
                }],
                selection,
            }),
        }
    }

    fn images() -> Locked {
        let image = |name: &str, digest| LockedImage {
            source: Source {
                place: format!("example.org/{name}:1"),
                digest,
                index: None,
                chain: sha(name),
                size: 12,
            },
            packages: vec![Package {
                name: "libc6".to_owned(),
                version: "2.31-0ubuntu9".to_owned(),
                arch: "amd64".to_owned(),
            }],
        };
        Locked {
            origin: sha("origin"),
            from: "example.org/build:1 and example.org/run:1".to_owned(),
            run: sha("run image"),
            build: sha("build image"),
            made_of: MadeOf::Images {
                run: Box::new(image("run", Some(sha("manifest")))),
                build: Box::new(image("build", None)),
            },
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut lock = Lock::new("ours-1".parse().expect("a name"));
        lock.set(Arch::Arm64, images());
        assert_eq!(Lock::parse("x.lock", &lock.render()), Ok(lock.clone()));
        lock.set(Arch::Amd64, debian());
        let text = lock.render();
        assert_eq!(Lock::parse("x.lock", &text), Ok(lock.clone()), "{text}");
        // One line a package.
        assert!(text.contains(
            "\n    { name = \"gcc\", version = \"4:12~rc1\", arch = \"amd64\", filename = "
        ));
        lock.set(Arch::Amd64, images());
        assert_eq!(Lock::parse("x.lock", &lock.render()), Ok(lock));
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let mut lock = Lock::new("ours-1".parse().expect("a name"));
        lock.set(Arch::Amd64, debian());
        let text = lock.render();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            let error = Lock::parse("x.lock", &text.replace(from, to)).expect_err(to);
            error.to_string()
        };
        let edited = changed("1:1.2", "1:1.3");
        assert!(
            edited.starts_with("x.lock:6:1: the digests of its images"),
            "{edited}"
        );
        let schema = changed("schema = 1", "schema = 2");
        assert_eq!(schema, "x.lock:3:10: this pybuild reads locks of schema 1");
        assert!(changed("[arch.amd64", "[arch.vax").contains("vax"));
        assert!(changed("size = 7", "size = -7").contains("-7"));
        let more = changed("from =", "more = 1\nfrom =");
        assert!(more.contains("unknown field `more`"), "{more}");
        let neither = &text[..text.find("\n[arch.amd64.debian]").expect("there")];
        let error = Lock::parse("x.lock", neither).expect_err("neither");
        assert_eq!(error.message, "a lock has one of `debian` and `images`");
    }
}
