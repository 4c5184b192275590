//! Who we are to one repository of one registry: found out at its first challenge, kept, and
//! found out anew when it is refused.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use super::access::{Access, AccessError, Endpoint};
use super::challenge::{self, Challenge};
use super::credentials::Credential;
use super::error::{AuthError, may_pass};
use crate::model::Secret;
use crate::net::{Anonymous, Ask, Authority, Client, NetError, Reply};
use crate::sys::interrupt::Interrupt;

/// Bytes of a token server's answer at most.
const LIMIT: u64 = 1 << 20;

/// What authorises requests for one repository. Shared between threads.
pub(super) struct Session {
    pub(super) endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What `Authorization` says; nothing before the first challenge.
    authorization: Option<Secret>,
    /// Where the credential for it comes from, if there is one.
    from: Option<PathBuf>,
    /// Why there is nothing better.
    failure: Option<AuthError>,
}

impl Session {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the registry does not let us, which has just said so.
    pub(super) fn denial(&self) -> AuthError {
        let state = self.state();
        let registry = self.endpoint.registry.clone();
        let known = || match state.from.clone() {
            Some(path) => AuthError::Refused { path },
            None => AuthError::Missing { registry },
        };
        state.failure.clone().unwrap_or_else(known)
    }

    /// Whether a text, what a registry says, holds what it was told of us.
    pub(super) fn is_betrayed_by(&self, text: &str) -> bool {
        let state = self.state();
        let told = state.authorization.as_ref().map(Secret::reveal);
        let Some((_, told)) = told.and_then(|told| told.split_once(' ')) else {
            return false;
        };
        let pair = STANDARD.decode(told).ok();
        let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
        let password = pair.as_deref().and_then(|pair| pair.split_once(':'));
        text.contains(told) || password.is_some_and(|(_, password)| text.contains(password))
    }

    /// `https://registry.example.org/v2/owner/image/`, which all its URLs begin with.
    pub(super) fn base(&self) -> String {
        let Endpoint {
            origin, repository, ..
        } = &self.endpoint;
        format!("{origin}/v2/{repository}/")
    }

    /// Whether a URL is one of those that [`Session::base`] is for. What is not made here (a
    /// foreign layer's) could climb out of it.
    fn is_for(&self, url: &str) -> bool {
        let rest = url.strip_prefix(&self.base());
        let name = rest.and_then(|rest| {
            let blob = rest.strip_prefix("blobs/");
            blob.or_else(|| rest.strip_prefix("manifests/"))
        });
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        name.is_some_and(|name| !name.starts_with('.') && name.bytes().all(fits))
    }
}

/// The sessions that a lot of requests may need, and what they take.
pub(super) struct Keys<'a> {
    pub(super) sessions: &'a [std::sync::Arc<Session>],
    pub(super) access: &'a Access,
    pub(super) client: &'a Client,
}

impl Authority for Keys<'_> {
    fn authorization(&self, url: &str) -> Option<Secret> {
        let session = self.sessions.iter().find(|session| session.is_for(url))?;
        session.state().authorization.clone()
    }

    fn challenged(
        &self,
        url: &str,
        sent: Option<&Secret>,
        challenges: &[String],
        interrupt: &Interrupt,
    ) -> Result<bool, NetError> {
        let Some(session) = self.sessions.iter().find(|session| session.is_for(url)) else {
            return Ok(false);
        };
        // Held while it is found out, so that it is found out once.
        let mut state = session.state();
        if state.authorization.as_ref() != sent {
            return Ok(true);
        }
        match self.answer(&session.endpoint, sent, challenges, interrupt)? {
            Ok((authorization, from)) => {
                *state = State {
                    authorization: Some(authorization),
                    from,
                    failure: None,
                };
                Ok(true)
            }
            Err(failure) => {
                state.failure = Some(failure);
                Ok(false)
            }
        }
    }
}

/// What to say, and where the credential for it comes from.
type Found = Result<(Secret, Option<PathBuf>), AuthError>;

