//! The store behind the server: files as objects.

#[path = "copying.rs"]
mod copying;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pybuild::model::Sha256;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

/// What kind of store it is.
#[derive(Clone, Copy)]
pub(crate) struct Store {
    /// Whether it heeds `If-None-Match`.
    pub(crate) conditions: bool,
    /// Whether it lists uploads, and the digests of their parts.
    pub(crate) uploads: bool,
    /// Whether anybody may do anything.
    pub(crate) public: bool,
    /// Below which name buckets have theirs.
    pub(crate) domain: Option<&'static str>,
    /// How many keys a page of a listing has.
    pub(crate) page: i32,
}

pub(crate) const AWS: Store = Store {
    conditions: true,
    uploads: true,
    public: false,
    domain: None,
    page: 3, // small, so that there are several
};

/// The uploads under way, by their ids.
pub(super) type Uploads = BTreeMap<String, Begun>;

pub(super) struct Begun {
    pub(super) key: String,
    at: SystemTime,
    pub(super) parts: BTreeMap<i32, (Option<ETag>, Option<String>, i64)>,
}

/// Files as objects, and what `s3s-fs` does not do of S3: uploads that can be listed, with the
/// digests of their parts, conditions that hold when two come at once, a name for a missing bucket.
pub(super) struct Buckets {
    files: FileSystem,
    store: Store,
    uploads: Arc<Mutex<Uploads>>,
    changing: tokio::sync::Mutex<()>,
    root: PathBuf,
    /// What S3 says of objects that were put in parts: the digest of the parts' digests.
    composites: Mutex<BTreeMap<String, String>>,
}

impl Buckets {
    /// Those that are directories below `root`.
    pub(super) fn new(root: &Path, store: Store, uploads: Arc<Mutex<Uploads>>) -> Self {
        Self {
            files: FileSystem::new(root).expect("a directory"),
            store,
            uploads,
            changing: tokio::sync::Mutex::new(()),
            root: root.to_owned(),
            composites: Mutex::default(),
        }
    }

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

/// The digest of the digests of an upload's parts, if all have one, and how many they are.
fn composite(upload: &Begun) -> Option<String> {
    let mut digests = Vec::new();
    for (_, sha256, _) in upload.parts.values() {
        digests.extend(BASE64_STANDARD.decode(sha256.as_ref()?).ok()?);
    }
    let digest = BASE64_STANDARD.encode(Sha256::of(&digests).as_bytes());
    Some(format!("{digest}-{}", upload.parts.len()))
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
        let composite = {
            let composites = self.composites.lock().expect("no panic");
            composites.get(&req.input.key).cloned()
        };
        let mut head = self.files.head_object(req).await?;
        if head.output.checksum_sha256.is_none() {
            head.output.checksum_sha256 = composite;
        }
        Ok(head)
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
        let key = &req.input.key;
        self.composites.lock().expect("no panic").remove(key);
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
        let key = req.input.key.clone();
        let completed = self
            .files
            .complete_multipart_upload(req)
            .await
            .map_err(gone)?;
        let upload = self.uploads.lock().expect("no panic").remove(&id);
        let composite = upload.and_then(|upload| composite(&upload));
        let mut composites = self.composites.lock().expect("no panic");
        match composite {
            Some(composite) => composites.insert(key, composite),
            None => composites.remove(&key),
        };
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
