//! Downloads: the one HTTP client, retries, mirrors, resumption, and digests checked on the way.
//!
//! A [`Download`] is known by its SHA-256 before it begins, so any URL and any half of an earlier
//! attempt will do, and nothing wrong is ever kept.

mod answer;
mod authority;
mod error;
mod exchange;
mod http;
mod partial;
mod redact;
mod retry;
mod transfer;
mod trouble;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;

use self::partial::Partial;
use self::retry::{Schedule, Step};
use self::transfer::{Failure, Halt, Resume, Sink};
use crate::model::{Quiet, Sha256};
use crate::store::Store;
use crate::sys::interrupt::Interrupt;

pub use authority::{Anonymous, Authority};
pub use error::{Attempt, Attempts, NetError};
pub use exchange::{Ask, Reply};
pub(crate) use http::Http;
pub(crate) use redact::redact;
pub(crate) use retry::{backoff, retry_after, tries};
pub use trouble::Trouble;

/// How patient and how busy a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a URL is tried whose failure may pass.
    pub tries: u32,
    /// The first pause before a URL is tried again; it doubles with each.
    pub backoff: Duration,
    /// The longest such pause.
    pub backoff_max: Duration,
    /// The longest pause that a server's `Retry-After` can ask for.
    pub retry_after_max: Duration,
    /// No URL is tried again so long after a download began.
    pub deadline: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long nothing may come.
    pub idle_timeout: Duration,
    /// How many bytes must come in each `idle_timeout`.
    pub low_speed: u64,
    /// How many redirects are followed.
    pub redirects: usize,
    /// How many downloads [`Client::fetch_all`] runs at once.
    pub parallel: usize,
    /// Whether `http_proxy` and its kin are heeded.
    pub proxy: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tries: 5,
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(60),
            deadline: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            low_speed: 1024,
            redirects: 10,
            parallel: 8,
            proxy: true,
        }
    }
}

/// Something to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// What it is, for messages: `Python-3.11.2.tgz`.
    pub what: String,
    /// Where it may be had, in order of preference: `http`, `https` or `file` URLs.
    pub urls: Vec<String>,
    /// What it must be.
    pub digest: Sha256,
    /// How many bytes it must have, where that is known.
    pub size: Option<u64>,
}

/// Downloads things. Shared between threads.
pub struct Client {
    settings: Settings,
    http: OnceLock<Http>,
    /// The same without redirects.
    direct: OnceLock<Http>,
    making: Mutex<()>,
}