impl Keys<'_> {
    /// What to say to a challenge.
    fn answer(
        &self,
        endpoint: &Endpoint,
        sent: Option<&Secret>,
        challenges: &[String],
        interrupt: &Interrupt,
    ) -> Result<Found, NetError> {
        let registry = &endpoint.registry;
        let missing = || AuthError::Missing {
            registry: registry.clone(),
        };
        let credential = self
            .access
            .credential(registry, &endpoint.repository, interrupt);
        let credential = match credential {
            Ok(credential) => credential,
            Err(AccessError::Interrupted(interrupted)) => return Err(interrupted.into()),
            Err(error) => {
                let why = error.to_string();
                return Ok(Err(AuthError::Unusable { why }));
            }
        };
        match challenge::parse(challenges) {
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let scopes = challenge::scopes(&endpoint.repository, scope.as_deref());
                let question = Question {
                    realm,
                    service,
                    scopes,
                };
                self.token(endpoint, &question, credential, interrupt)
            }
            Some(Challenge::Basic) => Ok(match credential {
                None => Err(missing()),
                Some((credential, path)) => match credential.basic() {
                    Some(basic) if Some(&basic) != sent => Ok((basic, Some(path))),
                    _ => Err(AuthError::Refused { path }),
                },
            }),
            None => Ok(Err(AuthError::Unusable {
                why: "it does not say how they are to be given".to_owned(),
            })),
        }
    }

    /// Asks a token server.
    fn token(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        credential: Option<(Credential, PathBuf)>,
        interrupt: &Interrupt,
    ) -> Result<Found, NetError> {
        let url = match question.url(endpoint, self.access) {
            Ok(url) => url,
            Err(error) => return Ok(Err(error)),
        };
        let server = url.origin().ascii_serialization() + url.path();
        let failed = |why: String, passing| AuthError::Server {
            server: server.clone(),
            why,
            passing,
        };
        let asked = match &credential {
            Some((Credential::Identity(token), _)) => {
                let form = question.form(token);
                self.ask(&url, Some(&form), &Anonymous, interrupt)
            }
            Some((credential, _)) => {
                let basic = Fixed(credential.basic());
                let url = question.query(url);
                self.ask(&url, None, &basic, interrupt)
            }
            None => self.ask(&question.query(url), None, &Anonymous, interrupt),
        };
        let reply = match asked {
            Ok(reply) => reply,
            Err(NetError::Failed { attempts, .. }) => {
                let last = attempts.0.into_iter().next_back();
                let trouble = last.map(|attempt| attempt.trouble);
                let passing = trouble.as_ref().is_some_and(may_pass);
                let why = trouble.map(|trouble| trouble.to_string());
                return Ok(Err(failed(why.unwrap_or_default(), passing)));
            }
            Err(error) => return Err(error),
        };
        let from = credential.map(|(_, path)| path);
        Ok(match (reply.status, from) {
            (400 | 401 | 403, Some(path)) => Err(AuthError::Refused { path }),
            (401 | 403, None) => Err(AuthError::Missing {
                registry: endpoint.registry.clone(),
            }),
            (200..=299, from) => match challenge::token(&reply.body) {
                Ok(token) => Ok((Secret::new(format!("Bearer {}", token.reveal())), from)),
                Err(error) => Err(failed(format!("what it gives {error}"), false)),
            },
            _ => Err(failed(reply.trouble().to_string(), false)),
        })
    }

    fn ask(
        &self,
        url: &Url,
        form: Option<&Secret>,
        authority: &dyn Authority,
        interrupt: &Interrupt,
    ) -> Result<Reply, NetError> {
        let ask = Ask {
            what: "a token",
            url: url.as_str(),
            accept: &["application/json"],
            form,
            limit: LIMIT,
        };
        self.client.ask(&ask, authority, interrupt)
    }
}

/// What a token server is asked.
struct Question {
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
}

impl Question {
    /// The server's URL. Passwords and tokens go there: it must be as safe as its registry.
    fn url(&self, endpoint: &Endpoint, access: &Access) -> Result<Url, AuthError> {
        let unusable = |why: &str| AuthError::Unusable {
            why: why.to_owned(),
        };
        let mut url = Url::parse(&self.realm)
            .map_err(|_| unusable("its token server has no URL that is one"))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let plain = endpoint.origin.starts_with("http://") && access.is_plain(&host);
        if url.scheme() != "https" && !(url.scheme() == "http" && plain) {
            return Err(unusable("its token server is not spoken to over HTTPS"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unusable("its token server's URL holds credentials"));
        }
        url.set_fragment(None);
        Ok(url)
    }

    /// As a GET: the distribution project's token specification.
    fn query(&self, mut url: Url) -> Url {
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(service) = &self.service {
                pairs.append_pair("service", service);
            }
            for scope in &self.scopes {
                pairs.append_pair("scope", scope);
            }
        }
        url
    }

