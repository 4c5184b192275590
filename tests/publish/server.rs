//! A real S3 server on loopback, in this process, that does wrong what it is told to.

#[path = "copying.rs"]
mod copying;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "canary-of-the-secret-key";

/// What kind of store it is.
#[derive(Clone, Copy)]
pub(crate) struct Store {
    /// Whether it heeds `If-None-Match`.
    pub(crate) conditions: bool,
    /// Whether it lists uploads, and the digests of their parts.
    pub(crate) uploads: bool,
    /// Whether anybody may do anything.
    pub(crate) public: bool,
    /// How many keys a page of a listing has.
    pub(crate) page: i32,
}

pub(crate) const AWS: Store = Store {
    conditions: true,
    uploads: true,
    public: false,
    page: 3, // small, so that there are several
};

/// What is wrong with one request.
#[derive(Clone)]
pub(crate) enum Fault {
    None,
    /// This answer instead of the store's.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It is done, but the answer is lost.
    Lost,
    /// The connection breaks before anything is done.
    Reset,
    /// The answer breaks off after so many bytes of its body.
    Truncated(usize),
    /// Nothing more comes after so many bytes of the answer's body.
    Stalled(usize),
    /// A bit of what arrives is not what was sent.
    Flipped,
}

/// A refusal with its document.
pub(crate) fn refusal(status: u16, code: &str) -> Fault {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    Fault::Answer(status, Vec::new(), text)
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: BTreeMap<String, String>,
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
        let buckets = Buckets {
            files: FileSystem::new(root).expect("a directory"),
            store,
            uploads: Arc::clone(&uploads),
            changing: tokio::sync::Mutex::new(()),
            root: root.to_owned(),
        };
        let mut builder = S3ServiceBuilder::new(buckets);
        if !store.public {
            builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        }
        let shared = Arc::new(Shared {
            service: builder.build(),
            faults: Box::new(faults),
            seen: Mutex::default(),
            uploads,
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

    /// The uploads under way: their keys and how many parts each has.
    pub(crate) fn uploads(&self) -> Vec<(String, usize)> {
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
    };
    let number = {
        let mut all = shared.seen.lock().expect("no panic");
        all.push(seen.clone());
        all.len() - 1
    };
    let fault = (shared.faults)(number, &seen);
    let gone = |_| std::io::Error::other("gone");
    let body = body.collect().await.map_err(gone)?.to_bytes();
    let broken = |bytes: Bytes, fault| Broken {
        left: bytes.len() as u64,
        bytes,
        fault,
        sent: 0,
        flushed: false,
    };
    let body = match &fault {
        Fault::Answer(status, headers, text) => {
            let mut answer = Response::builder().status(*status);
            for (name, value) in headers {
                answer = answer.header(*name, value);
            }
            let text = Bytes::from(text.clone());
            return Ok(answer.body(broken(text, Fault::None)).expect("an answer"));
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
    let answer = shared.service.call(request).await;
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
    Ok(Response::from_parts(parts, broken(bytes, fault)))
}

/// A body that may break off.
struct Broken {
    bytes: Bytes,
    left: u64,
    fault: Fault,
    sent: usize,
    /// What came before the break has been sent.
    flushed: bool,
}

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let at = match self.fault {
            Fault::Truncated(at) | Fault::Stalled(at) => at,
            _ => usize::MAX,
        };
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if self.sent >= at {
            if matches!(self.fault, Fault::Truncated(_)) {
                if !std::mem::replace(&mut self.flushed, true) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Err(std::io::Error::other("truncated"))));
            }
            // Nobody wakes this any more.
            return Poll::Pending;
        }
        let most = self.bytes.len().min(at - self.sent).min(64 << 10);
        let slice = self.bytes.split_to(most);
        self.sent += most;
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left - self.sent as u64)
    }
}

type Uploads = BTreeMap<String, Begun>;

struct Begun {
    key: String,
    at: SystemTime,
    parts: BTreeMap<i32, (Option<ETag>, Option<String>, i64)>,
}

/// Files as objects, and what `s3s-fs` does not do of S3: uploads that can be listed, with the
/// digests of their parts, conditions that hold when two come at once, a name for a missing bucket.
struct Buckets {
    files: FileSystem,
    store: Store,
    uploads: Arc<Mutex<Uploads>>,
    changing: tokio::sync::Mutex<()>,
    root: PathBuf,
}

impl Buckets {
    fn bucket(&self, name: &str) -> S3Result<()> {
        if self.root.join(name).exists() {
            Ok(())
        } else {
            Err(s3_error!(NoSuchBucket))
        }
    }

    fn known(&self, id: &str) -> S3Result<()> {
        if self.uploads.lock().expect("no panic").contains_key(id) {
            Ok(())
        } else {
            Err(s3_error!(NoSuchUpload))
        }
    }
}

