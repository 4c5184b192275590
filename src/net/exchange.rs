//! One question and its answer, whatever the answer is: for protocols that say something by it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER,
};
use reqwest::{Response, Url};

use super::authority::Authority;
use super::http::Http;
use super::retry::{Schedule, Step, retry_after, tries};
use super::transfer::{self, Failure, Halt, Pace, wait};
use super::{Attempt, Attempts, Client, NetError, Settings, Trouble, jitter, redact};
use crate::model::Secret;
use crate::sys::interrupt::Interrupt;

/// What is read of an answer that is no success.
const REFUSAL: u64 = 64 << 10;

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What it is about, for messages.
    pub what: &'a str,
    /// Whom: an `http` or `https` URL.
    pub url: &'a str,
    /// The media types that are understood.
    pub accept: &'a [&'a str],
    /// A form that is posted (`application/x-www-form-urlencoded`); without it, it is a GET. What
    /// is posted goes nowhere else: a redirect is an answer like any other.
    pub form: Option<&'a Secret>,
    /// How many bytes a successful answer may have.
    pub limit: u64,
}

/// An answer: a success, or a refusal that asking again would not change.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What it says; of a refusal its beginning.
    pub body: Vec<u8>,
    url: Url,
    headers: HeaderMap,
}

impl Reply {
    /// Whether it is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of a header, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Who answered, after redirects.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    fn challenges(&self, asked: &Url) -> Option<Vec<String>> {
        transfer::challenges(asked, self.status, &self.url, &self.headers)
    }

    /// What it comes to as a failure.
    pub fn trouble(&self) -> Trouble {
        let asked = self.header(RETRY_AFTER.as_str());
        Trouble::Status {
            code: self.status,
            retry_after: asked.and_then(|value| retry_after(value, std::time::SystemTime::now())),
        }
    }
}

impl Client {
    /// Asks, and asks again as long as the failure may pass. An error is that nobody answered, or
    /// more than the limit.
    pub fn ask(
        &self,
        ask: &Ask<'_>,
        authority: &dyn Authority,
        interrupt: &Interrupt,
    ) -> Result<Reply, NetError> {
        let stop = &AtomicBool::new(false);
        let halt = Halt { interrupt, stop };
        let began = Instant::now();
        let mut schedule = Schedule::new(1, &self.settings);
        let (mut tried, mut last) = (0, None);
        while let Step::Try { wait, .. } = schedule.next(began.elapsed()) {
            halt.sleep(wait)?;
            tried += 1;
            let outcome = self.exchange(ask, authority, halt);
            let trouble = match &outcome {
                Ok(reply) if reply.is_success() => return outcome.map_err(fatal),
                Ok(reply) => reply.trouble(),
                Err(Failure::Trouble(trouble)) => trouble.clone(),
                Err(_) => return outcome.map_err(fatal),
            };
            let passing = tries(&trouble, &self.settings) > 1;
            if let (Ok(reply), false) = (outcome, passing) {
                return Ok(reply);
            }
            schedule.failed(0, &trouble, false, began.elapsed(), jitter());
            last = Some(trouble);
        }
        let attempt = |trouble| Attempt {
            url: redact(ask.url),
            tries: tried,
            trouble,
        };
        Err(NetError::Failed {
            what: ask.what.to_owned(),
            attempts: Attempts(last.into_iter().map(attempt).collect()),
        })
    }

    fn exchange(
        &self,
        ask: &Ask<'_>,
        authority: &dyn Authority,
        halt: Halt<'_>,
    ) -> Result<Reply, Failure> {
        let url = Url::parse(ask.url).map_err(|error| Trouble::Url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Trouble::Url(format!("its scheme is {}", url.scheme())).into());
        }
        let http = match ask.form {
            None => self.http()?,
            Some(_) => self.direct()?,
        };
        let mut refused = None;
        let once = |sent: Option<&Secret>| {
            let reply = send(http, ask, &url, sent, halt, &self.settings)?;
            match reply.challenges(&url) {
                None => Ok(reply),
                Some(challenges) => {
                    refused = Some(reply);
                    Err(Failure::Challenged(challenges))
                }
            }
        };
        match transfer::authorized(ask.url, authority, halt, once) {
            // A refusal that nobody has an answer to is an answer.
            Err(Failure::Challenged(challenges)) => refused.ok_or(Failure::Challenged(challenges)),
            other => other,
        }
    }

    /// A client that follows no redirect: what is posted may be secret.
    fn direct(&self) -> Result<&Http, NetError> {
        let settings = Settings {
            redirects: 0,
            ..self.settings.clone()
        };
        self.made(&self.direct, &settings)
    }
}

fn fatal(failure: Failure) -> NetError {
    match failure {
        Failure::Fatal(error) => error,
        // `ask` has taken these apart.
        Failure::Trouble(trouble) => NetError::Client(trouble.to_string()),
        Failure::Challenged(_) => NetError::Client("a challenge that nobody answers".to_owned()),
    }
}

fn send(
    http: &Http,
    ask: &Ask<'_>,
    url: &Url,
    sent: Option<&Secret>,
    halt: Halt<'_>,
    settings: &Settings,
) -> Result<Reply, Failure> {
    let mut request = match ask.form {
        None => http.client.get(url.clone()),
        Some(form) => http
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.reveal().to_owned()),
    };
    request = request.header(ACCEPT_ENCODING, "identity");
    for media_type in ask.accept {
        request = request.header(ACCEPT, *media_type);
    }
    if let Some(value) = transfer::authorization(sent)? {
        request = request.header(AUTHORIZATION, value);
    }
    http.run(async {
        let patience = settings.connect_timeout + settings.idle_timeout;
        let trouble = |error| Trouble::of(error, settings.connect_timeout);
        let response = wait(request.send(), patience, settings, halt).await?;
        let response = response.map_err(trouble)?;
        read(response, ask.limit, halt, settings).await
    })
}

async fn read(
    mut response: Response,
    limit: u64,
    halt: Halt<'_>,
    settings: &Settings,
) -> Result<Reply, Failure> {
    let success = response.status().is_success();
    let limit = if success { limit } else { limit.min(REFUSAL) };
    let announced = response.content_length();
    if success && announced.is_some_and(|length| length > limit) {
        return Err(Trouble::TooLong(limit).into());
    }
    let mut body = Vec::new();
    let mut pace = Pace::new(settings);
    let began = Instant::now();
    loop {
        let chunk = wait(response.chunk(), settings.idle_timeout, settings, halt).await?;
        let chunk = chunk.map_err(|error| Trouble::of(error, settings.connect_timeout))?;
        let Some(chunk) = chunk else { break };
        let room = usize::try_from(limit).unwrap_or(usize::MAX) - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            if success {
                return Err(Trouble::TooLong(limit).into());
            }
            break;
        }
        pace.came(chunk.len() as u64, began.elapsed())?;
    }
    Ok(Reply {
        status: response.status().as_u16(),
        url: response.url().clone(),
        headers: std::mem::take(response.headers_mut()),
        body,
    })
}
