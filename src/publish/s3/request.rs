//! One request to S3 and its answer: signed, tried until it deserves no more.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::de::DeserializeOwned;

use super::S3;
use super::refusal::{Document, No, Refusal};
use super::xml;
use crate::model::{Sha256, encode_path};
use crate::net::{self, Trouble};
use crate::publish::error::PublishError;
use crate::publish::web::asked;
use crate::publish::wire::{Fault, Meter, Tries};
use crate::sys::interrupt::Interrupt;

/// What a document may have: a page of a listing has a thousand keys of at most a kilobyte.
const DOCUMENT: usize = 16 << 20;
/// What the document of a refusal may have.
const REFUSAL: usize = 256 << 10;

/// What is asked for.
pub(super) struct Ask {
    pub(super) method: Method,
    /// The whole key; none is the bucket.
    pub(super) key: Option<String>,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<(Bytes, Sha256)>,
    /// Whether it is tried once alone.
    pub(super) once: bool,
}

impl Ask {
    pub(super) fn new(method: Method, key: Option<String>) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            once: false,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header; a value that cannot be one is left out, since all that come from settings
    /// have been checked.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) fn body(mut self, bytes: Bytes, digest: Sha256) -> Self {
        self.body = Some((bytes, digest));
        self
    }

    pub(super) fn document(self, text: String) -> Self {
        let bytes = Bytes::from(text);
        let digest = Sha256::of(&bytes);
        self.body(bytes, digest)
    }
}

/// A success.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why there is no success.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store says no.
    Refusal(Refusal),
    /// There is no answer.
    Error(PublishError),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::Error(error)
    }
}

impl S3 {
    /// Asks, and reads all of the answer. A success that holds the document of a failure is one
    /// (a completion or a copy is answered before it is done).
    pub(super) fn call(
        &self,
        ask: &Ask,
        meter: &Meter<'_>,
        interrupt: &Interrupt,
    ) -> Result<Answer, Failure> {
        let mut finish = |mut response: Response, tries| {
            let body = self.wire.body(&mut response, DOCUMENT, interrupt)?;
            let headers = response.headers();
            let document = body
                .starts_with(b"<")
                .then(|| String::from_utf8_lossy(&body));
            if document.is_some_and(|text| xml::name(&text).as_deref() == Some("Error")) {
                return Ok(Err(refusal(200, headers, &body, tries)));
            }
            Ok(Ok(Answer {
                headers: std::mem::take(response.headers_mut()),
                body,
            }))
        };
        self.tried(ask, meter, interrupt, &mut finish)
    }

    /// Asks, and leaves the body of the answer to be read.
    pub(super) fn open(&self, ask: &Ask, interrupt: &Interrupt) -> Result<Response, Failure> {
        let mut finish = |response, _| Ok(Ok(response));
        self.tried(ask, &Meter::none(), interrupt, &mut finish)
    }

    #[allow(clippy::type_complexity)] // a success, a refusal, or trouble on the way
    fn tried<T>(
        &self,
        ask: &Ask,
        meter: &Meter<'_>,
        interrupt: &Interrupt,
        finish: &mut dyn FnMut(Response, u32) -> Result<Result<T, Refusal>, Fault>,
    ) -> Result<T, Failure> {
        let patience = self.wire.patience();
        let mut tries = Tries::new(patience);
        let mut renewed = false;
        loop {
            let credential = self.source.get(&self.wire, interrupt)?;
            let request = self.request(ask, meter, credential.as_ref())?;
            let made = tries.made() + 1;
            let outcome = self.wire.send(request, meter, interrupt);
            let outcome = outcome.and_then(|mut response| {
                if response.status().is_success() {
                    return finish(response, made);
                }
                let status = response.status().as_u16();
                let body = self.wire.body(&mut response, REFUSAL, interrupt)?;
                Ok(Err(refusal(status, response.headers(), &body, made)))
            });
            let limit = |most| if ask.once { 1 } else { most };
            match outcome {
                Ok(Ok(success)) => return Ok(success),
                Ok(Err(refusal)) => {
                    let no = refusal.no();
                    if no == No::Expired && !renewed && self.source.expired() {
                        renewed = true;
                        continue;
                    }
                    let most = if no.may_pass() { patience.tries } else { 1 };
                    if !tries
                        .again(limit(most), refusal.retry_after, interrupt)
                        .map_err(PublishError::from)?
                    {
                        return Err(Failure::Refusal(refusal));
                    }
                }
                Err(Fault::Fatal(error)) => return Err(error.into()),
                Err(Fault::Trouble(trouble)) => {
                    let most = match trouble {
                        // More than is asked for is no passing trouble.
                        Trouble::TooLong(_) => 1,
                        _ => net::tries(&trouble, patience),
                    };
                    if !tries
                        .again(limit(most), None, interrupt)
                        .map_err(PublishError::from)?
                    {
                        return Err(Failure::Error(PublishError::Unreachable {
                            what: self.what(ask),
                            why: trouble.to_string(),
                            tries: tries.made(),
                        }));
                    }
                }
            }
        }
    }

