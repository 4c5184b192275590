//! Mirrors of stacks, opened by whoever has the rights: a target that is read.
//!
//! Where pybuild gives up being root, what settings are resolved from is read before, if a stack is
//! going to be looked for in a bucket; a worker is told by its steward. A directory is read by whom
//! the work is done as, as every other place that a stack comes from.

use std::fmt;
use std::io::Read;
use std::sync::OnceLock;

use super::{Failure, keeper, steward, target};
use crate::cli::StackSources;
use crate::publish::{Inputs, PublishError, Remote, Settings, SettingsError, Target};
use crate::rootfs::{Manifest, Mirror, Origin, PlaceError, StackMirror};
use crate::sys::interrupt::Interrupt;

/// What was gathered while this process was still root.
static AHEAD: OnceLock<Inputs> = OnceLock::new();

/// Gathers what the mirrors of these stacks need, which are going to be looked for. For a process
/// that is root, and will not be for long.
pub(super) fn ahead(manifests: &[&Manifest], sources: &StackSources) -> Result<(), Failure> {
    let all = manifests
        .iter()
        .flat_map(|manifest| mirrors_of(manifest, sources));
    let mut buckets = all.filter(|text| matches!(text.parse(), Ok(Target::S3 { .. })));
    let Some(first) = buckets.next() else {
        return Ok(());
    };
    let inputs = target::inputs(Some(first.to_owned()), None, None)?;
    // What is wrong with them is told when the mirror is opened, and not if it is not needed.
    let _ = keeper::settings(&inputs);
    AHEAD.get_or_init(|| inputs);
    Ok(())
}

/// The mirrors that a stack may be looked for in.
fn mirrors_of<'a>(
    manifest: &'a Manifest,
    sources: &'a StackSources,
) -> impl Iterator<Item = &'a str> {
    let named = manifest.origins().iter().filter_map(|origin| match origin {
        Origin::Mirror(StackMirror { at, .. }) => Some(&**at),
        Origin::Debian(_) | Origin::Made(_) => None,
    });
    sources.stack_mirror.as_deref().into_iter().chain(named)
}

/// What was gathered ahead, for a worker.
pub(super) fn gathered() -> Option<&'static Inputs> {
    AHEAD.get()
}

/// Opens a mirror, to read it. Connects to nothing yet.
pub(super) fn open(text: &str) -> Result<Box<dyn Mirror>, PlaceError> {
    let open = || -> Result<Remote, Failure> {
        let target: Target = text.parse().map_err(|source| SettingsError::Target {
            from: "the mirror of stacks".to_owned(),
            source,
        })?;
        let settings = match target {
            Target::S3 { .. } => keeper::settings(&inputs(text)?)?,
            Target::Directory(_) | Target::Web(_) => Settings::default(),
        };
        Ok(Remote::open(&target, &settings)?)
    };
    let remote = open().map_err(Unopened)?;
    Ok(Box::new(Opened(remote)))
}

/// What a bucket's settings are resolved from: as it was gathered ahead, here or by the steward,
/// else as this process finds it.
fn inputs(text: &str) -> Result<Inputs, Failure> {
    let ahead = AHEAD.get().cloned();
    let told = || steward::steward().and_then(|steward| steward.mirrors().ok());
    let inputs = match ahead.or_else(told) {
        Some(inputs) => {
            target::keep_secrets();
            AHEAD.get_or_init(|| inputs).clone()
        }
        None => target::inputs(None, None, None)?,
    };
    Ok(Inputs {
        target: Some(text.to_owned()),
        upstream: None,
        ..inputs
    })
}

/// A mirror that cannot be opened: the failure goes all the way up as it is.
#[derive(Debug)]
pub(super) struct Unopened(pub(super) Failure);

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message())
    }
}

impl std::error::Error for Unopened {}

/// A target as a mirror.
struct Opened(Remote);

impl Mirror for Opened {
    fn shown(&self) -> &str {
        self.0.shown()
    }

    fn read<'a>(
        &'a self,
        key: &str,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PlaceError> {
        match self.0.read(key, interrupt) {
            // Buckets that show themselves on the web deny what is not there.
            Err(PublishError::Denied { .. }) if matches!(self.0.target(), Target::Web(_)) => {
                Ok(None)
            }
            read => Ok(read?),
        }
    }
}

/// An open target as a mirror, to see what is there.
pub(super) struct Seen<'r>(pub(super) &'r Remote);

impl Mirror for Seen<'_> {
    fn shown(&self) -> &str {
        self.0.shown()
    }

    fn read<'a>(
        &'a self,
        key: &str,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PlaceError> {
        Ok(self.0.read(key, interrupt)?)
    }
}

/// Takes the failure out of what a mirror was read with.
pub(super) fn failure(error: PlaceError) -> Result<Failure, PlaceError> {
    let error = match error.downcast::<Unopened>() {
        Ok(unopened) => return Ok(unopened.0),
        Err(error) => error,
    };
    Ok((*error.downcast::<PublishError>()?).into())
}