impl Client {
    /// A client that has done nothing yet: it connects and starts a thread at its first need.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            http: OnceLock::new(),
            direct: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    /// Puts a download into the store, unless it is there. `progress` is told of bytes as they
    /// are there, of each byte once. One download of a blob runs at a time on a store: others
    /// wait, and find it.
    pub fn fetch(
        &self,
        download: &Download,
        store: &Store,
        interrupt: &Interrupt,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<PathBuf, NetError> {
        let stop = &AtomicBool::new(false);
        let halt = Halt { interrupt, stop };
        self.fetch_until(download, &Anonymous, store, halt, progress)
    }

    /// Puts downloads into the store, several at a time, begun in the order given. `each` is
    /// called with the number and the blob of each as soon as it is there, on the thread that
    /// fetched it. The first failure ends the others.
    pub fn fetch_all(
        &self,
        downloads: &[Download],
        store: &Store,
        interrupt: &Interrupt,
        progress: &(dyn Fn(u64) + Sync),
        each: &(dyn Fn(usize, &Path) + Sync),
    ) -> Result<(), NetError> {
        self.fetch_all_as(downloads, &Anonymous, store, interrupt, progress, each)
    }

    /// The same from servers that want to know who asks.
    pub fn fetch_all_as(
        &self,
        downloads: &[Download],
        authority: &dyn Authority,
        store: &Store,
        interrupt: &Interrupt,
        progress: &(dyn Fn(u64) + Sync),
        each: &(dyn Fn(usize, &Path) + Sync),
    ) -> Result<(), NetError> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let first = Mutex::new(None);
        let halt = Halt {
            interrupt,
            stop: &stop,
        };
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(download) = downloads.get(n) else {
                    return;
                };
                match self.fetch_until(download, authority, store, halt, progress) {
                    Ok(blob) => each(n, &blob),
                    Err(error) => {
                        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.settings.parallel.clamp(1, downloads.len().max(1)) {
                scope.spawn(work);
            }
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }

    /// Reads a small document of at most `limit` bytes whose digest nobody knows.
    pub fn get(&self, url: &str, limit: u64, interrupt: &Interrupt) -> Result<Vec<u8>, NetError> {
        let stop = &AtomicBool::new(false);
        let halt = Halt { interrupt, stop };
        let mut memory = Memory {
            bytes: Vec::new(),
            limit,
        };
        let urls = [url.to_owned()];
        let done = |_: &mut Memory| Ok(());
        match self.attempts(&urls, &Anonymous, halt, &mut memory, done, |_| 0)? {
            None => Ok(memory.bytes),
            Some(attempts) => Err(NetError::Failed {
                what: redact(url),
                attempts,
            }),
        }
    }

    fn fetch_until(
        &self,
        download: &Download,
        authority: &dyn Authority,
        store: &Store,
        halt: Halt<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<PathBuf, NetError> {
        let found = || {
            let blob = store.blob(&download.digest)?;
            progress(blob.metadata().map_or(0, |blob| blob.len()));
            Some(blob)
        };
        halt.check()?;
        if let Some(blob) = found() {
            return Ok(blob);
        }
        let key = format!("blob-{}", download.digest);
        let _lock = store.lock(&key, &Quiet, halt.interrupt)?;
        if let Some(blob) = found() {
            return Ok(blob);
        }
        let mut partial = Partial::open(store, download, &halt, progress)?;
        if partial.is_whole() {
            match partial.finish() {
                Ok(blob) => return Ok(blob),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(_) => {} // it is gone now, and fetched anew
            }
        }
        let mut blob = store.blob_path(&download.digest);
        let finish = |partial: &mut Partial<'_>| {
            blob = partial.finish()?;
            Ok(())
        };
        let furthest = |partial: &Partial<'_>| partial.furthest();
        let urls = &download.urls;
        let attempts = self.attempts(urls, authority, halt, &mut partial, finish, furthest)?;
        let Some(attempts) = attempts else {
            return Ok(blob);
        };
        let what = download.what.clone();
        let expected = download.digest;
        let wrong = |attempt: &Attempt| matches!(attempt.trouble, Trouble::Digest(_));
        if !attempts.0.iter().any(wrong) {
            return Err(NetError::Failed { what, attempts });
        }
        partial.discard()?;
        Err(NetError::WrongDigest {
            what,
            expected,
            attempts,
        })
    }

    /// Tries the URLs, each as often as it deserves, until one gives everything; else says what
    /// became of each.
    fn attempts<S: Sink>(
        &self,
        urls: &[String],
        authority: &dyn Authority,
        halt: Halt<'_>,
        sink: &mut S,
        mut finish: impl FnMut(&mut S) -> Result<(), Failure>,
        furthest: impl Fn(&S) -> u64,
    ) -> Result<Option<Attempts>, NetError> {
        let began = Instant::now();
        let mut schedule = Schedule::new(urls.len(), &self.settings);
        let mut tries: Vec<(u32, Option<Trouble>)> = vec![(0, None); urls.len()];
        while let Step::Try { url, wait } = schedule.next(began.elapsed()) {
            halt.sleep(wait)?;
            let before = furthest(sink);
            let result = self
                .attempt(&urls[url], authority, sink, halt)
                .and_then(|()| finish(sink));
            let trouble = match result {
                Ok(()) => return Ok(None),
                Err(Failure::Trouble(trouble)) => trouble,
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Challenged(_)) => Trouble::Status {
                    code: 401,
                    retry_after: None,
                },
            };
            let progressed = furthest(sink) > before;
            schedule.failed(url, &trouble, progressed, began.elapsed(), jitter());
            tries[url].0 += 1;
            tries[url].1 = Some(trouble);
        }
        let attempts = urls
            .iter()
            .zip(tries)
            .filter_map(|(url, (tries, trouble))| {
                Some(Attempt {
                    url: redact(url),
                    tries,
                    trouble: trouble?,
                })
            });
        Ok(Some(Attempts(attempts.collect())))
    }

    fn attempt(
        &self,
        url: &str,
        authority: &dyn Authority,
        sink: &mut dyn Sink,
        halt: Halt<'_>,
    ) -> Result<(), Failure> {
        let parsed = Url::parse(url).map_err(|error| Trouble::Url(error.to_string()))?;
        match parsed.scheme() {
            "file" => transfer::file(&parsed, sink, halt),
            "http" | "https" => {
                let http = self.http()?;
                transfer::authorized(url, authority, halt, |sent| {
                    let sent = transfer::authorization(sent)?;
                    let (client, settings) = (&http.client, &self.settings);
                    http.run(transfer::http(client, &parsed, sent, sink, halt, settings))
                })
            }
            other => Err(Trouble::Url(format!("its scheme is {other}")).into()),
        }
    }

    fn http(&self) -> Result<&Http, NetError> {
        self.made(&self.http, &self.settings)
    }

    fn made<'h>(
        &self,
        place: &'h OnceLock<Http>,
        settings: &Settings,
    ) -> Result<&'h Http, NetError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = place.get() {
            return Ok(http);
        }
        let http = Http::new(settings)?;
        Ok(place.get_or_init(|| http))
    }
}

/// A number between 0 and 1 that another process draws differently.
pub(crate) fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// A small document.
struct Memory {
    bytes: Vec<u8>,
    limit: u64,
}

impl Sink for Memory {
    fn expected(&self) -> Option<u64> {
        None
    }

    fn resume(&self, _: &str) -> Option<Resume> {
        None
    }

    fn restart(&mut self, _: &str, length: Option<u64>, _: Option<String>) -> Result<(), Failure> {
        self.bytes.clear();
        match length {
            Some(length) if length > self.limit => Err(Trouble::TooLong(self.limit).into()),
            _ => Ok(()),
        }
    }

    fn resumed(&mut self) {}

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            return Err(Trouble::TooLong(self.limit).into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}
