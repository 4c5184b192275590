//! What the edge of the program knows about each room's errors: the exit code, and what to do.

mod image;
mod matrix;
mod mirror;
mod publish;
mod script;
mod stack;
mod suite;

use miette::{LabeledSpan, MietteDiagnostic, NamedSource};

use super::delivery::DeliveryError;
use super::steward::StewardError;
use crate::archive::ArchiveError;
use crate::artifact::failure::Failed;
use crate::artifact::package::PackageError;
use crate::artifact::prefix::PrefixError;
use crate::artifact::proof::ProofError;
use crate::build::{BuildError, FailedStep};
use crate::formula::FormulaError;
use crate::net::NetError;
use crate::rootfs::debian::DebianError;
use crate::rootfs::lock::Drift;
use crate::rootfs::{CatalogError, ManifestError, RootfsError};
use crate::sandbox::{Gate, HostError, PlanError, SandboxError};
use crate::store::StoreError;
use crate::sys::call::CallError;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupted;
use crate::ui::{Excerpt, ExitKind, Failure};

/// Marks a bug of pybuild's own: asks to be told of it.
const BUG: &str = "this is a bug in pybuild: please report it with the command that showed it";

/// What to do about a place that gives something else than it should.
const UNTRUSTED: &str = "nothing was kept; do not use what these places give before you know why";

impl From<Interrupted> for Failure {
    fn from(error: Interrupted) -> Self {
        let kind = ExitKind::Signal(error.0 as i32);
        Self::new(kind, error).hint("run the same command again to go on where it stopped")
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        let (full, read_only) = (error.is_full(), error.is_read_only());
        let failure = Self::new(ExitKind::TryAgain, error);
        if full {
            failure.hint(
                "make room on that file system, or choose another with --store or PYBUILD_HOME",
            )
        } else if read_only {
            failure
                .hint("choose a directory that this user may write to with --store or PYBUILD_HOME")
        } else {
            failure
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(
            ExitKind::TryAgain,
            format!("cannot write to standard output: {error}"),
        )
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fs(error) => error.into(),
            StoreError::Interrupted(error) => error.into(),
            error @ StoreError::Layout { .. } => Self::new(ExitKind::Usage, error)
                .hint("choose another store with --store or PYBUILD_HOME, or remove this one"),
        }
    }
}

impl From<StewardError> for Failure {
    fn from(error: StewardError) -> Self {
        let hint = match &error {
            StewardError::RunAsRoot => "give --run-as an ordinary user's uid",
            StewardError::NotRoot => "leave --run-as away: builds run as you",
            StewardError::RootsStore(_) => {
                "give it to the user that builds are to run as (chown -R), or choose another with \
                 --store or PYBUILD_HOME"
            }
            StewardError::Store(_) => "choose another directory with --store or PYBUILD_HOME",
            StewardError::Become { .. } => "see `pybuild doctor`",
        };
        match error {
            // No other than what a user meets who is not root.
            StewardError::Store(error) if error.is_full() || error.is_read_only() => error.into(),
            error => Self::new(ExitKind::Usage, error).hint(hint),
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        let hint =
            "choose another output directory with --output; what was built is kept in the store";
        match error {
            error @ DeliveryError::Taken(_) => Self::new(ExitKind::Usage, error)
                .hint("choose another --output, or remove what is there"),
            error @ DeliveryError::Busy(_) => {
                Self::new(ExitKind::TryAgain, error).hint("wait for it, or choose another --output")
            }
            error => Self::new(ExitKind::TryAgain, error).hint(hint),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::new(ExitKind::TryAgain, error)
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(ExitKind::CannotSandbox, error).hint("see `pybuild doctor`")
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(ExitKind::Usage, error)
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Interrupted(error) => error.into(),
            SandboxError::Plan(error) => error.into(),
            SandboxError::Call(error) => error.into(),
            SandboxError::Host { gate, .. } => Self::new(ExitKind::CannotSandbox, error)
                .hint(remedy(gate))
                .hint("`pybuild doctor` tries everything that a sandbox needs"),
            SandboxError::Command(_) => Self::new(ExitKind::BuildFailed, error),
            SandboxError::Died(_) => Self::new(ExitKind::TryAgain, error)
                .hint("the kernel's log (dmesg) says whether memory ran out"),
            SandboxError::Setup { .. } | SandboxError::Start { .. } => {
                Self::new(ExitKind::CannotSandbox, error).hint("see `pybuild doctor`")
            }
        }
    }
}

/// What an administrator does about a host that keeps its users from sandboxing.
fn remedy(gate: Gate) -> &'static str {
    match gate {
        Gate::NotBuilt => "use a kernel with CONFIG_USER_NS",
        Gate::Maximum => "as root: sysctl -w user.max_user_namespaces=15000",
        Gate::Sysctl => "as root: sysctl -w kernel.unprivileged_userns_clone=1",
        Gate::AppArmor => {
            "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give pybuild an \
             AppArmor profile that says `userns,`"
        }
        Gate::Chroot => "run pybuild outside the chroot",
        Gate::Denied => {
            "in a container: run it with --security-opt seccomp=unconfined (docker, podman), or \
             allow user namespaces in the security module's policy"
        }
        Gate::MaskedProc => {
            "in a container: run it with --security-opt unmask=ALL (podman), systempaths=unconfined \
             (docker), or procMount: Unmasked (Kubernetes)"
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Interrupted(error) => error.into(),
            NetError::Store(error) => error.into(),
            NetError::Full(error) | NetError::ReadOnly(error) => error.into(),
            // Whoever gives other bytes today will give them tomorrow.
            error @ NetError::WrongDigest { .. } => {
                Self::new(ExitKind::BuildFailed, error).hint(UNTRUSTED)
            }
            error @ (NetError::Failed { .. } | NetError::Client(_) | NetError::Stopped) => {
                Self::new(ExitKind::TryAgain, error)
            }
        }
    }
}

