//! One attempt at one URL: bytes from there into a sink, as long as they come and are wanted.

use std::future::Future;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, IF_RANGE, RANGE, WWW_AUTHENTICATE,
};
use reqwest::{Response, StatusCode, Url};

use super::answer::{Answer, judge};
use super::authority::Authority;
use super::{NetError, Settings, Trouble};
use crate::model::Secret;
use crate::sys::fs::FsError;
use crate::sys::interrupt::Interrupt;

/// How often a wait looks up to see whether it should go on.
const TICK: Duration = Duration::from_millis(100);

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// This URL did not give it; another may.
    Trouble(Trouble),
    /// Nothing will.
    Fatal(NetError),
    /// It wants to be told who asks.
    Challenged(Vec<String>),
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self::Fatal(error)
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What may end a download from outside.
#[derive(Clone, Copy)]
pub(super) struct Halt<'a> {
    pub(super) interrupt: &'a Interrupt,
    pub(super) stop: &'a AtomicBool,
}

impl Halt<'_> {
    pub(super) fn check(&self) -> Result<(), NetError> {
        self.interrupt.check()?;
        if self.stop.load(Ordering::Relaxed) {
            return Err(NetError::Stopped);
        }
        Ok(())
    }

    pub(super) fn sleep(&self, duration: Duration) -> Result<(), NetError> {
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // The wish to stop is told by `check`.
            let _ = self.interrupt.sleep(left.min(TICK));
        }
    }
}

/// Where to go on.
pub(super) struct Resume {
    /// Bytes that are there.
    pub(super) had: u64,
    /// What names the version that they are of; not needed where the URL itself does.
    pub(super) validator: Option<String>,
}

/// Takes what comes.
pub(super) trait Sink {
    /// How much there must be in all.
    fn expected(&self) -> Option<u64>;
    /// Whether what came from this URL before can be gone on from.
    fn resume(&self, url: &str) -> Option<Resume>;
    /// Everything comes from the beginning.
    fn restart(
        &mut self,
        url: &str,
        length: Option<u64>,
        validator: Option<String>,
    ) -> Result<(), Failure>;
    /// What comes follows what is there.
    fn resumed(&mut self);
    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure>;
}

