//! Images in registries: the distribution specification's pulls (OCI 1.1, "Pull"), at mirrors
//! first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Url;
use serde::Deserialize;

use super::access::Access;
use super::document::{self, Descriptor, Document, LIMIT, LayerRef};
use super::error::{AllTried, OciError, Refusal, Tried};
use super::media::ACCEPT;
use super::reference::Reference;
use super::token::{Keys, Session};
use super::walk::{Role, Root, Source};
use super::{Resolved, Tools};
use crate::model::Sha256;
use crate::net::{Ask, Download, NetError, Reply, Trouble, redact};

/// What is shown of a registry's words.
const WORDS: usize = 300;

/// The registries, and who we are to them: kept for as long as there is something to pull.
pub struct Registries {
    access: Access,
    sessions: Mutex<BTreeMap<(String, String), Arc<Session>>>,
}

impl Registries {
    /// Registries that are spoken to so; nobody is asked anything yet.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            sessions: Mutex::default(),
        }
    }

    fn sessions(&self, reference: &Reference) -> Vec<Arc<Session>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = self.access.endpoints(reference).into_iter();
        endpoints
            .map(|endpoint| {
                let key = (endpoint.origin.clone(), endpoint.repository.clone());
                let session = sessions.entry(key);
                Arc::clone(session.or_insert_with(|| Arc::new(Session::new(endpoint))))
            })
            .collect()
    }
}

/// One image's repository, wherever it is asked for.
pub(super) struct Repository<'a> {
    reference: &'a Reference,
    tools: &'a Tools<'a>,
    sessions: Vec<Arc<Session>>,
}

impl<'a> Repository<'a> {
    pub(super) fn new(reference: &'a Reference, tools: &'a Tools<'a>) -> Self {
        Self {
            reference,
            tools,
            sessions: tools.registries.sessions(reference),
        }
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            sessions: &self.sessions,
            access: &self.tools.registries.access,
            client: self.tools.client,
        }
    }

    /// What the reference names.
    pub(super) fn root(&self) -> Result<Root, OciError> {
        let wanted = self.reference.digest();
        let name = match (wanted, self.reference.tag()) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        let what = format!("the manifest of {}", self.reference);
        self.each(&what, &format!("manifests/{name}"), &ACCEPT, |reply| {
            let digest = Sha256::of(&reply.body);
            if let Some(expected) = wanted {
                same(expected, digest)?;
            }
            // Where the tag alone says what it is, the header is what there is to compare with.
            if let (None, Some(said)) = (wanted, reply.header("docker-content-digest")) {
                let expected = document::digest(said.trim()).map_err(Refusal::Document)?;
                same(expected, digest)?;
            }
            let announced = reply.header("content-type");
            let document = Document::parse(&reply.body, announced).map_err(Refusal::Document)?;
            Ok(Root { document, digest })
        })
    }

    /// Asks one after the other until one gives something that will do.
    fn each<T>(
        &self,
        what: &str,
        path: &str,
        accept: &[&str],
        judge: impl Fn(&Reply) -> Result<T, Refusal>,
    ) -> Result<T, OciError> {
        let mut tried = Vec::new();
        for session in &self.sessions {
            let url = session.base() + path;
            let ask = Ask {
                what,
                url: &url,
                accept,
                form: None,
                limit: LIMIT,
            };
            let reply = self
                .tools
                .client
                .ask(&ask, &self.keys(), self.tools.interrupt);
            let judged = match reply {
                Ok(reply) if reply.is_success() => safe(&url, &reply).and_then(|()| judge(&reply)),
                Ok(reply) => Err(refusal(&reply, session)),
                Err(NetError::Failed { attempts, .. }) => {
                    let last = attempts.0.into_iter().next_back();
                    let trouble = last.map(|attempt| attempt.trouble);
                    let none = Trouble::Protocol("nothing");
                    Err(Refusal::Trouble(trouble.unwrap_or(none)))
                }
                Err(error) => return Err(OciError::of_net(error)),
            };
            match judged {
                Ok(found) => return Ok(found),
                Err(why) => tried.push(Tried {
                    url: redact(&url),
                    why,
                }),
            }
        }
        Err(OciError::Unavailable {
            what: what.to_owned(),
            tried: AllTried(tried),
        })
    }

    /// Where a layer may be had: from the registries, and if it is foreign, from where it says,
    /// where nobody is told who asks.
    fn urls(&self, layer: &LayerRef) -> Vec<String> {
        let path = format!("blobs/sha256:{}", layer.digest);
        let own = self.sessions.iter().map(|session| session.base() + &path);
        let secure = |url: &&String| {
            let parsed = Url::parse(url);
            let bare = |url: &Url| url.username().is_empty() && url.password().is_none();
            parsed.is_ok_and(|url| url.scheme() == "https" && bare(&url))
        };
        let foreign = layer.urls.iter().filter(secure).take(8).cloned();
        own.chain(foreign).collect()
    }

    /// What has to be downloaded.
    pub(super) fn downloads(&self, layers: &[LayerRef]) -> Vec<Download> {
        let download = |layer: &LayerRef| Download {
            what: format!("the layer {} of {}", layer.digest.short(), self.reference),
            urls: self.urls(layer),
            digest: layer.digest,
            size: Some(layer.size),
        };
        layers.iter().map(download).collect()
    }

    /// A layer that nobody gave; those who wanted to know who asks are asked why.
    fn layer(&self, source: NetError) -> OciError {
        let (NetError::Failed { attempts, .. } | NetError::WrongDigest { attempts, .. }) = &source
        else {
            return OciError::of_net(source);
        };
        let denied = |trouble: &Trouble| matches!(trouble, Trouble::Status { code: 401, .. });
        let mut last = attempts.0.iter().rev();
        let refused = last.find(|attempt| denied(&attempt.trouble));
        let session = refused.and_then(|attempt| {
            let mut sessions = self.sessions.iter();
            sessions.find(|session| attempt.url.starts_with(&session.base()))
        });
        let auth = session.map(|session| Box::new(session.denial()));
        let source = Box::new(source);
        OciError::Layer { source, auth }
    }

    /// Fetches the layers, telling of bytes as they come.
    pub(super) fn fetch(
        &self,
        resolved: &Resolved,
        progress: &(dyn Fn(u64) + Sync),
        each: &(dyn Fn() + Sync),
    ) -> Result<(), OciError> {
        let Tools {
            store,
            client,
            interrupt,
            ..
        } = self.tools;
        let downloads = self.downloads(&resolved.unique());
        let done = |_: usize, _: &std::path::Path| each();
        client
            .fetch_all_as(&downloads, &self.keys(), store, interrupt, progress, &done)
            .map_err(|error| match error {
                NetError::Failed { .. } | NetError::WrongDigest { .. } => self.layer(error),
                other => OciError::of_net(other),
            })
    }
}