impl From<FormulaError> for Failure {
    fn from(error: FormulaError) -> Self {
        match error {
            FormulaError::Fs(error) => error.into(),
            error => Self::new(ExitKind::Usage, error.to_string()).diagnostic(error),
        }
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let ManifestError {
            file,
            text,
            span,
            message,
            nearest,
        } = error;
        let label = LabeledSpan::at(span, message.clone());
        let diagnostic = MietteDiagnostic::new(message.clone()).with_label(label);
        let report = miette::Report::new(diagnostic).with_source_code(NamedSource::new(file, text));
        let failure = Self::new(ExitKind::Usage, message).diagnostic(report);
        match nearest {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        }
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Fs(error) => error.into(),
            CatalogError::Manifest(error) => (*error).into(),
            error @ CatalogError::Misnamed { .. } => Self::new(ExitKind::Usage, error),
            CatalogError::Unknown {
                name,
                nearest,
                known,
            } => {
                let failure = Self::new(ExitKind::Usage, format!("there is no stack `{name}`"));
                let known: Vec<&str> = known.iter().map(crate::model::StackName::as_str).collect();
                match nearest {
                    Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
                    None => failure.hint(format!("there are {}", known.join(", "))),
                }
            }
        }
    }
}

impl From<RootfsError> for Failure {
    fn from(error: RootfsError) -> Self {
        match error {
            RootfsError::Fs(error) => error.into(),
            RootfsError::Store(error) => error.into(),
            RootfsError::Debian { stack, source } => debian(&stack.to_string(), *source),
            RootfsError::Base { stack, source } => image::base(&stack, *source),
            RootfsError::Drift {
                ref stack,
                ref drift,
            } => {
                let again = format!(
                    "`pybuild stack lock {stack}` locks what there is now; --unlocked goes on \
                     without the lock"
                );
                let old = matches!(drift, Drift::Packages(_) | Drift::Gone(_)).then_some(
                    "what was locked can still be had where old versions are kept: a snapshot of the \
                     archive, given as --debian-mirror or as packages.sources",
                );
                let failure = Self::new(ExitKind::Found, error).hint(again);
                old.into_iter().fold(failure, Failure::hint)
            }
            RootfsError::Unlockable { ref stack } => {
                let hint = format!("`pybuild stack pull {stack}` prepares it anew");
                Self::new(ExitKind::Usage, error).hint(hint)
            }
            RootfsError::Mirror { stack, source, .. } => mirror::taking(&stack, *source),
            error @ RootfsError::NoMirror { .. } => Self::new(ExitKind::Usage, error)
                .hint("`pybuild stack push` puts a stack there, from a host that has it")
                .hint("a manifest may name other places after the mirror"),
            error @ RootfsError::Architecture { .. } => Self::new(ExitKind::Usage, error),
            error @ RootfsError::Nowhere { .. } => Self::new(ExitKind::Usage, error).hint(
                "put one of them where its manifest says, or give a manifest of your own with \
                 --manifests DIR",
            ),
        }
    }
}

