//! Large files in parts: several at a time, each with its digest, in constant memory, and gone on
//! with after a kill.
//!
//! Nothing is kept on this host for that: the store itself is asked which parts of which upload
//! it has, and their digests say whether they are ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use reqwest::Method;

use super::put::{Sent, corrupted, read_part};
use super::refusal::No;
use super::request::{Answer, Ask, Failure};
use super::xml::{
    self, InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult,
};
use super::{S3, to_base64};
use crate::model::{Hasher, Sha256};
use crate::publish::content::{Content, StaleUpload};
use crate::publish::error::PublishError;
use crate::publish::wire::Meter;
use crate::sys::interrupt::Interrupt;

/// What a part has at least; S3 asks for 5 MiB.
pub(super) const PART: u64 = 8 << 20;
/// How many parts there are at most; S3 allows 10,000.
const PARTS: u64 = 8_000;
/// How many parts are under way at once: as many are in memory, and one more.
const PARALLEL: usize = 4;

/// What each part but the last has.
fn part_size(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

/// The digest over the digests of a file's parts, if there are so many when it is cut as here.
pub(super) fn composite(
    file: &File,
    size: u64,
    parts: u64,
    interrupt: &Interrupt,
) -> Result<Option<Sha256>, PublishError> {
    let part = part_size(size);
    if size.div_ceil(part) != parts {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    let mut at = 0;
    while at < size {
        interrupt.check()?;
        let bytes = read_part(file, at, part.min(size - at))?;
        hasher.update(Sha256::of(&bytes).as_bytes());
        at += bytes.len() as u64;
    }
    Ok(Some(hasher.finish()))
}

/// What is sent.
struct Source<'a> {
    key: &'a str,
    file: &'a File,
    size: u64,
    digest: Sha256,
    part: u64,
    create: bool,
}

/// An upload under way, and its parts that are there.
struct Upload {
    id: String,
    had: BTreeMap<u32, Part>,
}

#[derive(Clone)]
struct Part {
    etag: String,
    sha256: Option<String>,
}

/// Why an upload did not come to its end.
enum Stop {
    /// Somebody else has ended it, or changed its parts.
    Lost,
    Error(PublishError),
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        Self::Error(error)
    }
}

