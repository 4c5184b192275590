//! Mirrors of stacks: what one host has prepared, taken by others as it is, with the same image
//! digests and so the same build ids.
//!
//! ```text
//! Rootfs ─▶ Parcel (blobs by digest, and an index of them) ─▶ the target's stacks/
//! stacks/<stack>-<arch>.json ─▶ record, manifests, configurations ─▶ layers ─▶ Rootfs
//! ```
//!
//! The layers are applied as those of any image. What cannot be told from them is in the record,
//! and has to be believed: an image's digest also covers what it was once made of. So a mirror is
//! trusted as a registry is that is asked for a tag; whoever names the digest of the index trusts
//! it with nothing.
//!
//! Which place a mirror is, and with which credentials it is read, the caller knows: [`Mirror`].

mod error;
mod push;
mod read;
mod record;

use std::io::Read;
use std::path::PathBuf;

use self::read::{Described, Reader};
use self::record::{Claim, Record, differ};
use super::image::{self, Flat, ImageError, LayerBlob, flatten};
use super::installed;
use super::lock::Drift;
use super::oci::{LayerRef, Named};
use super::origin::StackMirror;
use super::record::{ImageRecord, Source};
use super::{Package, RootfsError, Tools, Wanted};
use crate::model::{Amount, Arch, Bytes, Sha256, StackName};
use crate::net::redact;
use crate::sys::interrupt::Interrupt;

pub use error::{MirrorError, PlaceError};
pub use push::{Blob, Content, Parcel, There, parcel, there};

/// Letters of where a stack once came from that are kept.
const ORIGIN: usize = 200;

/// A place that stacks were pushed to.
pub trait Mirror: Send + Sync {
    /// What it is called in front of a key.
    fn shown(&self) -> &str;

    /// Reads an object; `None` if it has none of this key.
    fn read<'a>(
        &'a self,
        key: &str,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PlaceError>;
}

/// The mirrors that a host may take stacks from.
#[derive(Clone, Copy)]
pub struct Mirrors<'a> {
    /// The one that is asked for every stack, before all that its manifest says.
    pub first: Option<&'a str>,
    /// Opens one, by what a manifest or a person calls it. Nothing is connected to yet.
    pub open: &'a Open,
}

/// Opens a mirror.
pub type Open = dyn Fn(&str) -> Result<Box<dyn Mirror>, PlaceError> + Sync;

impl Mirrors<'_> {
    /// None: where a manifest names one, that is an error.
    pub fn none() -> Self {
        let open = &|at: &str| Err(format!("no mirrors are read here: {at}").into());
        Self { first: None, open }
    }
}

/// What is asked of a mirror.
struct Ask<'a> {
    stack: &'a StackName,
    arch: Arch,
    /// The digest of the index, if no other will do.
    digest: Option<&'a Sha256>,
    accept: Accept<'a>,
}

/// Which stack of that name will do.
#[derive(Clone, Copy)]
enum Accept<'a> {
    /// Any.
    Any,
    /// One that was made for a manifest which says the same of where it comes from: what it is filed
    /// under.
    Keys(&'a [Sha256]),
    /// One whose run image and build image have these digests.
    Images([Sha256; 2]),
}

impl Accept<'_> {
    fn takes(self, record: &Record) -> bool {
        match self {
            Self::Any => true,
            Self::Keys(keys) => keys.contains(&record.key),
            Self::Images(digests) => digests == [record.run.digest, record.build.digest],
        }
    }
}

/// What a mirror has of that.
enum Answer {
    /// Nothing.
    Nothing,
    /// A stack of that name which will not do: the digests of its run image and its build image.
    Other([Sha256; 2]),
    /// That stack; it is on this host now.
    Taken(Box<Taken>),
}

/// A stack that was taken.
struct Taken {
    /// What the other host files it under.
    key: Sha256,
    made: Given,
}

/// Where a stack came from, in a few words, its run image and its build image.
type Given = (String, [ImageRecord; 2]);

