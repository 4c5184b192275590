//! A real S3 server on loopback, in this process, that does wrong what it is told to.

mod buckets;
mod client;
mod fault;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::host::SingleDomain;
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::sync::oneshot;

pub(crate) use self::buckets::{AWS, Store};
use self::buckets::{Buckets, Uploads};
pub(crate) use self::client::{RETRY_AFTER_MAX, environment, patience, remote, root};
use self::fault::Broken;
pub(crate) use self::fault::{Fault, refusal};

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "canary-of-the-secret-key";

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// What it brought, as far as that is known.
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.uri.contains(part)
    }
}

type Faults = dyn Fn(usize, &Seen) -> Fault + Send + Sync;

struct Shared {
    service: S3Service,
    faults: Box<Faults>,
    seen: Mutex<Vec<Seen>>,
    uploads: Arc<Mutex<Uploads>>,
    /// How many requests it is about.
    doing: AtomicUsize,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
    /// Dropped with this, which ends the server.
    _end: oneshot::Sender<()>,
}

impl Server {
    /// Buckets are directories below `root`.
    pub(crate) fn start(root: &Path, store: Store) -> Self {
        Self::faulty(root, store, |_, _| Fault::None)
    }

    /// `faults` is given the number of each request and the request.
    pub(crate) fn faulty(
        root: &Path,
        store: Store,
        faults: impl Fn(usize, &Seen) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let uploads = Arc::default();
        let buckets = Buckets::new(root, store, Arc::clone(&uploads));
        let mut builder = S3ServiceBuilder::new(buckets);
        if let Some(domain) = store.domain {
            builder.set_host(SingleDomain::new(domain).expect("a domain"));
        }
        if !store.public {
            builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        }
        let shared = Arc::new(Shared {
            service: builder.build(),
            faults: Box::new(faults),
            seen: Mutex::default(),
            uploads,
            doing: AtomicUsize::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port on loopback");
        let port = listener.local_addr().expect("bound").port();
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            // An error is the sender's end, which is what is waited for.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        });
        Self {
            port,
            shared,
            _end: end,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic").clone()
    }

    /// How many requests of this kind there were.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let seen = self.seen();
        seen.iter().filter(|seen| seen.is(method, part)).count()
    }

    /// What the requests of this kind brought.
    pub(crate) fn bodies(&self, method: &str, part: &str) -> Vec<String> {
        let seen = self.seen();
        let bodies = seen.iter().filter(|seen| seen.is(method, part));
        bodies
            .map(|seen| String::from_utf8_lossy(&seen.body).into_owned())
            .collect()
    }

    /// The uploads under way: their keys and how many parts each has, once all is done that was
    /// asked for.
    pub(crate) fn uploads(&self) -> Vec<(String, usize)> {
        // What a killed client has sent may still be on its way.
        let mut idle = 0;
        while idle < 10 {
            std::thread::sleep(Duration::from_millis(2));
            let doing = self.shared.doing.load(Ordering::SeqCst) > 0;
            idle = if doing { 0 } else { idle + 1 };
        }
        let uploads = self.shared.uploads.lock().expect("no panic");
        let uploads = uploads.values();
        uploads
            .map(|upload| (upload.key.clone(), upload.parts.len()))
            .collect()
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| serve(Arc::clone(&shared), request));
            // A client that goes away is this server's daily bread.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Broken>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers = parts.headers.iter();
    let seen = Seen {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body: Bytes::new(),
    };
    let number = {
        let mut all = shared.seen.lock().expect("no panic");
        all.push(seen.clone());
        all.len() - 1
    };
    let fault = (shared.faults)(number, &seen);
    let gone = |_| std::io::Error::other("gone");
    let body = body.collect().await.map_err(gone)?.to_bytes();
    if body.len() < 4096 {
        shared.seen.lock().expect("no panic")[number].body = body.clone();
    }
    match &fault {
        Fault::Slow(pause) => tokio::time::sleep(*pause).await,
        Fault::Meet(all) => {
            all.wait().await;
        }
        _ => {}
    }
    let body = match &fault {
        Fault::Answer(status, headers, text) => {
            let mut answer = Response::builder().status(*status);
            for (name, value) in headers {
                answer = answer.header(*name, value);
            }
            let text = Bytes::from(text.clone());
            return Ok(answer
                .body(Broken::new(text, Fault::None))
                .expect("an answer"));
        }
        Fault::Reset => return Err(std::io::Error::other("reset")),
        Fault::Flipped => {
            let mut flipped = body.to_vec();
            if let Some(byte) = flipped.last_mut() {
                *byte ^= 1;
            }
            Bytes::from(flipped)
        }
        _ => body,
    };
    let request = Request::from_parts(parts, s3s::Body::http_body(Full::new(body)));
    // A store finishes what it has begun, whether or not anybody waits for the answer.
    shared.doing.fetch_add(1, Ordering::SeqCst);
    let doing = tokio::spawn(async move {
        let answer = shared.service.call(request).await;
        shared.doing.fetch_sub(1, Ordering::SeqCst);
        answer
    });
    let answer = doing.await.map_err(std::io::Error::other)?;
    let answer = answer.map_err(|_| std::io::Error::other("the service"))?;
    if matches!(fault, Fault::Lost) {
        // Its body is part of the doing.
        let _ = answer.into_body().collect().await;
        return Err(std::io::Error::other("lost"));
    }
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await;
    let bytes = bytes
        .map_err(|_| std::io::Error::other("the body"))?
        .to_bytes();
    Ok(Response::from_parts(parts, Broken::new(bytes, fault)))
}