impl S3 {
    pub(super) fn multipart(
        &self,
        key: &str,
        content: &Content<'_>,
        create: bool,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Sent, PublishError> {
        let Content::File { file, size, digest } = *content else {
            let why = "a document is too large to be one".to_owned();
            return Err(PublishError::Client(why));
        };
        let source = Source {
            key,
            file,
            size,
            digest,
            part: part_size(size),
            create,
        };
        let left = self.left_behind(key, interrupt)?;
        let mut resumable = self.resumable(&source, &left, interrupt)?;
        // One that was resumed may be taken away by whoever began it; a new one is ours alone.
        for last in [false, true] {
            let upload = match resumable.take() {
                Some(upload) => upload,
                None => self.begin(key, interrupt)?,
            };
            let id = upload.id.clone();
            match self.finish(&source, upload, progress, interrupt) {
                Ok(sent) => {
                    self.give_up(&left, &id, matches!(sent, Sent::Done));
                    return Ok(sent);
                }
                Err(Stop::Lost) => {
                    // It may be that a completion succeeded whose answer was lost.
                    if let Some(known) = self.known(key, interrupt)?
                        && self.compare(key, content, &known, interrupt).is_ok()
                    {
                        return Ok(Sent::Done);
                    }
                    if last {
                        return Err(PublishError::Changed {
                            target: self.shown.clone(),
                            key: key.to_owned(),
                        });
                    }
                }
                Err(Stop::Error(error)) => {
                    if error.may_pass()
                        && let Ok(Some(known)) = self.known(key, interrupt)
                        && self.compare(key, content, &known, interrupt).is_ok()
                    {
                        return Ok(Sent::Done);
                    }
                    self.abort_quietly(key, &id);
                    return Err(error);
                }
            }
        }
        Err(PublishError::Changed {
            target: self.shown.clone(),
            key: key.to_owned(),
        })
    }

    /// Sends the parts that are not there, and completes the upload.
    fn finish(
        &self,
        source: &Source<'_>,
        upload: Upload,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Sent, Stop> {
        let id = upload.id.clone();
        let parts = self.send_parts(source, upload, progress, interrupt)?;
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(number, Part { etag, sha256 })| (number, etag, sha256))
            .collect();
        let mut ask = Ask::new(Method::POST, Some(self.full(source.key)))
            .query("uploadId", &*id)
            .header("content-type", "application/xml")
            .document(xml::complete(&parts));
        if source.create {
            ask = ask.header("if-none-match", "*");
        }
        let refusal = match self.call(&ask, &Meter::none(), interrupt) {
            Ok(_) => return Ok(Sent::Done),
            Err(Failure::Refusal(refusal)) => refusal,
            Err(failure) => return Err(self.error(&ask, failure).into()),
        };
        match refusal.no() {
            No::NoUpload | No::Part => Err(Stop::Lost),
            No::Precondition => {
                self.abort_quietly(source.key, &id);
                Ok(Sent::Refused {
                    tries: refusal.tries,
                })
            }
            No::NotImplemented if source.create => {
                self.abort_quietly(source.key, &id);
                Ok(Sent::Unconditional)
            }
            _ => Err(self.error(&ask, Failure::Refusal(refusal)).into()),
        }
    }

    /// Reads the file once, from its beginning to its end, and hands the parts that are missing
    /// to the threads that send them.
    fn send_parts(
        &self,
        source: &Source<'_>,
        upload: Upload,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<BTreeMap<u32, Part>, Stop> {
        let Upload { id, had } = upload;
        let parts = Mutex::new(BTreeMap::new());
        let first = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let fail = |why: Stop| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(why);
            stop.store(true, Ordering::Relaxed);
        };
        let keep = |number, part| {
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.insert(number, part);
        };
        let (jobs, taken) = sync_channel::<Job>(0);
        let taken = Mutex::new(taken);
        let work = || {
            while let Some(job) = next(&taken) {
                // What is not wanted any more is still taken, so that nobody waits to hand it over.
                if stop.load(Ordering::Relaxed) {
                    continue;
                }
                let number = job.number;
                match self.send_part(source.key, &id, job, progress, interrupt) {
                    Ok(part) => keep(number, part),
                    Err(why) => fail(why),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(work);
            }
            let mut whole = Hasher::new();
            let mut at = 0;
            let mut number = 0;
            while at < source.size && !stop.load(Ordering::Relaxed) {
                let bytes = match read_part(source.file, at, source.part.min(source.size - at)) {
                    Ok(bytes) => bytes,
                    Err(error) => return fail(error.into()),
                };
                at += bytes.len() as u64;
                number += 1;
                whole.update(&bytes);
                let digest = Sha256::of(&bytes);
                match had.get(&number) {
                    Some(part) if part.sha256.as_ref() == Some(&to_base64(&digest)) => {
                        progress(bytes.len() as u64);
                        keep(number, part.clone());
                    }
                    _ => {
                        let job = Job {
                            number,
                            bytes,
                            digest,
                        };
                        // Fails only when nobody takes any more, and then `first` says why.
                        if jobs.send(job).is_err() {
                            break;
                        }
                    }
                }
            }
            drop(jobs);
            let found = whole.finish();
            if !stop.load(Ordering::Relaxed) && found != source.digest {
                fail(corrupted(source.digest, found).into());
            }
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        match first {
            Some(why) => Err(why),
            None => Ok(parts.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn send_part(
        &self,
        key: &str,
        id: &str,
        job: Job,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Part, Stop> {
        let Job {
            number,
            bytes,
            digest,
        } = job;
        let mut ask = Ask::new(Method::PUT, Some(self.full(key)))
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .body(bytes, digest);
        let sha256 = self.settings.checksums.then(|| to_base64(&digest));
        if let Some(sha256) = &sha256 {
            ask = ask
                .header("x-amz-sdk-checksum-algorithm", "SHA256")
                .header("x-amz-checksum-sha256", sha256);
        }
        let answer = match self.call(&ask, &Meter::new(progress), interrupt) {
            Ok(answer) => answer,
            Err(Failure::Refusal(refusal)) if refusal.no() == No::NoUpload => {
                return Err(Stop::Lost);
            }
            Err(failure) => return Err(self.error(&ask, failure).into()),
        };
        let etag = answer.header("etag").map(str::to_owned);
        let etag = etag.ok_or_else(|| PublishError::Protocol {
            what: self.what(&ask),
            why: "it gives a part no entity tag".to_owned(),
        })?;
        Ok(Part { etag, sha256 })
    }

    pub(super) fn begin_upload(
        &self,
        key: &str,
        interrupt: &Interrupt,
    ) -> Result<String, PublishError> {
        let mut ask = Ask::new(Method::POST, Some(self.full(key))).query("uploads", "");
        ask = self.described(ask, key);
        if self.settings.checksums {
            ask = ask.header("x-amz-checksum-algorithm", "SHA256");
        }
        let answer = self.ask(&ask, interrupt)?;
        let begun: InitiateMultipartUploadResult =
            self.document(&ask, "InitiateMultipartUploadResult", &answer)?;
        Ok(begun.upload_id)
    }

    fn begin(&self, key: &str, interrupt: &Interrupt) -> Result<Upload, PublishError> {
        Ok(Upload {
            id: self.begin_upload(key, interrupt)?,
            had: BTreeMap::new(),
        })
    }

    pub(super) fn abort_upload(
        &self,
        key: &str,
        id: &str,
        once: bool,
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        let mut ask = Ask::new(Method::DELETE, Some(self.full(key))).query("uploadId", id);
        ask.once = once;
        match self.call(&ask, &Meter::none(), interrupt) {
            Ok(_) => Ok(()),
            Err(Failure::Refusal(refusal))
                if matches!(refusal.no(), No::NoUpload | No::NotFound) =>
            {
                Ok(())
            }
            Err(failure) => Err(self.error(&ask, failure)),
        }
    }

    /// Gives up an upload that came to nothing, even after the wish to stop. If that fails, the
    /// next run finds it, or `gc` does; what went wrong before is what is worth telling.
    fn abort_quietly(&self, key: &str, id: &str) {
        if let Ok(interrupt) = Interrupt::manual() {
            let _ = self.abort_upload(key, id, true, &interrupt);
        }
    }

    /// Once an object is there, the uploads of it that were found at the beginning are done with.
    fn give_up(&self, left: &[StaleUpload], but: &str, done: bool) {
        for upload in left.iter().filter(|upload| done && upload.id != but) {
            self.abort_quietly(&upload.key, &upload.id);
        }
    }

    /// The uploads of this very key, as far as the store can list them and we may.
    fn left_behind(
        &self,
        key: &str,
        interrupt: &Interrupt,
    ) -> Result<Vec<StaleUpload>, PublishError> {
        match self.uploads(key, interrupt) {
            Ok(uploads) => {
                let uploads = uploads.unwrap_or_default();
                Ok(uploads
                    .into_iter()
                    .filter(|upload| upload.key == key)
                    .collect())
            }
            Err(PublishError::Denied { .. } | PublishError::Rejected { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The uploads whose keys begin so; none if the store cannot list them.
    pub(super) fn uploads(
        &self,
        below: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        let mut uploads = Vec::new();
        let mut next: Option<(String, String)> = None;
        loop {
            let mut ask = Ask::new(Method::GET, None)
                .query("encoding-type", "url")
                .query("prefix", self.full(below))
                .query("uploads", "");
            if let Some((key, id)) = next {
                ask = ask.query("key-marker", key).query("upload-id-marker", id);
            }
            let answer = match self.call(&ask, &Meter::none(), interrupt) {
                Ok(answer) => answer,
                Err(Failure::Refusal(refusal))
                    if refusal.no() == No::NotImplemented || refusal.status == 405 =>
                {
                    return Ok(None);
                }
                Err(failure) => return Err(self.error(&ask, failure)),
            };
            let page: ListMultipartUploadsResult =
                self.document(&ask, "ListMultipartUploadsResult", &answer)?;
            let page = page.uploads(&self.prefix);
            let (found, more) = page.map_err(|why| self.nonsense(&ask, why))?;
            uploads.extend(found);
            match more {
                Some(more) => next = Some(more),
                None => return Ok(Some(uploads)),
            }
        }
    }

    /// An upload that a killed process left, whose parts are of this very file.
    fn resumable(
        &self,
        source: &Source<'_>,
        left: &[StaleUpload],
        interrupt: &Interrupt,
    ) -> Result<Option<Upload>, PublishError> {
        for upload in left.iter().rev() {
            let Some(had) = self.parts(source.key, &upload.id, interrupt)? else {
                continue;
            };
            let count = source.size.div_ceil(source.part);
            let fits = |(number, size): (u64, u64)| {
                let rest = source
                    .size
                    .saturating_sub((number.max(1) - 1) * source.part);
                (1..=count).contains(&number) && size == source.part.min(rest)
            };
            let sizes = had
                .iter()
                .map(|(number, (size, _))| (u64::from(*number), *size));
            if had.is_empty() || !sizes.into_iter().all(fits) {
                continue;
            }
            let Some((number, (size, part))) = had.first_key_value() else {
                continue;
            };
            let at = u64::from(number - 1) * source.part;
            let digest = Sha256::of(&read_part(source.file, at, *size)?);
            if part.sha256 != Some(to_base64(&digest)) {
                continue;
            }
            return Ok(Some(Upload {
                id: upload.id.clone(),
                had: had.into_iter().map(|(n, (_, part))| (n, part)).collect(),
            }));
        }
        Ok(None)
    }

    /// The parts of an upload with their sizes; none if it is gone or the store cannot say.
    fn parts(
        &self,
        key: &str,
        id: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<BTreeMap<u32, (u64, Part)>>, PublishError> {
        let mut parts = BTreeMap::new();
        let mut next: Option<String> = None;
        loop {
            let mut ask = Ask::new(Method::GET, Some(self.full(key)));
            if let Some(marker) = next {
                ask = ask.query("part-number-marker", marker);
            }
            let ask = ask.query("uploadId", id);
            let answer = match self.call(&ask, &Meter::none(), interrupt) {
                Ok(answer) => answer,
                Err(Failure::Refusal(_)) => return Ok(None),
                Err(failure) => return Err(self.error(&ask, failure)),
            };
            let page: ListPartsResult = self.document(&ask, "ListPartsResult", &answer)?;
            for part in page.part {
                let Some(etag) = part.etag else {
                    return Ok(None);
                };
                let sha256 = part.sha256;
                parts.insert(part.number, (part.size, Part { etag, sha256 }));
            }
            match (page.is_truncated, page.next_part_number_marker) {
                (true, Some(marker)) => next = Some(marker),
                (true, None) => return Ok(None),
                (false, _) => return Ok(Some(parts)),
            }
        }
    }

    pub(super) fn document<T: serde::de::DeserializeOwned>(
        &self,
        ask: &Ask,
        root: &str,
        answer: &Answer,
    ) -> Result<T, PublishError> {
        xml::parse(root, &answer.body).map_err(|why| self.nonsense(ask, &why))
    }

    pub(super) fn nonsense(&self, ask: &Ask, why: &str) -> PublishError {
        PublishError::Protocol {
            what: self.what(ask),
            why: why.to_owned(),
        }
    }
}

/// A part to be sent.
struct Job {
    number: u32,
    bytes: Bytes,
    digest: Sha256,
}

fn next(jobs: &Mutex<Receiver<Job>>) -> Option<Job> {
    let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
    jobs.recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_neither_too_small_nor_too_many() {
        let table = [
            (1, PART),
            (PART * PARTS, PART),
            (PART * PARTS + 1, PART + (1 << 20)),
            (5 << 40, 656 << 20),
        ];
        for (size, part) in table {
            assert_eq!(part_size(size), part, "{size}");
            assert!(size.div_ceil(part) <= 10_000);
        }
    }
}