/// Fetches over HTTP.
pub(super) async fn http(
    client: &reqwest::Client,
    url: &Url,
    authorization: Option<HeaderValue>,
    sink: &mut (dyn Sink + '_),
    halt: Halt<'_>,
    settings: &Settings,
) -> Result<(), Failure> {
    let trouble = |error| Trouble::of(error, settings.connect_timeout);
    let mut resume = sink.resume(url.as_str());
    loop {
        let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(value) = &authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(Resume { had, validator }) = &resume {
            request = request.header(RANGE, format!("bytes={had}-"));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        // The connect time-out is the library's business; this is for an answer that never comes.
        let patience = settings.connect_timeout + settings.idle_timeout;
        let response = wait(request.send(), patience, settings, halt).await?;
        let response = response.map_err(trouble)?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        if let Some(challenges) = challenges(url, status, response.url(), headers) {
            return Err(Failure::Challenged(challenges));
        }
        let had = resume.as_ref().map(|resume| resume.had);
        match judge(response.status(), response.headers(), had, sink.expected()) {
            Answer::Whole { length, validator } => {
                sink.restart(url.as_str(), length, validator)?;
            }
            Answer::Rest => sink.resumed(),
            Answer::Again if resume.is_some() => {
                resume = None;
                continue;
            }
            Answer::Again => return Err(Trouble::Protocol("neither the whole nor a part").into()),
            Answer::Trouble(trouble) => return Err(trouble.into()),
        }
        return body(response, sink, halt, settings).await;
    }
}

/// What `asked` wants to be told, if it refused for want of that. Where it redirects to has no say:
/// the answer would be sent where that wishes.
pub(super) fn challenges(
    asked: &Url,
    status: u16,
    answered: &Url,
    headers: &HeaderMap,
) -> Option<Vec<String>> {
    let refused = status == StatusCode::UNAUTHORIZED.as_u16();
    if !refused || answered.origin() != asked.origin() {
        return None;
    }
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    Some(texts.map(str::to_owned).collect())
}

/// The header that authorises, which no formatting shows.
pub(super) fn authorization(secret: Option<&Secret>) -> Result<Option<HeaderValue>, Trouble> {
    let Some(secret) = secret else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(secret.reveal())
        .map_err(|_| Trouble::Unauthorized("what would authorise it cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Does something with what authorises it, and once more with what that is after a challenge.
pub(super) fn authorized<T>(
    url: &str,
    authority: &dyn Authority,
    halt: Halt<'_>,
    mut once: impl FnMut(Option<&Secret>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut renewed = false;
    loop {
        let sent = authority.authorization(url);
        let challenges = match once(sent.as_ref()) {
            Err(Failure::Challenged(challenges)) => challenges,
            other => return other,
        };
        let again = !renewed
            && authority
                .challenged(url, sent.as_ref(), &challenges, halt.interrupt)
                .map_err(of_authority)?;
        if !again {
            return Err(Failure::Challenged(challenges));
        }
        renewed = true;
    }
}

/// That nobody authorises it is a trouble of that URL alone.
fn of_authority(error: NetError) -> Failure {
    match error {
        NetError::Failed { .. } | NetError::Client(_) => {
            Failure::Trouble(Trouble::Unauthorized(error.to_string()))
        }
        other => Failure::Fatal(other),
    }
}

async fn body(
    mut response: Response,
    sink: &mut (dyn Sink + '_),
    halt: Halt<'_>,
    settings: &Settings,
) -> Result<(), Failure> {
    let mut pace = Pace::new(settings);
    let began = Instant::now();
    loop {
        let chunk = wait(response.chunk(), settings.idle_timeout, settings, halt).await?;
        let chunk = chunk.map_err(|error| Trouble::of(error, settings.connect_timeout))?;
        let Some(chunk) = chunk else {
            return Ok(());
        };
        sink.write(&chunk)?;
        halt.check()?;
        pace.came(chunk.len() as u64, began.elapsed())?;
    }
}

/// Waits for `future`, but not for ever, and not past the wish to stop. Dropping the future
/// closes its connection.
pub(super) async fn wait<F: Future>(
    future: F,
    patience: Duration,
    settings: &Settings,
    halt: Halt<'_>,
) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        halt.check()?;
        if let Ok(output) = tokio::time::timeout(TICK, &mut future).await {
            return Ok(output);
        }
        if began.elapsed() >= patience {
            return Err(Trouble::Idle(settings.idle_timeout).into());
        }
    }
}

/// Watches that enough comes: a peer that sends a byte now and then is as good as dead.
pub(super) struct Pace {
    window: Duration,
    least: u64,
    began: Duration,
    came: u64,
}

impl Pace {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            window: settings.idle_timeout,
            least: settings.low_speed,
            began: Duration::ZERO,
            came: 0,
        }
    }

    /// Takes note of bytes that came, so long after the beginning.
    pub(super) fn came(&mut self, bytes: u64, now: Duration) -> Result<(), Trouble> {
        self.came += bytes;
        if now.saturating_sub(self.began) < self.window {
            return Ok(());
        }
        if self.came < self.least {
            return Err(Trouble::Slow {
                bytes: self.least,
                window: self.window,
            });
        }
        self.began = now;
        self.came = 0;
        Ok(())
    }
}

/// Reads a `file` URL.
pub(super) fn file(url: &Url, sink: &mut dyn Sink, halt: Halt<'_>) -> Result<(), Failure> {
    let path = url
        .to_file_path()
        .map_err(|()| Trouble::Url("it names no file of this host".to_owned()))?;
    let unreadable = |error: std::io::Error| Trouble::File(error.to_string());
    // A pipe without a writer would be waited for until there is one.
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(Trouble::File("it is no regular file".to_owned()).into());
    }
    if let Some(expected) = sink.expected()
        && expected != found.len()
    {
        let found = found.len();
        return Err(Trouble::Size { found, expected }.into());
    }
    sink.restart(url.as_str(), Some(found.len()), None)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        halt.check()?;
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(()),
            read => sink.write(&buffer[..read])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_noticed() {
        let settings = Settings::default();
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(&settings);
        assert_eq!(pace.came(settings.low_speed, seconds(29)), Ok(()));
        assert_eq!(pace.came(1, seconds(31)), Ok(()), "a window is full");
        for second in 32..61 {
            assert_eq!(pace.came(1, seconds(second)), Ok(()));
        }
        assert!(matches!(
            pace.came(1, seconds(61)),
            Err(Trouble::Slow { .. })
        ));
    }
}
