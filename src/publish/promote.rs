//! A verified artifact from one target to another: what is there already, what is to be done about
//! it, and the doing, in the order in which an upload puts things.

use std::path::Path;

use super::content::{Head, Mode, Put};
use super::copy::Way;
use super::error::PublishError;
use super::layout::{Keys, Role};
use super::remote::Remote;
use super::upload::{Papers, SIDECAR};
use crate::model::Sha256;
use crate::sys::interrupt::Interrupt;

/// An artifact as it was read and found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where its three objects are, in either target.
    pub keys: Keys,
    /// What was said of the tarball when it was read.
    pub head: Head,
    /// The tarball's digest.
    pub digest: Sha256,
    /// The text of its `.sha256`.
    pub sha256: Vec<u8>,
    /// The text of its record.
    pub record: Vec<u8>,
}

/// What a target has in the place of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// The same bytes.
    Same,
    /// A sidecar that says the same of the tarball in other words: an older pybuild's, say.
    Alike,
    /// Something else.
    Other,
}

/// What a target has of an artifact: of its tarball, its `.sha256` and its record.
pub type Has = [(Role, There); 3];

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Everything is there.
    Nothing,
    /// These are to be put, in this order.
    Put(Vec<(Role, Mode)>),
    /// Others are there, which are not to be replaced.
    Refused(Vec<Role>),
}

/// What to do about what a target has. With `overwrite` everything there is to be as it was read.
pub fn plan(has: &Has, overwrite: bool) -> Plan {
    let others = has.iter().filter(|(_, there)| *there == There::Other);
    let others: Vec<Role> = others.map(|(role, _)| *role).collect();
    if !others.is_empty() && !overwrite {
        return Plan::Refused(others);
    }
    let steps = has.iter().filter_map(|(role, there)| match there {
        There::Nothing => Some((*role, Mode::Create)),
        There::Other => Some((*role, Mode::Overwrite)),
        There::Alike if overwrite => Some((*role, Mode::Overwrite)),
        There::Same | There::Alike => None,
    });
    let steps: Vec<(Role, Mode)> = steps.collect();
    if steps.is_empty() {
        Plan::Nothing
    } else {
        Plan::Put(steps)
    }
}

impl Verified {
    fn papers(&self) -> Papers<'_> {
        Papers {
            digest: self.digest,
            sha256: &self.sha256,
            record: &self.record,
        }
    }

    /// What a target has of it. A tarball whose digest the target does not know is read.
    pub fn look(&self, to: &Remote, interrupt: &Interrupt) -> Result<Has, PublishError> {
        let mut has =
            [Role::Tarball, Role::Sha256, Role::Record].map(|role| (role, There::Nothing));
        for (role, there) in &mut has {
            *there = match role {
                Role::Tarball => self.tarball(to, interrupt)?,
                Role::Sha256 | Role::Record => self.sidecar(*role, to, interrupt)?,
            };
        }
        Ok(has)
    }

    fn tarball(&self, to: &Remote, interrupt: &Interrupt) -> Result<There, PublishError> {
        let key = &self.keys.tarball;
        let Some(head) = to.head(key, interrupt)? else {
            return Ok(There::Nothing);
        };
        let same = head.size == self.head.size
            && match head.has(&self.digest) {
                Some(same) => same,
                None => to.digest(key, interrupt)? == Some(self.digest),
            };
        Ok(if same { There::Same } else { There::Other })
    }

    fn sidecar(
        &self,
        role: Role,
        to: &Remote,
        interrupt: &Interrupt,
    ) -> Result<There, PublishError> {
        let theirs = match to.read_small(self.keys.key(role), SIDECAR, interrupt) {
            Ok(None) => return Ok(There::Nothing),
            Ok(Some(theirs)) => theirs,
            Err(PublishError::TooLong { .. }) => return Ok(There::Other),
            Err(error) => return Err(error),
        };
        let papers = self.papers();
        Ok(if theirs == papers.text(role) {
            There::Same
        } else if papers.says_the_same(&self.keys, role, &theirs) {
            There::Alike
        } else {
            There::Other
        })
    }

    /// Puts to a target what is to be put there: the tarball from where it was read, the sidecars
    /// as they were read. Says whether anything was written, and which way the tarball came.
    pub fn put(
        &self,
        (from, to): (&Remote, &Remote),
        steps: &[(Role, Mode)],
        scratch: &Path,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<(Put, Option<Way>), PublishError> {
        let (mut all, mut way) = (Put::AlreadySame, None);
        for (role, mode) in steps {
            let put = match role {
                Role::Tarball => {
                    let what = (&self.head, self.digest);
                    let key = &self.keys.tarball;
                    let (put, by) =
                        to.copy_from(from, key, what, *mode, scratch, progress, interrupt)?;
                    way = Some(by);
                    put
                }
                Role::Sha256 | Role::Record => {
                    self.papers().put(to, &self.keys, *role, *mode, interrupt)?
                }
            };
            if put == Put::Written {
                all = Put::Written;
            }
        }
        Ok((all, way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use There::{Alike, Nothing, Other, Same};

    #[test]
    fn what_is_done_follows_from_what_is_there() {
        let (create, replace) = (Mode::Create, Mode::Overwrite);
        let put = |steps: &[(Role, Mode)]| Plan::Put(steps.to_vec());
        let (tarball, sha256, record) = (Role::Tarball, Role::Sha256, Role::Record);
        let all = [(tarball, create), (sha256, create), (record, create)];
        let table = [
            ([Nothing, Nothing, Nothing], put(&all), put(&all)),
            ([Same, Same, Same], Plan::Nothing, Plan::Nothing),
            ([Same, Nothing, Nothing], put(&all[1..]), put(&all[1..])),
            ([Same, Same, Nothing], put(&all[2..]), put(&all[2..])),
            ([Nothing, Same, Same], put(&all[..1]), put(&all[..1])),
            (
                [Same, Alike, Alike],
                Plan::Nothing,
                put(&[(sha256, replace), (record, replace)]),
            ),
            (
                [Other, Nothing, Nothing],
                Plan::Refused(vec![tarball]),
                put(&[(tarball, replace), (sha256, create), (record, create)]),
            ),
            (
                [Other, Other, Other],
                Plan::Refused(vec![tarball, sha256, record]),
                put(&[(tarball, replace), (sha256, replace), (record, replace)]),
            ),
            (
                [Same, Same, Other],
                Plan::Refused(vec![record]),
                put(&[(record, replace)]),
            ),
        ];
        for (there, carefully, boldly) in table {
            let [a, b, c] = there;
            let has = [(tarball, a), (sha256, b), (record, c)];
            assert_eq!(plan(&has, false), carefully, "{there:?}");
            assert_eq!(plan(&has, true), boldly, "{there:?}");
        }
    }
}
