//! The documents of S3's protocol. Pure.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::publish::content::{Object, StaleUpload};

/// Reads a document whose root has this name.
pub(super) fn parse<T: DeserializeOwned>(root: &str, body: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    match name(text) {
        Some(found) if found == root => {
            quick_xml::de::from_str(text).map_err(|error| error.to_string())
        }
        Some(found) => Err(format!("it is a `{found}`, not a `{root}`")),
        None => Err(format!("it is no `{root}`")),
    }
}

/// The name of the root.
pub(super) fn name(text: &str) -> Option<String> {
    let mut reader = Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => {
                return Some(String::from_utf8_lossy(start.local_name().as_ref()).into_owned());
            }
            Event::Eof => return None,
            Event::Text(text) if !text.iter().all(u8::is_ascii_whitespace) => return None,
            _ => {}
        }
    }
}

/// A page of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    #[serde(default)]
    is_truncated: bool,
    next_continuation_token: Option<String>,
    encoding_type: Option<String>,
    #[serde(default)]
    contents: Vec<Contents>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    last_modified: String,
    size: u64,
}

impl ListBucketResult {
    /// The objects with their keys relative to the prefix, and how to ask for the next page.
    pub(super) fn objects(
        self,
        prefix: &str,
    ) -> Result<(Vec<Object>, Option<String>), &'static str> {
        let encoded = self.encoding_type.as_deref() == Some("url");
        let object = |contents: Contents| -> Result<Option<Object>, &'static str> {
            let key = decode(contents.key, encoded);
            let Some(key) = key.strip_prefix(prefix) else {
                return Err("it lists what was not asked for");
            };
            // The prefix itself is what consoles make to show a folder.
            let object = || -> Result<Object, &'static str> {
                Ok(Object {
                    key: key.to_owned(),
                    size: contents.size,
                    modified: seconds(&contents.last_modified)?,
                })
            };
            (!key.is_empty()).then(object).transpose()
        };
        let objects = self.contents.into_iter().map(object);
        let objects = objects
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        let next = match (self.is_truncated, self.next_continuation_token) {
            (false, _) => None,
            (true, Some(token)) => Some(token),
            (true, None) => return Err("it says that there is more, but not how to ask for it"),
        };
        Ok((objects, next))
    }
}

/// A page of the uploads that were begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMultipartUploadsResult {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    encoding_type: Option<String>,
    #[serde(default)]
    upload: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    #[serde(rename = "UploadId")]
    id: String,
    initiated: String,
}

/// Behind which key and which upload the next page begins.
pub(super) type Markers = (String, String);

impl ListMultipartUploadsResult {
    /// The uploads, and the two markers of the next page.
    pub(super) fn uploads(
        self,
        prefix: &str,
    ) -> Result<(Vec<StaleUpload>, Option<Markers>), &'static str> {
        let encoded = self.encoding_type.as_deref() == Some("url");
        let upload = |upload: Upload| -> Result<StaleUpload, &'static str> {
            let key = decode(upload.key, encoded);
            let key = key.strip_prefix(prefix);
            Ok(StaleUpload {
                key: key.ok_or("it lists what was not asked for")?.to_owned(),
                id: upload.id,
                started: seconds(&upload.initiated)?,
            })
        };
        let uploads = self
            .upload
            .into_iter()
            .map(upload)
            .collect::<Result<_, _>>()?;
        let next = match (self.is_truncated, self.next_key_marker) {
            (false, _) => None,
            (true, Some(key)) => {
                let id = self.next_upload_id_marker.unwrap_or_default();
                Some((decode(key, encoded), id))
            }
            (true, None) => return Err("it says that there is more, but not how to ask for it"),
        };
        Ok((uploads, next))
    }
}

/// A page of the parts of an upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListPartsResult {
    #[serde(default)]
    pub(super) is_truncated: bool,
    pub(super) next_part_number_marker: Option<String>,
    #[serde(default)]
    pub(super) part: Vec<Part>,
}

/// A part that is there.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "PartNumber")]
    pub(super) number: u32,
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    #[serde(rename = "Size")]
    pub(super) size: u64,
    /// In base 64.
    #[serde(rename = "ChecksumSHA256")]
    pub(super) sha256: Option<String>,
}

/// An upload that was begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InitiateMultipartUploadResult {
    pub(super) upload_id: String,
}

/// An object, or a part of one, that was copied or completed.
#[derive(Debug, Deserialize)]
pub(super) struct Copied {
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    pub(super) sha256: Option<String>,
}

fn decode(key: String, encoded: bool) -> String {
    if !encoded {
        return key;
    }
    let bytes = key.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        match (byte, pair) {
            (b'%', Some(decoded)) => {
                plain.push(decoded);
                at += 3;
            }
            (b'+', _) => {
                plain.push(b' ');
                at += 1;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn seconds(time: &str) -> Result<i64, &'static str> {
    let time = time.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_second)
        .map_err(|_| "a time in it is none")
}

/// The parts of an upload, for its completion.
pub(super) fn complete(parts: &[(u32, String, Option<String>)]) -> String {
    let mut text = "<CompleteMultipartUpload>".to_owned();
    for (number, etag, sha256) in parts {
        let etag = quick_xml::escape::escape(etag);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
        );
        if let Some(sha256) = sha256 {
            let _ = write!(text, "<ChecksumSHA256>{sha256}</ChecksumSHA256>");
        }
        text.push_str("</Part>");
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><IsTruncated>true</IsTruncated>\
            <EncodingType>url</EncodingType><NextContinuationToken>t</NextContinuationToken>\
            <Contents><Key>p/</Key><LastModified>2024-01-02T03:04:05.000Z</LastModified><Size>0</Size></Contents>\
            <Contents><Key>p/a%2Bb+c%C3%BC</Key><LastModified>1970-01-01T00:00:07Z</LastModified><Size>5</Size></Contents>\
            </ListBucketResult>";
        let list: ListBucketResult = parse("ListBucketResult", text.as_bytes()).expect("a listing");
        let (objects, next) = list.objects("p/").expect("sound");
        let object = Object {
            key: "a+b cü".to_owned(),
            size: 5,
            modified: 7,
        };
        assert_eq!((objects, next.as_deref()), (vec![object], Some("t")));
        let list: ListBucketResult = parse("ListBucketResult", text.as_bytes()).expect("a listing");
        assert!(list.objects("q/").is_err());
    }

    #[test]
    fn other_documents_are_refused() {
        for text in ["", "x", "<Error/>", "<a", "<html><body></html>", "{}"] {
            assert!(parse::<ListBucketResult>("ListBucketResult", text.as_bytes()).is_err());
        }
        assert_eq!(
            name("<?xml?>\n <Error><Code/></Error>").as_deref(),
            Some("Error")
        );
        assert_eq!(name("tarball <Error/>"), None);
    }
}
