//! Requests over HTTP that end in good time: what S3 and the web have in common.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::{Request, Response};

use super::error::PublishError;
use crate::net::{self, Http, Trouble};
use crate::sys::interrupt::{Interrupt, Interrupted};

/// How often a wait looks up to see whether it should go on.
const TICK: Duration = Duration::from_millis(50);
/// How much of a body is handed to the connection at once.
const SLICE: usize = 64 << 10;

/// Why one try did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another may.
    Trouble(Trouble),
    /// None will.
    Fatal(PublishError),
}

impl From<Interrupted> for Fault {
    fn from(interrupted: Interrupted) -> Self {
        Self::Fatal(interrupted.into())
    }
}

/// Connections, made at the first need.
pub(super) struct Wire {
    http: OnceLock<Http>,
    making: Mutex<()>,
    patience: net::Settings,
}

impl Wire {
    /// `redirects` says how many are followed; with none they are answers like others.
    pub(super) fn new(patience: &net::Settings, redirects: usize) -> Self {
        Self {
            http: OnceLock::new(),
            making: Mutex::new(()),
            patience: net::Settings {
                redirects,
                ..patience.clone()
            },
        }
    }

    pub(super) fn patience(&self) -> &net::Settings {
        &self.patience
    }

    pub(super) fn http(&self) -> Result<&Http, PublishError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let made = Http::new(&self.patience);
        let http = made.map_err(|error| PublishError::Client(error.to_string()))?;
        Ok(self.http.get_or_init(|| http))
    }

    /// Sends a request and waits for the head of the answer. `meter` is what counts the bytes of
    /// its body: as long as they flow, there is patience.
    pub(super) fn send(
        &self,
        request: Request,
        meter: &Meter<'_>,
        interrupt: &Interrupt,
    ) -> Result<Response, Fault> {
        let http = self.http().map_err(Fault::Fatal)?;
        let patience = self.patience.connect_timeout + self.patience.idle_timeout;
        let answer = http.client.execute(request);
        let answer = self.wait(http, answer, patience, meter, interrupt)?;
        answer.map_err(|error| self.trouble(error))
    }

    /// The next bytes of an answer.
    pub(super) fn chunk(
        &self,
        response: &mut Response,
        interrupt: &Interrupt,
    ) -> Result<Option<Bytes>, Fault> {
        let http = self.http().map_err(Fault::Fatal)?;
        let patience = self.patience.idle_timeout;
        let chunk = response.chunk();
        let chunk = self.wait(http, chunk, patience, &Meter::none(), interrupt)?;
        chunk.map_err(|error| self.trouble(error))
    }

    /// All of an answer that must not be large.
    pub(super) fn body(
        &self,
        response: &mut Response,
        limit: usize,
        interrupt: &Interrupt,
    ) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(response, interrupt)? {
            if body.len() + chunk.len() > limit {
                return Err(Fault::Trouble(Trouble::TooLong(limit as u64)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn trouble(&self, error: reqwest::Error) -> Fault {
        Fault::Trouble(Trouble::of(error, self.patience.connect_timeout))
    }

    /// Waits for `future`, but not for ever without progress, and not past the wish to stop.
    /// Dropping the future closes its connection.
    pub(super) fn wait<F: Future>(
        &self,
        http: &Http,
        future: F,
        patience: Duration,
        meter: &Meter<'_>,
        interrupt: &Interrupt,
    ) -> Result<F::Output, Fault> {
        http.run(async {
            let mut future = pin!(future);
            let mut since = Instant::now();
            let mut sent = 0;
            loop {
                interrupt.check()?;
                let output = tokio::time::timeout(TICK, &mut future).await;
                let now = meter.tell();
                if let Ok(output) = output {
                    return Ok(output);
                }
                if now > sent {
                    (sent, since) = (now, Instant::now());
                }
                if since.elapsed() >= patience {
                    return Err(Fault::Trouble(Trouble::Idle(self.patience.idle_timeout)));
                }
            }
        })
    }
}

/// Counts the bytes of a body as they are sent, and tells of each of them once however often it
/// is sent.
pub(super) struct Meter<'a> {
    sent: Arc<AtomicU64>,
    told: AtomicU64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self {
            sent: Arc::default(),
            told: AtomicU64::new(0),
            progress,
        }
    }

    /// Counts for nobody.
    pub(super) fn none() -> Self {
        Self::new(&|_| {})
    }

    /// A body that is counted, from its beginning.
    pub(super) fn body(&self, bytes: Bytes) -> reqwest::Body {
        self.sent.store(0, Ordering::Relaxed);
        reqwest::Body::wrap(Metered {
            bytes,
            sent: Arc::clone(&self.sent),
        })
    }

    /// Tells what is new, and how much has been sent.
    fn tell(&self) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        let told = self.told.fetch_max(sent, Ordering::Relaxed);
        if sent > told {
            (self.progress)(sent - told);
        }
        sent
    }
}

struct Metered {
    bytes: Bytes,
    sent: Arc<AtomicU64>,
}

impl Body for Metered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let most = self.bytes.len().min(SLICE);
        let slice = self.bytes.split_to(most);
        self.sent.fetch_add(most as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// The tries of one thing: how many there were, and whether there is another.
pub(super) struct Tries<'a> {
    patience: &'a net::Settings,
    began: Instant,
    failures: u32,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(patience: &'a net::Settings) -> Self {
        Self {
            patience,
            began: Instant::now(),
            failures: 0,
            made: 0,
        }
    }

    /// How many tries there were.
    pub(super) fn made(&self) -> u32 {
        self.made
    }

    /// A try got further than any before, so the failures before it do not count.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Takes note of a failure that deserves `most` tries. Sleeps, and says whether there is to be
    /// another; a store that `asked` for time is given it, within bounds.
    pub(super) fn again(
        &mut self,
        most: u32,
        asked: Option<Duration>,
        interrupt: &Interrupt,
    ) -> Result<bool, Interrupted> {
        self.failures += 1;
        self.made += 1;
        if self.failures >= most {
            return Ok(false);
        }
        let pause = net::backoff(self.failures, net::jitter(), self.patience);
        let asked = asked.unwrap_or_default().min(self.patience.retry_after_max);
        let pause = pause.max(asked);
        if self.began.elapsed() + pause > self.patience.deadline {
            return Ok(false);
        }
        let end = Instant::now() + pause;
        loop {
            interrupt.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            interrupt.sleep(left)?;
        }
    }
}
