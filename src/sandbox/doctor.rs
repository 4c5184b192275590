//! What this host can do for sandboxes, each thing tried for real, with a remedy where it cannot.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::utsname::uname;

use super::error::{Gate, SandboxError};
use super::launch::Launcher;
use super::op::{FileSystem, Op};
use super::plan::own_namespaces;
use super::probe::{Host, Rooting, kernel_version};
use super::spec::{Identity, Network, Privileges};
use crate::model::{Elapsed, GuestPath};
use crate::sys::fs::{FsError, create_dir_all, remove_tree};
use crate::sys::landlock;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What would make it better, if something would.
    pub remedy: Option<String>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Sandboxes work, but slower or less strictly.
    Degraded,
    /// No sandbox works without it.
    Missing,
}

/// Tries everything that a sandbox needs. `scratch` is a directory where roots are going to be
/// made; nothing stays in it.
pub fn examine(scratch: &Path) -> Vec<Finding> {
    examine_by(&Launcher::default(), scratch)
}

/// The same, by another launcher's executable.
pub fn examine_by(launcher: &Launcher, scratch: &Path) -> Vec<Finding> {
    let room = scratch.join(format!("doctor-{}", std::process::id()));
    let findings = match Examination::open(launcher, scratch, &room) {
        Ok(examination) => examination.findings(),
        Err(detail) => vec![Finding {
            what: "scratch directory",
            verdict: Verdict::Missing,
            detail,
            remedy: Some(format!(
                "make {} writable, or use another directory",
                scratch.display()
            )),
        }],
    };
    let _ = remove_tree(&room);
    findings
}

/// What a person can do about a gate. `exe` is the path of this program.
pub fn remedy(gate: Gate, exe: &Path) -> String {
    let exe = exe.display();
    match gate {
        Gate::NotBuilt => "use a kernel with CONFIG_USER_NS=y; on RHEL 7 boot with \
            user_namespace.enable=1 namespace.unpriv_enable=1"
            .to_owned(),
        Gate::Maximum => {
            "sysctl user.max_user_namespaces=15000 (and its kin, user.max_*_namespaces); \
            in a sandbox or container, that of the host"
                .to_owned()
        }
        Gate::Sysctl => "sysctl kernel.unprivileged_userns_clone=1".to_owned(),
        Gate::AppArmor => format!(
            "allow it for this program: write\n    \
             abi <abi/4.0>,\n    \
             include <tunables/global>\n    \
             profile pybuild {exe} flags=(unconfined) {{ userns, }}\n\
             to /etc/apparmor.d/pybuild and run apparmor_parser -r /etc/apparmor.d/pybuild; \
             or for all programs: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        ),
        Gate::Chroot => {
            "run it outside the chroot, or in a container (pivot_root) instead".to_owned()
        }
        Gate::Denied => "in a container, allow its processes user namespaces: docker run \
            --security-opt seccomp=unconfined --security-opt systempaths=unconfined; elsewhere ask \
            the security module (SELinux: setsebool -P user_namespace on)"
            .to_owned(),
        Gate::MaskedProc => "show the container's whole /proc: docker run --security-opt \
            systempaths=unconfined, podman run --security-opt unmask=ALL, Kubernetes procMount: \
            Unmasked"
            .to_owned(),
    }
}

struct Examination<'a> {
    launcher: &'a Launcher,
    host: Host,
    room: &'a Path,
}