    /// What is asked for, for people.
    pub(super) fn what(&self, ask: &Ask) -> String {
        let key = ask.key.as_deref().unwrap_or_default();
        format!("{} s3://{}/{key}", ask.method, self.bucket)
    }

    /// The error that a failure comes to.
    pub(super) fn error(&self, ask: &Ask, failure: Failure) -> PublishError {
        match failure {
            Failure::Error(error) => error,
            Failure::Refusal(refusal) => {
                refusal.into_error(self.what(ask), &self.shown, &self.bucket, &self.settings)
            }
        }
    }

    /// Reads the document that an answer is.
    pub(super) fn document<T: DeserializeOwned>(
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

    fn request(
        &self,
        ask: &Ask,
        meter: &Meter<'_>,
        credential: Option<&Arc<AwsCredential>>,
    ) -> Result<Request, PublishError> {
        let wrong = |why: String| PublishError::Client(why);
        let mut url = self.base.clone();
        url.push('/');
        url.push_str(&encode_path(ask.key.as_deref().unwrap_or_default()));
        for (n, (name, value)) in ask.query.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            let value = encode_path(value).replace('/', "%2F");
            // Writing to a string cannot fail.
            let _ = write!(url, "{name}={value}");
        }
        let url: Url = url
            .parse()
            .map_err(|_| wrong("it makes no URL".to_owned()))?;
        let mut headers = ask.headers.clone();
        if let Some(credential) = credential {
            let mut signed = HttpRequest::new(HttpRequestBody::empty());
            *signed.method_mut() = ask.method.clone();
            *signed.uri_mut() = url
                .as_str()
                .parse()
                .map_err(|_| wrong("it makes no URL".to_owned()))?;
            *signed.headers_mut() = headers;
            let digest = ask.body.as_ref().map(|(_, digest)| *digest);
            let digest = digest.unwrap_or_else(|| Sha256::of(b""));
            AwsAuthorizer::new(credential, "s3", &self.settings.region)
                .try_authorize(&mut signed, Some(digest.as_bytes()))
                .map_err(|error| wrong(error.to_string()))?;
            headers = std::mem::take(signed.headers_mut());
        }
        let mut request = Request::new(ask.method.clone(), url);
        *request.headers_mut() = headers;
        if let Some((bytes, _)) = &ask.body {
            *request.body_mut() = Some(meter.body(bytes.clone()));
        }
        Ok(request)
    }
}

fn refusal(status: u16, headers: &HeaderMap, body: &[u8], tries: u32) -> Refusal {
    let Document {
        code,
        message,
        region,
    } = xml::parse("Error", body).unwrap_or_default();
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    Refusal {
        status,
        code,
        message,
        region: region.or_else(|| header("x-amz-bucket-region").map(str::to_owned)),
        date: date
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
            .map(|date| SystemTime::from(date.timestamp())),
        retry_after: asked(headers),
        tries,
    }
}
