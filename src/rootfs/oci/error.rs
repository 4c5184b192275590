//! Why an image cannot be resolved or fetched.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::document::{DocumentError, shown};
use crate::archive::ArchiveError;
use crate::model::Sha256;
use crate::net::{NetError, Trouble};
use crate::rootfs::MirrorError;
use crate::store::StoreError;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;

/// Why a registry does not let us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// It wants credentials, and there are none.
    #[error(
        "wants credentials for it, if there is such an image, and none for {registry} are known"
    )]
    Missing {
        /// What they would be for.
        registry: String,
    },
    /// It does not take those that there are.
    #[error("refuses the credentials that {} has", path.display())]
    Refused {
        /// Where they come from.
        path: PathBuf,
    },
    /// There are credentials that cannot be used.
    #[error("wants credentials: {why}")]
    Unusable {
        /// Why.
        why: String,
    },
    /// Who gives tokens for it does not.
    #[error("wants a token, which {server} does not give: {why}")]
    Server {
        /// The token server's URL.
        server: String,
        /// Why.
        why: String,
        /// Whether it may do so later.
        passing: bool,
    },
}

/// Why one registry did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be reached, or what it answers is no HTTP to speak of.
    #[error("{0}")]
    Trouble(Trouble),
    /// It does not let us.
    #[error("{0}")]
    Auth(AuthError),
    /// It says no.
    #[error("{trouble}{}", words.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Status {
        /// The answer.
        trouble: Trouble,
        /// What it says about that.
        words: Option<String>,
    },
    /// It gives something else.
    #[error("gave SHA-256 {found} instead of {expected}")]
    Digest {
        /// What it should be.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// It gives something that is no image's.
    #[error("gave what {0}")]
    Document(DocumentError),
}

/// What became of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The URL, without secrets.
    pub url: String,
    /// Why it did not do.
    pub why: Refusal,
}

/// What became of each registry, one to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllTried(pub Vec<Tried>);

impl fmt::Display for AllTried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut each = self.0.iter();
        each.try_for_each(|Tried { url, why }| write!(f, "\n  {url} {why}"))
    }
}

