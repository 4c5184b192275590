//! The one HTTP client, and the thread that drives its connections.

use std::error::Error as _;
use std::future::Future;

use reqwest::Url;
use reqwest::redirect::{Action, Attempt, Policy};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::{NetError, Settings};

/// A connection pool and what drives it. Made at the first need, since reading the host's
/// certificates takes longer than most commands do.
pub(crate) struct Http {
    pub(crate) client: reqwest::Client,
    runtime: Handle,
    /// Dropped with this, which ends the driving thread.
    _end: oneshot::Sender<()>,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, NetError> {
        let wrong = |error: std::io::Error| NetError::Client(error.to_string());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(wrong)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("net".to_owned())
            .spawn(move || {
                // An error is the sender's end, which is what is waited for.
                let _ = runtime.block_on(ended);
                // A name that is being resolved cannot be called off, only abandoned.
                runtime.shutdown_background();
            })
            .map_err(wrong)?;
        Ok(Self {
            client: client(settings)?,
            runtime: handle,
            _end: end,
        })
    }

    /// Runs a transfer on this thread; the connections are driven by their own.
    pub(crate) fn run<F: Future>(&self, transfer: F) -> F::Output {
        self.runtime.block_on(transfer)
    }
}

fn client(settings: &Settings) -> Result<reqwest::Client, NetError> {
    let most = settings.redirects;
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("pybuild/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .referer(false) // it would hand one server's URL, with its query, to the next
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(settings.parallel)
            .retry(reqwest::retry::never())
            .redirect(match most {
                0 => Policy::none(), // the answer itself is of use
                most => Policy::custom(move |attempt| redirect(attempt, most)),
            });
        if settings.proxy {
            builder
        } else {
            builder.no_proxy()
        }
    };
    // A host without certificates (a minimal container) can still use a mirror over plain HTTP,
    // whose files are checked by digest anyway. There, HTTPS fails when it is met.
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
        .map_err(|error| {
            let cause = error.source().map(ToString::to_string);
            NetError::Client(cause.unwrap_or_else(|| error.to_string()))
        })
}

fn redirect(attempt: Attempt<'_>, most: usize) -> Action {
    match judge(attempt.previous(), attempt.url(), most) {
        Ok(()) => attempt.follow(),
        Err(why) => attempt.error(why),
    }
}

/// Whether a redirect may be followed. What was to be protected must stay so.
fn judge(previous: &[Url], next: &Url, most: usize) -> Result<(), &'static str> {
    let secure = previous.iter().any(|url| url.scheme() == "https");
    match next.scheme() {
        _ if previous.len() > most => Err("too many redirects"),
        "http" if secure => Err("from https to http"),
        "http" | "https" => Ok(()),
        _ => Err("to something that is not the web"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_on_the_web_and_secure() {
        let table: [(&[&str], &str, bool); 7] = [
            (&["http://a.example"], "http://b.example", true),
            (&["http://a.example"], "https://b.example", true),
            (&["https://a.example"], "https://b.example", true),
            (&["https://a.example"], "http://a.example", false),
            (
                &["http://a.example", "https://a.example"],
                "http://a.example",
                false,
            ),
            (&["http://a.example"], "file:///etc/passwd", false),
            (&["http://a.example"; 4], "http://a.example", false),
        ];
        for (previous, next, follow) in table {
            let url = |text: &&str| text.parse::<Url>().expect("a URL");
            let previous: Vec<Url> = previous.iter().map(url).collect();
            let verdict = judge(&previous, &url(&next), 3);
            assert_eq!(verdict.is_ok(), follow, "{next}");
        }
    }
}
