//! Uploads as the store knows them: begun, listed, looked into, given up.

use std::collections::BTreeMap;

use reqwest::Method;

use super::multipart::Source;
use super::put::{SINGLE, read_part};
use super::refusal::No;
use super::request::{Ask, Failure};
use super::xml::{InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult};
use super::{S3, to_base64};
use crate::model::Sha256;
use crate::publish::content::{Content, StaleUpload};
use crate::publish::error::PublishError;
use crate::publish::wire::Meter;
use crate::sys::interrupt::Interrupt;

/// An upload under way, and its parts that are there.
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) had: BTreeMap<u32, Part>,
}

#[derive(Clone)]
pub(super) struct Part {
    pub(super) etag: String,
    pub(super) sha256: Option<String>,
}

/// Parts by their numbers, with their sizes.
type Sized = BTreeMap<u32, (u64, Part)>;

impl S3 {
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

    pub(super) fn begin(&self, key: &str, interrupt: &Interrupt) -> Result<Upload, PublishError> {
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
            Err(Failure::Refusal(refusal)) if matches!(refusal.no(), No::Upload | No::Absent) => {
                Ok(())
            }
            Err(failure) => Err(self.error(&ask, failure)),
        }
    }

    /// Gives up an upload that came to nothing, even after the wish to stop. If that fails, the
    /// next run finds it, or `gc` does; what went wrong before is what is worth telling.
    pub(super) fn abort_quietly(&self, key: &str, id: &str) {
        if let Ok(interrupt) = Interrupt::manual() {
            let _ = self.abort_upload(key, id, true, &interrupt);
        }
    }

    /// Gives up an upload that is not needed, as far as that is possible: it is in nobody's way.
    pub(super) fn tidy(&self, key: &str, id: &str, interrupt: &Interrupt) {
        let _ = self.abort_upload(key, id, false, interrupt);
    }

    /// Once an object is there, the uploads of it that were found at the beginning are done with.
    pub(super) fn give_up(&self, left: &[StaleUpload], but: &str, interrupt: &Interrupt) {
        for upload in left.iter().filter(|upload| upload.id != but) {
            self.tidy(&upload.key, &upload.id, interrupt);
        }
    }

    /// The same where nothing had to be sent: somebody else was done while ours was killed.
    pub(super) fn give_up_beside(
        &self,
        key: &str,
        content: &Content<'_>,
        interrupt: &Interrupt,
    ) -> Result<(), PublishError> {
        if content.size() > SINGLE {
            let left = self.left_behind(key, interrupt)?;
            self.give_up(&left, "", interrupt);
        }
        Ok(())
    }

    /// The uploads of this very key, as far as the store can list them and we may.
    pub(super) fn left_behind(
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
                    if refusal.no() == No::Unknown || refusal.status == 405 =>
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
    pub(super) fn resumable(
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
    ) -> Result<Option<Sized>, PublishError> {
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
}
