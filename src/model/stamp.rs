//! What is written on a file while a root is being prepared: whose it would be, if there were more
//! than one user.
//!
//! A stamp is an extended attribute, so that it goes where the file goes: through renames, to its
//! other names, and up with a file of a lower layer that an overlay copies before it is changed. It
//! is taken off again before the layer is kept.

use std::ffi::CStr;
use std::fmt;

/// An owner that a file cannot have, or what it would be if it were no placeholder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The owner; `None` if nobody has said one.
    pub uid: Option<u32>,
    /// The group; `None` if nobody has said one.
    pub gid: Option<u32>,
    /// Whether it was given to root by who may have meant to give it to whom another file belongs:
    /// all are root's there, as far as can be seen.
    pub unsure: bool,
    /// The device that this empty file stands for.
    pub device: Option<StampedDevice>,
}

/// A device node, as far as a stamp says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StampedDevice {
    /// Whether it is a block device; a character device otherwise.
    pub block: bool,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

impl Stamp {
    /// The attribute that holds a stamp, as text.
    pub const ATTRIBUTE: &CStr = c"user.pybuild.owner";
    /// The attribute that holds what would be `security.capability`.
    pub const CAPABILITY: &CStr = c"user.pybuild.capability";

    /// Of an owner and a group.
    pub fn of(uid: u32, gid: u32) -> Self {
        Self {
            uid: Some(uid),
            gid: Some(gid),
            ..Self::default()
        }
    }

    /// With what `later` says, where it says something.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            uid: later.uid.or(self.uid),
            gid: later.gid.or(self.gid),
            unsure: later.unsure,
            device: later.device.or(self.device),
        }
    }

    /// What [`fmt::Display`] has written.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let id = |text: &str| match text {
            "" => Some(None),
            digits => digits.parse().ok().map(Some),
        };
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let (uid, gid) = words.next()?.split_once(':')?;
        let (uid, gid) = (id(uid)?, id(gid)?);
        let mut next = words.next();
        let unsure = next == Some("?");
        if unsure {
            next = words.next();
        }
        let device = match next {
            None => None,
            Some(kind @ ("b" | "c")) => Some(StampedDevice {
                block: kind == "b",
                major: words.next()?.parse().ok()?,
                minor: words.next()?.parse().ok()?,
            }),
            Some(_) => return None,
        };
        let stamp = Self {
            uid,
            gid,
            unsure,
            device,
        };
        words.next().is_none().then_some(stamp)
    }
}

impl fmt::Display for Stamp {
    /// `0:42`, `:8`, `0:0 ?`, `0:5 c 5 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            uid,
            gid,
            unsure,
            device,
        } = self;
        if let Some(uid) = uid {
            write!(f, "{uid}")?;
        }
        f.write_str(":")?;
        if let Some(gid) = gid {
            write!(f, "{gid}")?;
        }
        if *unsure {
            f.write_str(" ?")?;
        }
        if let Some(StampedDevice {
            block,
            major,
            minor,
        }) = device
        {
            let kind = if *block { 'b' } else { 'c' };
            write!(f, " {kind} {major} {minor}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else() {
        let device = StampedDevice {
            block: true,
            major: 8,
            minor: 1 << 18,
        };
        let table = [
            (Stamp::default(), ":"),
            (
                Stamp {
                    gid: Some(8),
                    ..Stamp::default()
                },
                ":8",
            ),
            (
                Stamp {
                    device: Some(device),
                    ..Stamp::of(u32::MAX - 1, 0)
                },
                "4294967294:0 b 8 262144",
            ),
            (
                Stamp {
                    unsure: true,
                    ..Stamp::of(0, 0)
                },
                "0:0 ?",
            ),
        ];
        for (stamp, text) in table {
            assert_eq!(stamp.to_string(), text);
            assert_eq!(Stamp::parse(text.as_bytes()), Some(stamp), "{text}");
        }
        for text in [
            "",
            "0",
            "0:x",
            "-1:0",
            "0:0 d 1 2",
            "0:0 c 1",
            "0:0 c 1 2 3",
            "0:0 ",
            "0:0 ??",
            "\u{e9}:",
        ] {
            assert_eq!(Stamp::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_said_later_counts() {
        let stamp = |uid, gid| Stamp {
            uid,
            gid,
            ..Stamp::default()
        };
        let table = [
            ((None, None), (Some(1), None), (Some(1), None)),
            ((Some(1), Some(2)), (None, Some(3)), (Some(1), Some(3))),
            ((Some(1), Some(2)), (Some(0), Some(0)), (Some(0), Some(0))),
        ];
        for (before, later, expected) in table {
            let both = stamp(before.0, before.1).then(stamp(later.0, later.1));
            assert_eq!(both, stamp(expected.0, expected.1));
        }
    }
}
