//! A part of an upload as a copy, which `s3s-fs` does without a digest and without conditions.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pybuild::model::Sha256;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use super::{Buckets, gone};

impl Buckets {
    pub(super) async fn copied_part(
        &self,
        mut req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let (id, number) = (req.input.upload_id.clone(), req.input.part_number);
        self.known(&id)?;
        let CopySource::Bucket { bucket, key, .. } = &req.input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        let path = self.root.join(&**bucket).join(&**key);
        if let Some(condition) = req.input.copy_source_if_match.take()
            && self.store.conditions
        {
            let head = HeadObjectInput::builder()
                .bucket(bucket.to_string())
                .key(key.to_string())
                .build()
                .expect("all that it takes");
            let head = self.files.head_object(S3Request {
                input: head,
                method: hyper::Method::HEAD,
                uri: req.uri.clone(),
                headers: req.headers.clone(),
                extensions: hyper::http::Extensions::default(),
                credentials: None,
                region: None,
                service: None,
                trailing_headers: None,
            });
            let head = head.await?;
            let same = match (condition.as_etag(), head.output.e_tag) {
                (Some(asked), Some(there)) => asked.strong_cmp(&there),
                _ => true,
            };
            if !same {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        let bytes = std::fs::read(path).map_err(|_| s3_error!(NoSuchKey))?;
        assert_eq!(req.input.copy_source_range, None, "it is small");
        let mut copied = self.files.upload_part_copy(req).await.map_err(gone)?;
        let sha256 = Some(BASE64_STANDARD.encode(Sha256::of(&bytes).as_bytes()));
        let size = i64::try_from(bytes.len()).expect("small");
        let result = copied.output.copy_part_result.as_mut().expect("a result");
        let part = (result.e_tag.clone(), sha256.clone(), size);
        result.checksum_sha256 = sha256;
        if let Some(upload) = self.uploads.lock().expect("no panic").get_mut(&id) {
            upload.parts.insert(number, part);
        }
        Ok(copied)
    }
}