impl<'a> Examination<'a> {
    fn open(launcher: &'a Launcher, scratch: &Path, room: &'a Path) -> Result<Self, String> {
        let host = Host::probe(scratch).map_err(|error| error.to_string())?;
        let make = || {
            remove_tree(room)?;
            for name in ["lower", "upper", "work"] {
                let dir = room.join(name);
                create_dir_all(&dir)?;
                if host.is_root() {
                    let Identity { uid, gid } = host.outside();
                    chown(&dir, Some(uid), Some(gid)).map_err(FsError::new("chown", &dir))?;
                }
            }
            let lower = room.join("lower/file");
            fs::write(&lower, "").map_err(FsError::new("write", &lower))
        };
        make().map_err(|error: FsError| error.to_string())?;
        Ok(Self {
            launcher,
            host,
            room,
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![kernel(), self.identity()];
        let namespaces = self.trial("namespaces", "user, mount, pid, ipc, uts, network", &[]);
        let works = namespaces.verdict == Verdict::Fine;
        findings.push(namespaces);
        if works {
            findings.extend([
                self.trial(
                    "loopback",
                    "lo is up in its own network",
                    &[Op::RaiseLoopback],
                ),
                self.root(),
                self.trial(
                    "fresh /proc",
                    "mounted",
                    &[
                        Op::BecomeInit,
                        Op::MakeMountsPrivate,
                        self.any_root(),
                        mount(FileSystem::Proc, "/proc"),
                    ],
                ),
                self.trial(
                    "system call filter",
                    "installed",
                    &[
                        Op::NoNewPrivileges,
                        Op::FilterCalls {
                            privileges: Privileges::Build,
                        },
                    ],
                ),
            ]);
        }
        findings.push(landlock_scopes());
        findings.push(self.execution());
        if works {
            findings.push(self.start());
        }
        findings
    }

    fn identity(&self) -> Finding {
        let Identity { uid, gid } = self.host.outside();
        let who = if self.host.is_root() {
            "root becomes"
        } else {
            "this user,"
        };
        fine("identity", format!("{who} uid {uid}, gid {gid}"))
    }

    /// Steps after the namespaces, in a process of their own.
    fn trial(&self, what: &'static str, good: &str, steps: &[Op]) -> Finding {
        match self.try_steps(steps) {
            Ok(()) => fine(what, good.to_owned()),
            Err(error) => missing(what, &error),
        }
    }

    fn try_steps(&self, steps: &[Op]) -> Result<(), SandboxError> {
        let outside = self.host.outside();
        let mut plan = Vec::new();
        if self.host.is_root() {
            plan.push(Op::BecomeUser { identity: outside });
        }
        let cgroup = self.host.has_cgroup_namespaces();
        plan.push(Op::Unshare {
            namespaces: own_namespaces(Network::None, cgroup),
        });
        plan.push(Op::MapIdentity {
            inside: Identity::BUILDER,
            outside,
        });
        // Where a security module takes the rights away, this is the first to notice.
        plan.push(Op::SetHostname {
            name: "doctor".to_owned(),
        });
        plan.extend_from_slice(steps);
        self.launcher.try_out(plan)
    }

    fn paths(&self) -> (Vec<PathBuf>, PathBuf, PathBuf) {
        let at = |name: &str| self.room.join(name);
        (vec![at("lower")], at("upper"), at("work"))
    }

    fn overlay(&self) -> Op {
        let (layers, upper, work) = self.paths();
        Op::MountOverlay {
            layers,
            upper,
            work,
        }
    }

    /// A root that can be mounted on, however it is put together.
    fn any_root(&self) -> Op {
        let (layers, upper, work) = self.paths();
        match self.host.rooting() {
            Rooting::Overlay => self.overlay(),
            Rooting::Fuse { .. } | Rooting::Copy => Op::CopyLayers {
                layers,
                upper,
                work,
            },
        }
    }

    fn root(&self) -> Finding {
        let what = "root file system";
        let steps = |mount: Op| [Op::BecomeInit, Op::MakeMountsPrivate, mount, Op::ChangeRoot];
        match self.try_steps(&steps(self.overlay())) {
            Ok(()) => fine(what, "overlay, with whiteouts and renames".to_owned()),
            Err(error) => {
                let instead = super::probe::without_overlay(self.host.is_root());
                let instead = match instead {
                    Rooting::Fuse { program } => format!("by {}", program.display()),
                    Rooting::Overlay | Rooting::Copy => "by copying layers".to_owned(),
                };
                Finding {
                    what,
                    verdict: Verdict::Degraded,
                    detail: format!("{instead}, since: {error}"),
                    remedy: Some(
                        "put the store on a local file system (ext4, xfs, btrfs), with Linux 5.11 \
                         or newer; or install fuse-overlayfs"
                            .to_owned(),
                    ),
                }
            }
        }
    }

    /// Whether files in the store can be executed.
    fn execution(&self) -> Finding {
        let what = "programs in the store";
        let file = self.room.join("program");
        let run = || {
            fs::write(&file, "#!/bin/sh\nexit 0\n")?;
            fs::set_permissions(&file, Permissions::from_mode(0o755))?;
            Command::new(&file).status()
        };
        match run() {
            Ok(status) if status.success() => fine(what, "can be executed".to_owned()),
            result => Finding {
                what,
                verdict: Verdict::Missing,
                detail: match result {
                    Ok(status) => format!("{}: {status}", file.display()),
                    Err(error) => format!("{}: {error}", file.display()),
                },
                remedy: Some("put the store on a file system mounted without noexec".to_owned()),
            },
        }
    }

    /// How long it takes until a command could run.
    fn start(&self) -> Finding {
        let started = Instant::now();
        let steps = [
            Op::RaiseLoopback,
            Op::BecomeInit,
            Op::MakeMountsPrivate,
            self.any_root(),
            mount(FileSystem::Proc, "/proc"),
            mount(FileSystem::DevPts, "/dev"),
            Op::PivotRoot,
            Op::KeepCapabilities { keep: Vec::new() },
            Op::NoNewPrivileges,
            Op::FilterCalls {
                privileges: Privileges::Build,
            },
        ];
        match self.try_steps(&steps) {
            Ok(()) => fine("starting a sandbox", Elapsed(started.elapsed()).to_string()),
            Err(error) => missing("starting a sandbox", &error),
        }
    }
}

fn kernel() -> Finding {
    let release = uname().map_or_else(
        |errno| errno.to_string(),
        |name| name.release().to_string_lossy().into_owned(),
    );
    let is_new = kernel_version(&release) >= (5, 11);
    Finding {
        what: "kernel",
        verdict: if is_new {
            Verdict::Fine
        } else {
            Verdict::Degraded
        },
        remedy: (!is_new).then(|| "Linux 5.11 or newer has unprivileged overlays".to_owned()),
        detail: release,
    }
}

fn landlock_scopes() -> Finding {
    let what = "abstract sockets";
    let version = landlock::version();
    if version >= landlock::SCOPES {
        return fine(what, format!("out of reach (Landlock {version})"));
    }
    Finding {
        what,
        verdict: Verdict::Degraded,
        detail: "in reach of sandboxes that use the host's network".to_owned(),
        remedy: Some("Linux 6.12 or newer, with Landlock".to_owned()),
    }
}

fn fine(what: &'static str, detail: String) -> Finding {
    Finding {
        what,
        verdict: Verdict::Fine,
        detail,
        remedy: None,
    }
}

fn missing(what: &'static str, error: &SandboxError) -> Finding {
    let exe = std::env::current_exe().unwrap_or_default();
    Finding {
        what,
        verdict: Verdict::Missing,
        detail: error.to_string(),
        remedy: match error {
            SandboxError::Host { gate, .. } => Some(remedy(*gate, &exe)),
            _ => None,
        },
    }
}

fn mount(kind: FileSystem, target: &str) -> Op {
    let target: GuestPath = target.parse().expect("an absolute path");
    Op::Mount { kind, target }
}
