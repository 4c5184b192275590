//! What a system call that one uid cannot make asks for: read out of its arguments, which may be
//! anything.

use libc::c_long;
use nix::errno::Errno;

use crate::model::StampedDevice;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// chown(2) and its kin.
    Own {
        of: Place,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    /// mknod(2) of a device.
    Node {
        dir: i32,
        /// The address of the path.
        path: u64,
        mode: u32,
        device: StampedDevice,
    },
    /// setxattr(2) and its kin.
    Attribute {
        of: Place,
        /// The address of the name.
        name: u64,
        /// The address of the value, and its length.
        value: (u64, u64),
    },
}

/// Where something is, as a system call says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// What a descriptor is open on.
    Open(i32),
    /// A path.
    Path {
        /// The descriptor that it is relative to, or `AT_FDCWD`.
        dir: i32,
        /// Its address.
        path: u64,
        /// Whether a symlink at its end is followed.
        follow: bool,
        /// Whether an empty path means `dir`.
        empty: bool,
    },
}

impl Request {
    /// Of a call and its arguments.
    pub(super) fn of(call: i32, args: &[u64; 6]) -> Result<Self, Errno> {
        let here = libc::AT_FDCWD;
        let own = |of, [uid, gid]: [u64; 2]| Self::Own {
            of,
            uid: id(uid),
            gid: id(gid),
        };
        let attribute = |of| Self::Attribute {
            of,
            name: args[1],
            value: (args[2], args[3]),
        };
        let [first, second, third, fourth, fifth, _] = *args;
        Ok(match c_long::from(call) {
            libc::SYS_fchown => own(Place::Open(int(first)), [second, third]),
            libc::SYS_fchownat => own(at(int(first), second, int(fifth))?, [third, fourth]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => own(path(here, first, true), [second, third]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => own(path(here, first, false), [second, third]),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mknod => node(here, first, low(second), low(third)),
            libc::SYS_mknodat => node(int(first), second, low(third), low(fourth)),
            libc::SYS_setxattr => attribute(path(here, first, true)),
            libc::SYS_lsetxattr => attribute(path(here, first, false)),
            libc::SYS_fsetxattr => attribute(Place::Open(int(first))),
            _ => return Err(Errno::ENOSYS),
        })
    }
}

fn at(dir: i32, address: u64, flags: i32) -> Result<Place, Errno> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Place::Path {
        dir,
        path: address,
        follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        empty: flags & libc::AT_EMPTY_PATH != 0,
    })
}

fn path(dir: i32, address: u64, follow: bool) -> Place {
    Place::Path {
        dir,
        path: address,
        follow,
        empty: false,
    }
}

/// `new_decode_dev` of the kernel: `linux/kdev_t.h`.
fn node(dir: i32, path: u64, mode: u32, device: u32) -> Request {
    Request::Node {
        dir,
        path,
        mode: mode & 0o7777,
        device: StampedDevice {
            block: mode & libc::S_IFMT == libc::S_IFBLK,
            major: (device & 0xf_ff00) >> 8,
            minor: device & 0xff | (device >> 12) & 0xf_ff00,
        },
    }
}

/// An argument as the kernel takes it that is an `int` or shorter: its low half.
fn low(arg: u64) -> u32 {
    u32::try_from(arg & u64::from(u32::MAX)).expect("32 bits")
}

fn int(arg: u64) -> i32 {
    low(arg).cast_signed()
}

/// -1 leaves what is.
fn id(arg: u64) -> Option<u32> {
    Some(low(arg)).filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: u64 = 0xffff_ffff_ffff_ff9c;
    const P: u64 = 0x7fff_0000_1000;

    fn of(call: c_long, args: [u64; 5]) -> Result<Request, Errno> {
        let call = i32::try_from(call).expect("a number");
        let mut all = [u64::MAX; 6];
        all[..5].copy_from_slice(&args);
        Request::of(call, &all)
    }

    #[test]
    fn owners_are_read_as_the_kernel_reads_them() {
        let own = |of, uid, gid| Ok(Request::Own { of, uid, gid });
        let at = |dir, follow, empty| Place::Path {
            dir,
            path: P,
            follow,
            empty,
        };
        let minus = u64::MAX;
        let table = [
            (
                libc::SYS_fchown,
                [3, 0, minus, 9, 9],
                own(Place::Open(3), Some(0), None),
            ),
            // Only the low half is looked at.
            (
                libc::SYS_fchown,
                [1 << 32 | 3, 7 << 32 | 5, 0xffff_ffff, 9, 9],
                own(Place::Open(3), Some(5), None),
            ),
            (
                libc::SYS_fchownat,
                [HERE, P, 1, 2, 0],
                own(at(libc::AT_FDCWD, true, false), Some(1), Some(2)),
            ),
            (
                libc::SYS_fchownat,
                [7, P, 1, 2, 0x1100],
                own(at(7, false, true), Some(1), Some(2)),
            ),
            (libc::SYS_fchownat, [7, P, 1, 2, 0x400], Err(Errno::EINVAL)),
            (libc::SYS_read, [0; 5], Err(Errno::ENOSYS)),
        ];
        for (call, args, expected) in table {
            assert_eq!(of(call, args), expected, "{call} {args:x?}");
        }
    }

    #[test]
    fn device_numbers_are_read_as_the_kernel_reads_them() {
        let table = [
            (0o020_666, 0x103, (false, 1, 3)),
            (0o060_660, 0x801, (true, 8, 1)),
            (0o020_600, 0x1230_4501, (false, 0x45, 0x1_2301)),
        ];
        for (mode, number, (block, major, minor)) in table {
            let found = of(libc::SYS_mknodat, [HERE, P, mode, number, 0]);
            let device = StampedDevice {
                block,
                major,
                minor,
            };
            let expected = Request::Node {
                dir: libc::AT_FDCWD,
                path: P,
                mode: low(mode) & 0o7777,
                device,
            };
            assert_eq!(found, Ok(expected), "{number:#x}");
        }
    }

    #[test]
    fn attributes_are_of_what_the_call_names() {
        let found = of(libc::SYS_lsetxattr, [P, 1, 2, 20, 0]);
        let of_link = Place::Path {
            dir: libc::AT_FDCWD,
            path: P,
            follow: false,
            empty: false,
        };
        let expected = Request::Attribute {
            of: of_link,
            name: 1,
            value: (2, 20),
        };
        assert_eq!(found, Ok(expected));
    }
}