    /// As a POST: the same project's specification of OAuth 2, for identity tokens.
    fn form(&self, token: &Secret) -> Secret {
        let mut form = String::new();
        let scopes = self.scopes.join(" ");
        let pairs = [
            ("grant_type", "refresh_token"),
            ("client_id", "pybuild"),
            ("service", self.service.as_deref().unwrap_or_default()),
            ("scope", &scopes),
            ("refresh_token", token.reveal()),
        ];
        for (name, value) in pairs {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            for byte in value.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    form.push(char::from(byte));
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(form, "%{byte:02X}");
                }
            }
        }
        Secret::new(form)
    }
}

/// One answer to one server.
struct Fixed(Option<Secret>);

impl Authority for Fixed {
    fn authorization(&self, _: &str) -> Option<Secret> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::oci::access::Inputs;

    fn endpoint(origin: &str) -> Endpoint {
        Endpoint {
            registry: "r.example".to_owned(),
            origin: origin.to_owned(),
            repository: "a/b".to_owned(),
        }
    }

    #[test]
    fn only_urls_that_are_made_here_are_authorised() {
        let session = Session::new(endpoint("https://r.example"));
        for (url, is_for) in [
            ("https://r.example/v2/a/b/manifests/latest", true),
            ("https://r.example/v2/a/b/blobs/sha256:00", true),
            ("https://r.example/v2/a/b/blobs/../../c/blobs/x", false),
            ("https://r.example/v2/a/b/blobs/..", false),
            ("https://r.example/v2/a/b/blobs/x?y", false),
            ("https://r.example/v2/a/b/blobs/%2e%2e", false),
            ("https://r.example/v2/a/bc/blobs/x", false),
            ("https://r.example/v2/a/b/uploads/x", false),
            ("http://r.example/v2/a/b/blobs/x", false),
            ("https://r.example:444/v2/a/b/blobs/x", false),
            ("https://r.example.evil.example/v2/a/b/blobs/x", false),
        ] {
            assert_eq!(session.is_for(url), is_for, "{url}");
        }
    }

    #[test]
    fn token_servers_are_as_safe_as_their_registry() {
        let inputs = Inputs {
            plain: Some("plain.example".to_owned()),
            ..Inputs::default()
        };
        let access = Access::resolve(&inputs).expect("sound");
        let table = [
            ("https://r.example", "https://auth.example/token", true),
            ("https://r.example", "http://auth.example/token", false),
            ("https://r.example", "http://127.0.0.1/token", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000", "http://[::1]:5001/token", true),
            ("http://127.0.0.1:5000", "http://plain.example/token", true),
            ("http://127.0.0.1:5000", "http://auth.example/token", false),
            ("https://r.example", "https://u:p@auth.example/token", false),
            ("https://r.example", "file:///etc/passwd", false),
            ("https://r.example", "/token", false),
            ("https://r.example", "", false),
        ];
        for (origin, realm, sound) in table {
            let question = Question {
                realm: realm.to_owned(),
                service: None,
                scopes: Vec::new(),
            };
            let url = question.url(&endpoint(origin), &access);
            assert_eq!(url.is_ok(), sound, "{origin} {realm}");
        }
    }

    #[test]
    fn questions_are_encoded() {
        let question = Question {
            realm: String::new(),
            service: Some("r & s".to_owned()),
            scopes: vec!["repository:a/b:pull".to_owned(), "aws".to_owned()],
        };
        let url = Url::parse("https://auth.example/token?x=y").expect("a URL");
        assert_eq!(
            question.query(url).as_str(),
            "https://auth.example/token?x=y&service=r+%26+s&scope=repository%3Aa%2Fb%3Apull&scope=aws"
        );
        let form = question.form(&Secret::new("a+b/c="));
        assert_eq!(
            form.reveal(),
            "grant_type=refresh_token&client_id=pybuild&service=r%20%26%20s&scope=repository%3Aa%2Fb%3Apull%20aws&refresh_token=a%2Bb%2Fc%3D"
        );
    }
}