/// `s3s-fs` says of an upload that it does not know that it is not yours.
fn gone(error: S3Error) -> S3Error {
    match error.code() {
        S3ErrorCode::AccessDenied => s3_error!(NoSuchUpload),
        _ => error,
    }
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.bucket(&req.input.bucket)?;
        if let Some(condition) = &req.input.if_match {
            let head = HeadObjectInput::builder()
                .bucket(req.input.bucket.clone())
                .key(req.input.key.clone())
                .build()
                .expect("all that it takes");
            let head = self
                .files
                .head_object(S3Request {
                    input: head,
                    method: req.method.clone(),
                    uri: req.uri.clone(),
                    headers: req.headers.clone(),
                    extensions: hyper::http::Extensions::default(),
                    credentials: None,
                    region: None,
                    service: None,
                    trailing_headers: None,
                })
                .await?;
            let same = match (condition.as_etag(), head.output.e_tag) {
                (Some(asked), Some(there)) => asked.strong_cmp(&there),
                _ => true,
            };
            if !same {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        self.files.get_object(req).await
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        match self.files.delete_object(req).await {
            Err(error) if *error.code() == S3ErrorCode::NoSuchKey => {
                Ok(S3Response::new(DeleteObjectOutput::default()))
            }
            other => other,
        }
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let mut req = req;
        req.input.max_keys = Some(self.store.page);
        req.input.encoding_type = None;
        self.files.list_objects_v2(req).await
    }

    async fn copy_object(
        &self,
        mut req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        if !self.store.conditions {
            req.input.copy_source_if_match = None;
        }
        self.files.copy_object(req).await
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.copied_part(req).await
    }

    async fn put_object(
        &self,
        mut req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        self.bucket(&req.input.bucket)?;
        let _changing = self.changing.lock().await;
        if !self.store.conditions {
            req.input.if_none_match = None;
        }
        self.files.put_object(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.bucket(&req.input.bucket)?;
        let key = req.input.key.clone();
        let begun = self.files.create_multipart_upload(req).await?;
        let id = begun.output.upload_id.clone().expect("it has an id");
        let parts = BTreeMap::new();
        let at = SystemTime::now();
        self.uploads
            .lock()
            .expect("no panic")
            .insert(id, Begun { key, at, parts });
        Ok(begun)
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        self.known(&id)?;
        let sha256 = req.input.checksum_sha256.clone();
        let size = req.input.content_length.unwrap_or_default();
        let mut sent = self.files.upload_part(req).await.map_err(gone)?;
        let part = (sent.output.e_tag.clone(), sha256.clone(), size);
        sent.output.checksum_sha256 = sha256;
        if let Some(upload) = self.uploads.lock().expect("no panic").get_mut(&id) {
            upload.parts.insert(number, part);
        }
        Ok(sent)
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        self.known(&req.input.upload_id)?;
        let uploads = self.uploads.lock().expect("no panic");
        let upload = &uploads[&req.input.upload_id];
        let parts = upload
            .parts
            .iter()
            .map(|(number, (etag, sha256, size))| Part {
                part_number: Some(*number),
                e_tag: etag.clone(),
                checksum_sha256: sha256.clone(),
                size: Some(*size),
                ..Part::default()
            });
        let parts = Some(parts.collect());
        Ok(S3Response::new(ListPartsOutput {
            parts,
            ..ListPartsOutput::default()
        }))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        if !self.store.uploads {
            return Err(s3_error!(NotImplemented));
        }
        let prefix = req.input.prefix.unwrap_or_default();
        let uploads = self.uploads.lock().expect("no panic");
        let below = uploads
            .iter()
            .filter(|(_, upload)| upload.key.starts_with(&prefix));
        let uploads = below.map(|(id, upload)| MultipartUpload {
            key: Some(upload.key.clone()),
            upload_id: Some(id.clone()),
            initiated: Some(Timestamp::from(upload.at)),
            ..MultipartUpload::default()
        });
        let uploads = Some(uploads.collect());
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads,
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _changing = self.changing.lock().await;
        let id = req.input.upload_id.clone();
        self.known(&id)?;
        if !self.store.conditions {
            req.input.if_none_match = None;
        }
        let asked = req
            .input
            .multipart_upload
            .clone()
            .unwrap_or_default()
            .parts
            .unwrap_or_default();
        {
            let uploads = self.uploads.lock().expect("no panic");
            let there = &uploads[&id].parts;
            for part in &asked {
                let found = part.part_number.and_then(|number| there.get(&number));
                if found.is_none_or(|(etag, _, _)| *etag != part.e_tag) {
                    return Err(s3_error!(InvalidPart));
                }
            }
        }
        let completed = self
            .files
            .complete_multipart_upload(req)
            .await
            .map_err(gone)?;
        self.uploads.lock().expect("no panic").remove(&id);
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let id = req.input.upload_id.clone();
        self.known(&id)?;
        let _changing = self.changing.lock().await;
        let aborted = self.files.abort_multipart_upload(req).await.map_err(gone)?;
        self.uploads.lock().expect("no panic").remove(&id);
        Ok(aborted)
    }
}

/// What a server that asks for time is given at most.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_millis(300);
/// A pause between two tries.
pub(crate) const SHORT: Duration = Duration::from_millis(2);