impl Source for Repository<'_> {
    fn what(&self) -> String {
        self.reference.to_string()
    }

    fn read(&mut self, descriptor: &Descriptor, role: Role) -> Result<Vec<u8>, OciError> {
        let (path, accept) = match role {
            Role::Manifest => ("manifests", &ACCEPT[..]),
            Role::Config => ("blobs", &[][..]),
        };
        let what = format!("{} of {}", role.what(), self.reference);
        let path = format!("{path}/sha256:{}", descriptor.digest);
        self.each(&what, &path, accept, |reply| {
            same(descriptor.digest, Sha256::of(&reply.body))?;
            Ok(reply.body.clone())
        })
    }
}

fn same(expected: Sha256, found: Sha256) -> Result<(), Refusal> {
    if expected == found {
        return Ok(());
    }
    Err(Refusal::Digest { expected, found })
}

/// A registry on loopback may redirect to another host, but not over plain HTTP: what is known by
/// its tag alone could be anybody's then.
fn safe(asked: &str, reply: &Reply) -> Result<(), Refusal> {
    let origin = |url: &str| Url::parse(url).map(|url| url.origin()).ok();
    if reply.url().starts_with("https://") || origin(asked) == origin(reply.url()) {
        return Ok(());
    }
    let host = Url::parse(reply.url()).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    if super::access::is_loopback(host) {
        return Ok(());
    }
    let why = "to another host over plain HTTP".to_owned();
    Err(Refusal::Trouble(Trouble::Redirect(why)))
}

/// What a registry's refusal means.
fn refusal(reply: &Reply, session: &Session) -> Refusal {
    if reply.status == 401 {
        return Refusal::Auth(session.denial());
    }
    Refusal::Status {
        trouble: reply.trouble(),
        words: words(&reply.body).filter(|words| !session.is_betrayed_by(words)),
    }
}

/// What a registry says about its refusal (distribution specification, "Error Codes").
fn words(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        message: Option<String>,
    }
    let Body { errors } = serde_json::from_slice(body).ok()?;
    let message = errors.into_iter().find_map(|entry| entry.message)?;
    let short: String = message.chars().take(WORDS).collect();
    let shown = short.split_whitespace().collect::<Vec<_>>().join(" ");
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_taken_and_bounded() {
        let limit =
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached\nyour limit"}]}"#;
        assert_eq!(words(limit).as_deref(), Some("You have reached your limit"));
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(10_000));
        assert_eq!(words(long.as_bytes()).map(|words| words.len()), Some(WORDS));
        for none in [
            "",
            "<html>",
            "{}",
            r#"{"errors":[]}"#,
            r#"{"errors":[{"code":"X"}]}"#,
        ] {
            assert_eq!(words(none.as_bytes()), None);
        }
    }
}