fn debian(stack: &str, error: DebianError) -> Failure {
    let said = format!("the stack {stack} cannot be bootstrapped: {error}");
    match error {
        DebianError::Net(error @ NetError::WrongDigest { .. }) => {
            Failure::new(Failure::from(error).exit(), said)
                .hint(UNTRUSTED)
                .hint("PYBUILD_DEBIAN_MIRROR names another mirror")
        }
        DebianError::Net(
            error @ (NetError::Failed { .. } | NetError::Client(_) | NetError::Stopped),
        ) => Failure::new(Failure::from(error).exit(), said).hint(
            "PYBUILD_DEBIAN_MIRROR names another mirror; run the same command again to go on",
        ),
        // It is this host's doing, not the mirror's.
        DebianError::Net(error) => error.into(),
        DebianError::Fs(error) => error.into(),
        DebianError::Store(error) => error.into(),
        DebianError::Interrupted(error) => error.into(),
        DebianError::Sandbox(error) => error.into(),
        DebianError::NoMirror => Failure::new(ExitKind::Usage, said).hint(
            "set PYBUILD_DEBIAN_MIRROR to the address of a Debian mirror (http://…/debian), or \
             give it as --debian-mirror",
        ),
        DebianError::Keyring { .. } | DebianError::Resolve(_) => {
            Failure::new(ExitKind::Usage, said)
        }
        DebianError::Signature { .. } | DebianError::Release { .. } => {
            Failure::new(ExitKind::BuildFailed, said).hint(
                "see that this host's clock is right, and that the mirror is whole and up to date",
            )
        }
        DebianError::Configure { log, .. } | DebianError::NotInstalled { log, .. } => {
            Failure::new(ExitKind::BuildFailed, said).hint(format!("it printed last:\n{log}"))
        }
        DebianError::Decode { .. }
        | DebianError::Read { .. }
        | DebianError::Index(_)
        | DebianError::Package { .. }
        | DebianError::SamePath { .. }
        | DebianError::Hidden { .. }
        | DebianError::Outside { .. } => Failure::new(ExitKind::BuildFailed, said),
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Fs(error) => error.into(),
            ArchiveError::Interrupted(error) => error.into(),
            error => Self::new(ExitKind::BuildFailed, error),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Store(error) => error.into(),
            BuildError::Fs(error)
            | BuildError::Unpack {
                source: ArchiveError::Fs(error),
                ..
            } => error.into(),
            BuildError::Sandbox(error) => error.into(),
            BuildError::Unpack {
                source: ArchiveError::Interrupted(error),
                ..
            } => error.into(),
            error @ BuildError::Unpack { .. } => Self::new(ExitKind::BuildFailed, error),
            error @ BuildError::Command { .. } => Self::new(ExitKind::BuildFailed, error)
                .hint("the formula's step names a program that the stack does not have"),
            BuildError::Step(failed) => {
                let FailedStep {
                    command,
                    excerpt,
                    log,
                    ..
                } = failed.as_ref();
                let command = format!("the command was: {command}");
                let excerpt = Excerpt {
                    lines: excerpt.clone(),
                    log: log.clone(),
                };
                Self::new(script::exit(&failed), BuildError::Step(failed))
                    .excerpt(excerpt)
                    .hint(command)
                    .hint("`pybuild log` shows everything it printed")
                    .hint("--shell-on-failure opens a shell in the sandbox where it failed")
            }
        }
    }
}

impl From<PrefixError> for Failure {
    fn from(error: PrefixError) -> Self {
        match error {
            PrefixError::Fs(error) => error.into(),
            error => Self::new(ExitKind::BuildFailed, error),
        }
    }
}

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Fs(error) => error.into(),
            ProofError::Store(error) => error.into(),
            ProofError::Interrupted(error) => error.into(),
            ProofError::Sandbox { source, .. } => source.into(),
            ProofError::Tree(error) => Self::new(ExitKind::BuildFailed, error),
            ProofError::Failed(failed @ Failed { .. }) => Self::new(ExitKind::BuildFailed, failed)
                .hint("nothing was packaged; `pybuild log` shows how it was built"),
        }
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        match error {
            PackageError::Fs(error) => error.into(),
            PackageError::Store(error) => error.into(),
            PackageError::Archive(error) => error.into(),
            PackageError::Interrupted(error) => error.into(),
            error @ PackageError::Differs { .. } => Self::new(ExitKind::BuildFailed, error)
                .hint(BUG)
                .hint("the store keeps the first; --check-reproducible shows which files differ"),
            error @ PackageError::Corrupt { .. } => Self::new(ExitKind::TryAgain, error),
        }
    }
}
