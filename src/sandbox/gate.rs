//! Which of a host's settings a failure comes from.

use std::fs;

use nix::errno::Errno;

use super::error::Gate;
use super::op::{FileSystem, Op};
use super::wire::Failure;

/// What of this host bears on whether it can sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// `kernel.unprivileged_userns_clone` (Debian, Arch): whether it is 0.
    pub(super) reserved_for_root: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu): whether it is on.
    pub(super) apparmor: bool,
    /// Whether the root directory is not that of the mount namespace.
    pub(super) chroot: bool,
}

impl Settings {
    /// As they are now.
    pub(super) fn read() -> Self {
        let setting = |path: &str| fs::read_to_string(path).ok();
        let is = |path: &str, value: &str| setting(path).is_some_and(|text| text.trim() == value);
        Self {
            reserved_for_root: is("/proc/sys/kernel/unprivileged_userns_clone", "0"),
            apparmor: is(
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1",
            ),
            chroot: is_chroot(),
        }
    }
}

/// Every mount namespace's root is in its `mountinfo` as `/`; where this process sees none it has
/// been moved elsewhere.
fn is_chroot() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    let has_root = mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/"));
    !has_root
}

/// The gate that `step` failed at, if it is the host that stands in the way and not something
/// about this one sandbox.
pub(super) fn of(step: &Op, failure: &Failure, settings: Settings) -> Option<Gate> {
    let errno = failure.errno()?;
    let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
    match step {
        Op::Unshare { .. } => match errno {
            Errno::ENOSPC | Errno::EUSERS => Some(Gate::Maximum),
            Errno::EINVAL | Errno::ENOSYS => Some(Gate::NotBuilt),
            Errno::EPERM | Errno::EACCES => Some(denied(settings)),
            _ => None,
        },
        // Where AppArmor restricts them namespaces can be made, and then nothing done in them.
        Op::MapIdentity { .. }
        | Op::SetHostname { .. }
        | Op::RaiseLoopback
        | Op::MakeMountsPrivate
            if refused =>
        {
            Some(denied(settings))
        }
        Op::MountOverlay { .. } | Op::MountOverlayInMemory { .. }
            if refused && settings.apparmor =>
        {
            Some(Gate::AppArmor)
        }
        Op::Mount {
            kind: FileSystem::Proc,
            ..
        } if refused => Some(Gate::MaskedProc),
        _ => None,
    }
}

fn denied(settings: Settings) -> Gate {
    let Settings {
        reserved_for_root,
        apparmor,
        chroot,
    } = settings;
    if reserved_for_root {
        Gate::Sysctl
    } else if apparmor {
        Gate::AppArmor
    } else if chroot {
        Gate::Chroot
    } else {
        Gate::Denied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errno: Errno) -> Failure {
        Failure::Call {
            call: "call".to_owned(),
            args: String::new(),
            errno: errno as i32,
        }
    }

    #[test]
    fn each_failure_names_its_gate() {
        let none = Settings {
            reserved_for_root: false,
            apparmor: false,
            chroot: false,
        };
        let sysctl = Settings {
            reserved_for_root: true,
            ..none
        };
        let apparmor = Settings {
            apparmor: true,
            ..none
        };
        let chroot = Settings {
            chroot: true,
            ..none
        };
        let unshare = || Op::Unshare {
            namespaces: Vec::new(),
        };
        let proc = || Op::Mount {
            kind: FileSystem::Proc,
            target: "/proc".parse().expect("a path"),
        };
        let table = [
            (unshare(), Errno::ENOSPC, none, Some(Gate::Maximum)),
            (unshare(), Errno::EINVAL, none, Some(Gate::NotBuilt)),
            (unshare(), Errno::EPERM, none, Some(Gate::Denied)),
            (unshare(), Errno::EPERM, sysctl, Some(Gate::Sysctl)),
            (unshare(), Errno::EPERM, chroot, Some(Gate::Chroot)),
            (unshare(), Errno::ENOMEM, none, None),
            (
                Op::RaiseLoopback,
                Errno::EPERM,
                apparmor,
                Some(Gate::AppArmor),
            ),
            (proc(), Errno::EPERM, none, Some(Gate::MaskedProc)),
            (proc(), Errno::ELOOP, none, None),
            (Op::PivotRoot, Errno::EPERM, apparmor, None),
        ];
        for (step, errno, settings, gate) in table {
            assert_eq!(of(&step, &failed(errno), settings), gate, "{step} {errno}");
        }
    }
}