/// Takes a stack from the mirror that is asked first, if there is one and it has the stack: what to
/// file it under, and what it is.
pub(super) fn first(
    stack: &StackName,
    arch: Arch,
    wanted: Wanted<'_>,
    keys: &[Sha256],
    asked: &mut Vec<String>,
    tools: &Tools<'_>,
) -> Result<Option<(Sha256, Given)>, RootfsError> {
    let Some(at) = tools.mirrors.first else {
        return Ok(None);
    };
    let ask = Ask {
        stack,
        arch,
        digest: None,
        accept: match wanted {
            Wanted::Here | Wanted::Today => Accept::Keys(keys),
            Wanted::Locked(locked) => Accept::Images([locked.run, locked.build]),
        },
    };
    let why = match answer(at, &ask, tools)? {
        Answer::Taken(taken) => return Ok(Some((taken.key, taken.made))),
        Answer::Nothing => format!("{} has no {stack}", redact(at)),
        Answer::Other(_) => match ask.accept {
            Accept::Images(_) => format!("{} has another {stack} than is locked", redact(at)),
            _ => format!("{} has {stack} as another manifest gave it", redact(at)),
        },
    };
    tools.observer.note(why.clone());
    asked.push(why);
    Ok(None)
}

/// Takes a stack from a mirror that its manifest names, if it is there.
pub(super) fn from(
    mirror: &StackMirror,
    stack: &StackName,
    arch: Arch,
    wanted: Wanted<'_>,
    asked: &mut Vec<String>,
    tools: &Tools<'_>,
) -> Result<Option<Given>, RootfsError> {
    let StackMirror { at, digest } = mirror;
    // What was locked is there by its digest, whatever has the name today.
    let locked = wanted.images().and_then(|[run, _]| run.source.index);
    let ask = Ask {
        stack,
        arch,
        digest: digest.as_ref().or(locked.as_ref()),
        accept: match wanted {
            Wanted::Here | Wanted::Today => Accept::Any,
            Wanted::Locked(locked) => Accept::Images([locked.run, locked.build]),
        },
    };
    let why = match (answer(at, &ask, tools)?, wanted) {
        (Answer::Taken(taken), _) => return Ok(Some(taken.made)),
        (Answer::Other([found, _]), Wanted::Locked(locked)) if found != locked.run => {
            return Err(drift(stack, "run", found, locked.run));
        }
        (Answer::Other([_, found]), Wanted::Locked(locked)) => {
            return Err(drift(stack, "build", found, locked.build));
        }
        _ if ask.digest.is_some() => format!("{} has no such {stack}", redact(at)),
        _ => format!("{} has no {stack}", redact(at)),
    };
    tools.observer.note(why.clone());
    asked.push(why);
    Ok(None)
}

fn drift(stack: &StackName, image: &'static str, found: Sha256, locked: Sha256) -> RootfsError {
    RootfsError::drift(stack)(Drift::Image {
        image,
        found,
        locked,
    })
}

/// What a mirror has of a stack today.
pub(super) struct Now {
    /// The chain id of the run image's layers, and of the build image's.
    pub(super) chains: [Sha256; 2],
    /// What is in them, as the mirror says.
    pub(super) packages: [Vec<Package>; 2],
}

/// Looks at what a mirror that a manifest names has of a stack, by the small documents alone.
pub(super) fn now(
    mirror: &StackMirror,
    stack: &StackName,
    arch: Arch,
    tools: &Tools<'_>,
) -> Result<Option<Now>, RootfsError> {
    let StackMirror { at, digest } = mirror;
    let describe = || {
        let mirror = (tools.mirrors.open)(at).map_err(MirrorError::Place)?;
        let reader = Reader {
            mirror: &*mirror,
            interrupt: tools.interrupt,
        };
        reader.describe(stack, arch, digest.as_ref())
    };
    let described = describe().map_err(|error| error.of(stack, &redact(at)))?;
    Ok(described.map(|described| Now {
        chains: [&described.run, &described.build].map(|image| {
            let layers = image.layers.iter().map(|layer| &layer.diff_id);
            let chain = layers.fold(None, |below, diff_id| {
                Some(image::chain_id(below.as_ref(), diff_id))
            });
            // An image without layers has been refused.
            chain.unwrap_or(described.index)
        }),
        packages: [described.record.run, described.record.build].map(|claim| claim.packages),
    }))
}

fn answer(at: &str, ask: &Ask<'_>, tools: &Tools<'_>) -> Result<Answer, RootfsError> {
    take(at, ask, tools).map_err(|error| error.of(ask.stack, &redact(at)))
}

