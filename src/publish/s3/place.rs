//! A bucket, asked as every kind of target is.

use std::io::Read;

use reqwest::Method;
use reqwest::header::ETAG;

use super::S3;
use super::refusal::No;
use super::request::{Ask, Failure};
use super::xml::ListBucketResult;
use crate::publish::content::{Conditional, Content, Head, Mode, Object, Put, StaleUpload};
use crate::publish::error::PublishError;
use crate::publish::remote::{HIDDEN, Place, hidden_name, is_hidden};
use crate::publish::stream::Stream;
use crate::publish::wire::Meter;
use crate::sys::interrupt::Interrupt;

impl Place for S3 {
    fn list(
        &self,
        below: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<Object>>, PublishError> {
        let mut objects = self.objects(below, interrupt)?;
        objects.retain(|object| !is_hidden(&object.key));
        Ok(Some(objects))
    }

    fn head(&self, key: &str, interrupt: &Interrupt) -> Result<Option<Head>, PublishError> {
        self.known(key, interrupt)
    }

    fn read<'a>(
        &'a self,
        key: &str,
        etag: Option<&str>,
        interrupt: &'a Interrupt,
    ) -> Result<Option<Box<dyn Read + Send + 'a>>, PublishError> {
        let mut ask = Ask::new(Method::GET, Some(self.full(key)));
        if let Some(etag) = etag {
            ask = ask.header("if-match", etag);
        }
        let response = match self.open(&ask, interrupt) {
            Ok(response) => {
                // Not every store heeds the condition.
                let found = response
                    .headers()
                    .get(ETAG)
                    .and_then(|tag| tag.to_str().ok());
                if let (Some(etag), Some(found)) = (etag, found)
                    && etag != found
                {
                    return Err(self.changed(key));
                }
                response
            }
            Err(Failure::Refusal(refusal)) if refusal.no() == No::Absent => return Ok(None),
            Err(Failure::Refusal(refusal)) if refusal.no() == No::Precondition => {
                return Err(self.changed(key));
            }
            Err(failure) => return Err(self.error(&ask, failure)),
        };
        let full = self.full(key);
        let again = move |at: u64, etag: &str| {
            let ask = Ask::new(Method::GET, Some(full.clone()))
                .header("range", &format!("bytes={at}-"))
                .header("if-match", etag);
            match self.open(&ask, interrupt) {
                Ok(response) => Ok(Some(response)),
                Err(Failure::Refusal(refusal))
                    if matches!(refusal.no(), No::Absent | No::Precondition)
                        || refusal.status == 416 =>
                {
                    Ok(None)
                }
                Err(failure) => Err(self.error(&ask, failure)),
            }
        };
        let place = (&*self.shown, key);
        let stream = Stream::new(&self.wire, response, Box::new(again), place, interrupt);
        Ok(Some(Box::new(stream)))
    }

    fn put(
        &self,
        key: &str,
        content: Content<'_>,
        mode: Mode,
        progress: &(dyn Fn(u64) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Put, PublishError> {
        self.put_object(key, &content, mode, progress, interrupt)
    }

    /// AWS itself is only asked whether an upload could begin. Of another store it is found out
    /// whether it heeds conditions, which takes an object that is removed again, if that may be.
    fn check_writable(&self, interrupt: &Interrupt) -> Result<Conditional, PublishError> {
        let key = hidden_name();
        if let Some(known) = self.conditional.get() {
            self.try_upload(&key, interrupt)?;
            return Ok(*known);
        }
        // Nothing is there: it is only asked whether removing is allowed.
        let found = match self.remove(&key, interrupt) {
            Err(PublishError::Denied { .. }) => {
                self.try_upload(&key, interrupt)?;
                Conditional::Ignored
            }
            Err(error) => return Err(error),
            Ok(()) => {
                let found = self.try_condition(&key, interrupt);
                self.remove(&key, interrupt)?;
                found?
            }
        };
        Ok(*self.conditional.get_or_init(|| found))
    }

    fn stale_uploads(
        &self,
        interrupt: &Interrupt,
    ) -> Result<Option<Vec<StaleUpload>>, PublishError> {
        let Some(mut uploads) = self.uploads("", interrupt)? else {
            return Ok(None);
        };
        // What `check_writable` put there and a kill kept it from removing; it has no parts.
        let tried = match self.objects(HIDDEN.0, interrupt) {
            Err(PublishError::Denied { .. }) => Vec::new(),
            objects => objects?,
        };
        let tried = tried.into_iter().filter(|object| is_hidden(&object.key));
        uploads.extend(tried.map(|object| StaleUpload {
            key: object.key,
            id: String::new(),
            started: object.modified,
        }));
        Ok(Some(uploads))
    }

    fn abort(&self, upload: &StaleUpload, interrupt: &Interrupt) -> Result<(), PublishError> {
        if upload.id.is_empty() && is_hidden(&upload.key) {
            return self.remove(&upload.key, interrupt);
        }
        self.abort_upload(&upload.key, &upload.id, false, interrupt)
    }

    fn remove(&self, key: &str, interrupt: &Interrupt) -> Result<(), PublishError> {
        let ask = Ask::new(Method::DELETE, Some(self.full(key)));
        match self.call(&ask, &Meter::none(), interrupt) {
            Ok(_) => Ok(()),
            Err(Failure::Refusal(refusal)) if refusal.no() == No::Absent => Ok(()),
            Err(failure) => Err(self.error(&ask, failure)),
        }
    }
}

impl S3 {
    /// All objects whose keys begin so, sorted by key.
    fn objects(&self, below: &str, interrupt: &Interrupt) -> Result<Vec<Object>, PublishError> {
        let mut objects: Vec<Object> = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut ask = Ask::new(Method::GET, None);
            if let Some(token) = next {
                ask = ask.query("continuation-token", token);
            }
            let ask = ask
                .query("encoding-type", "url")
                .query("list-type", "2")
                .query("prefix", self.full(below));
            let answer = self.ask(&ask, interrupt)?;
            let page: ListBucketResult = self.document(&ask, "ListBucketResult", &answer)?;
            let page = page.objects(&self.prefix);
            let (found, more) = page.map_err(|why| self.nonsense(&ask, why))?;
            let last = objects.len();
            objects.extend(found);
            match more {
                None => break,
                Some(_) if objects.len() == last && last > 0 => {
                    return Err(self.nonsense(&ask, "its pages do not end"));
                }
                Some(token) => next = Some(token),
            }
        }
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Begins an upload and gives it up.
    fn try_upload(&self, key: &str, interrupt: &Interrupt) -> Result<(), PublishError> {
        let id = self.begin_upload(key, interrupt)?;
        self.abort_upload(key, &id, false, interrupt)
    }

    /// Puts an object where nothing is, then where that is.
    fn try_condition(&self, key: &str, interrupt: &Interrupt) -> Result<Conditional, PublishError> {
        let text = "pybuild tries whether it can put objects here\n";
        let ask = || {
            let ask = Ask::new(Method::PUT, Some(self.full(key))).document(text.to_owned());
            self.described(ask, key)
        };
        for _ in 0..2 {
            let ask = ask().header("if-none-match", "*");
            match self.call(&ask, &Meter::none(), interrupt) {
                Ok(_) => {}
                Err(Failure::Refusal(refusal)) => match refusal.no() {
                    No::Precondition => return Ok(Conditional::Honoured),
                    No::Unknown => break,
                    _ => return Err(self.error(&ask, Failure::Refusal(refusal))),
                },
                Err(failure) => return Err(self.error(&ask, failure)),
            }
        }
        // It may be that it takes objects without conditions alone.
        self.ask(&ask(), interrupt)?;
        Ok(Conditional::Ignored)
    }
}