/// Why an image cannot be resolved or fetched.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// No registry gave it.
    #[error("cannot fetch {what}{tried}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What became of each registry.
        tried: AllTried,
    },
    /// A layer cannot be fetched.
    #[error("{source}{}", auth.as_ref().map(|auth| format!("\n  the registry {auth}")).unwrap_or_default())]
    Layer {
        /// Why.
        source: Box<NetError>,
        /// Why the registry does not let us, if it does not.
        auth: Option<Box<AuthError>>,
    },
    /// A document cannot be had from a mirror.
    #[error(transparent)]
    Mirror(Box<MirrorError>),
    /// A document of the image is of no use.
    #[error("{what} {source}")]
    Document {
        /// Which.
        what: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A directory or an archive does not have what it should.
    #[error("{place}: {why}")]
    Place {
        /// Which.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// A directory or an archive has several images, or others than the one asked for.
    #[error("{place}: {}", which(.wanted.as_deref(), .names))]
    Which {
        /// Which place.
        place: String,
        /// The name asked for.
        wanted: Option<String>,
        /// What there is.
        names: Vec<String>,
    },
    /// Something that lies here is not what it should be.
    #[error("{what} has SHA-256 {found} instead of {expected}")]
    Digest {
        /// What it is.
        what: String,
        /// What it should be.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// An archive cannot be read.
    #[error("{}: {source}", file.display())]
    Archive {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<ArchiveError>,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client or the store cannot be used.
    #[error(transparent)]
    Net(Box<NetError>),
    /// The work should stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

fn which(wanted: Option<&str>, names: &[String]) -> String {
    let there: Vec<String> = names
        .iter()
        .take(20)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    let there = match &there[..] {
        [] => "it names none".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    match wanted {
        None => format!("it does not hold one image, so which one must be said: {there}"),
        Some(wanted) => format!("it has no image `{}`: {there}", wanted.escape_debug()),
    }
}

impl OciError {
    /// Whether everyone who was asked says that there is no such image.
    pub fn is_not_found(&self) -> bool {
        let gone = |tried: &Tried| {
            matches!(
                &tried.why,
                Refusal::Status {
                    trouble: Trouble::Status {
                        code: 404 | 410,
                        ..
                    },
                    ..
                }
            )
        };
        match self {
            Self::Unavailable { tried, .. } => !tried.0.is_empty() && tried.0.iter().all(gone),
            Self::Layer { source, .. } | Self::Net(source) => source.is_not_found(),
            Self::Which { wanted, .. } => wanted.is_some(),
            _ => false,
        }
    }

    /// Whether it is for want of credentials, or of better ones. Docker Hub says so of images,
    /// too, that do not exist.
    pub fn is_denied(&self) -> bool {
        let denied = |why: &Refusal| match why {
            Refusal::Auth(error) => error.is_denial(),
            Refusal::Status {
                trouble: Trouble::Status { code, .. },
                ..
            } => matches!(code, 401 | 403),
            _ => false,
        };
        match self {
            Self::Unavailable { tried, .. } => tried.0.iter().any(|tried| denied(&tried.why)),
            Self::Layer { auth, .. } => auth.as_ref().is_some_and(|error| error.is_denial()),
            _ => false,
        }
    }

    /// Whether trying again later may do: somebody is busy, broken or out of reach.
    pub fn is_passing(&self) -> bool {
        let passing = |why: &Refusal| match why {
            Refusal::Trouble(trouble) | Refusal::Status { trouble, .. } => may_pass(trouble),
            Refusal::Auth(AuthError::Server { passing, .. }) => *passing,
            _ => false,
        };
        match self {
            Self::Unavailable { tried, .. } => tried.0.iter().any(|tried| passing(&tried.why)),
            Self::Layer { source, .. } | Self::Net(source) => match &**source {
                NetError::Failed { attempts, .. } => {
                    attempts.0.iter().any(|attempt| may_pass(&attempt.trouble))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// What `net` could not do for a whole lot of layers, or for the store.
    pub(super) fn of_net(error: NetError) -> Self {
        match error {
            NetError::Interrupted(interrupted) => Self::Interrupted(interrupted),
            NetError::Store(error) => Self::Store(error),
            other => Self::Net(Box::new(other)),
        }
    }

    /// What an archive's reader could not do.
    pub(super) fn of_archive(file: &std::path::Path) -> impl Fn(ArchiveError) -> Self {
        move |error| match error {
            ArchiveError::Interrupted(interrupted) => Self::Interrupted(interrupted),
            source => Self::Archive {
                file: file.to_owned(),
                source: Box::new(source),
            },
        }
    }
}

impl AuthError {
    fn is_denial(&self) -> bool {
        !matches!(self, Self::Server { .. })
    }
}

/// What need not be so in an hour.
pub(super) fn may_pass(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Status { code, .. } => {
            matches!(code, 408 | 425 | 429 | 500 | 502..=504 | 506..=599)
        }
        Trouble::Name
        | Trouble::Connect(_)
        | Trouble::ConnectTimeout(_)
        | Trouble::Idle(_)
        | Trouble::Slow { .. }
        | Trouble::Broken(_)
        | Trouble::Short { .. }
        | Trouble::Unfit => true,
        Trouble::Url(_)
        | Trouble::Tls(_)
        | Trouble::Redirect(_)
        | Trouble::Protocol(_)
        | Trouble::Size { .. }
        | Trouble::TooLong(_)
        | Trouble::Digest(_)
        | Trouble::Unauthorized(_)
        | Trouble::File(_) => false,
    }
}

/// What can go wrong while an archive is read: with it, or with what is done with it.
pub(super) enum ArchiveFailure {
    Archive(ArchiveError),
    Oci(OciError),
}

impl From<ArchiveError> for ArchiveFailure {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<OciError> for ArchiveFailure {
    fn from(error: OciError) -> Self {
        Self::Oci(error)
    }
}

impl ArchiveFailure {
    /// The error, with the archive's name.
    pub(super) fn of(self, file: &std::path::Path) -> OciError {
        match self {
            Self::Oci(error) => error,
            Self::Archive(error) => OciError::of_archive(file)(error),
        }
    }
}

/// A stream's error, which may be the wish to stop.
pub(super) fn stream(error: io::Error) -> ArchiveError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(interrupted) => ArchiveError::Interrupted(*interrupted),
        None => ArchiveError::Read(error),
    }
}