/// Takes a stack from a mirror, if it has it.
fn take(at: &str, ask: &Ask<'_>, tools: &Tools<'_>) -> Result<Answer, MirrorError> {
    let Ask {
        stack,
        arch,
        digest,
        accept,
    } = *ask;
    let mirror = (tools.mirrors.open)(at).map_err(MirrorError::Place)?;
    let reader = Reader {
        mirror: &*mirror,
        interrupt: tools.interrupt,
    };
    let title = format!("looking for {stack} in {}", mirror.shown());
    let phase = tools.observer.phase(title, Amount::Unknown);
    let Some(described) = reader.describe(stack, arch, digest)? else {
        phase.done_with("it is not there");
        return Ok(Answer::Nothing);
    };
    let record = &described.record;
    if !accept.takes(record) {
        phase.done_with("another is there");
        return Ok(Answer::Other([record.run.digest, record.build.digest]));
    }
    phase.done();
    let Described {
        index,
        record,
        run,
        build,
        objects: _,
    } = described;
    let lower = bring(&reader, &run, None, tools)?;
    let base = build.layers.starts_with(&run.layers);
    let base = base.then_some((&lower, run.layers.len()));
    let upper = bring(&reader, &build, base, tools)?;
    let origin = match &record.origin {
        Some(origin) => format!("{} ({})", mirror.shown(), printable(origin)),
        None => mirror.shown().to_owned(),
    };
    let made = |named: &Named, flat: &Flat, claim: Claim, kind| {
        let found = installed::packages(std::slice::from_ref(&flat.tree))?;
        if let Some((claimed, found)) = differ(&claim.packages, &found) {
            let what = format!("{}: the record", mirror.shown());
            return Err(MirrorError::Packages {
                what,
                kind,
                claimed,
                found,
            });
        }
        Ok(ImageRecord {
            layers: vec![flat.key],
            digest: claim.digest,
            packages: claim.packages,
            source: Some(Source {
                place: origin.clone(),
                digest: Some(named.manifest),
                index: Some(index),
                chain: flat.chain,
                size: named.layers.iter().map(|layer| layer.size).sum(),
            }),
        })
    };
    let images = [
        made(&run, &lower, record.run, read::RUN)?,
        made(&build, &upper, record.build, read::BUILD)?,
    ];
    Ok(Answer::Taken(Box::new(Taken {
        key: record.key,
        made: (origin, images),
    })))
}

/// What others wrote, for a person's terminal.
fn printable(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(ORIGIN).map(plain).collect()
}

/// Fetches and flattens an image, unless the store has it; with a base, whose layers it begins
/// with, only what is above it.
fn bring(
    reader: &Reader<'_>,
    image: &Named,
    base: Option<(&Flat, usize)>,
    tools: &Tools<'_>,
) -> Result<Flat, MirrorError> {
    let (below, skipped) = base.map_or((None, 0), |(flat, count)| (Some(flat), count));
    let above: &[LayerRef] = &image.layers[skipped..];
    let diff_ids = above.iter().map(|layer| &layer.diff_id);
    let chain = diff_ids.fold(below.map(|flat| flat.chain), |below, diff_id| {
        Some(image::chain_id(below.as_ref(), diff_id))
    });
    let chain = chain.ok_or(ImageError::Empty)?;
    match (image::flat(&chain, tools.store), below) {
        (Some(flat), _) => return Ok(flat),
        (None, Some(below)) if above.is_empty() => return Ok(below.clone()),
        (None, _) => {}
    }
    let size = above.iter().map(|layer| layer.size).sum();
    let title = format!("fetching from {}", reader.mirror.shown());
    let phase = tools.observer.phase(title, Amount::Bytes(size));
    let blobs: Vec<PathBuf> = above
        .iter()
        .map(|layer| reader.bring(layer, &phase, tools))
        .collect::<Result<_, _>>()?;
    let count = match above.len() {
        1 => "1 layer".to_owned(),
        many => format!("{many} layers"),
    };
    phase.done_with(format!("{count}, {}", Bytes(size)));
    let layers: Vec<LayerBlob> = blobs
        .into_iter()
        .zip(above)
        .map(|(blob, layer)| LayerBlob {
            blob,
            diff_id: layer.diff_id,
        })
        .collect();
    Ok(flatten(&layers, below, tools)?)
}

impl MirrorError {
    /// Why a stack cannot be had, or given, then.
    pub fn of(self, stack: &StackName, mirror: &str) -> RootfsError {
        match self {
            Self::Fs(error) => error.into(),
            Self::Store(error) => error.into(),
            source => RootfsError::Mirror {
                stack: stack.clone(),
                mirror: mirror.to_owned(),
                source: Box::new(source),
            },
        }
    }
}
