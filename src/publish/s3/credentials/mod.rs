//! Credentials from where they come from, kept until they expire. What AWS's instances take is done
//! by `object_store`.

mod ask;
mod own;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use serde::Deserialize;

pub use self::own::Keeper;
pub(in crate::publish) use self::own::{Kept, is_own, tell};
use crate::net;
use crate::publish::Secret;
use crate::publish::error::PublishError;
use crate::publish::settings::{Authorization, Credentials, Keys, S3Settings};
use crate::publish::wire::{Fault, Meter, Wire};
use crate::sys::interrupt::Interrupt;

/// What is about to expire is as good as expired.
const MARGIN: Duration = Duration::from_secs(120);
/// What credentials may have, with all that is around them.
const LIMIT: usize = 64 << 10;

/// Gives the credentials for requests.
pub(super) struct Source {
    from: Credentials,
    region: String,
    target: String,
    kept: Mutex<Option<Lasting>>,
    /// Of those that `object_store` gets.
    provider: Mutex<Option<AwsCredentialProvider>>,
    /// Who has the right to what they begin with, if this process does not.
    keeper: Option<Kept>,
    /// To what is on this host, which no proxy is told of.
    direct: Wire,
}

struct Lasting {
    credential: Arc<AwsCredential>,
    expires: Option<Instant>,
}

/// What a process or a container's agent prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: Option<String>,
}

impl Source {
    pub(super) fn new(
        settings: &S3Settings,
        target: &str,
        patience: &net::Settings,
        keeper: Option<Kept>,
    ) -> Self {
        let patience = net::Settings {
            proxy: false,
            ..patience.clone()
        };
        Self {
            from: settings.credentials.clone(),
            region: settings.region.clone(),
            target: target.to_owned(),
            kept: Mutex::new(None),
            provider: Mutex::new(None),
            keeper,
            direct: Wire::new(&patience, 0),
        }
    }

    /// The credentials; none if requests are not to be signed.
    pub(super) fn get(
        &self,
        wire: &Wire,
        interrupt: &Interrupt,
    ) -> Result<Option<Arc<AwsCredential>>, PublishError> {
        // Held while they are fetched, so that they are fetched once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Lasting {
            credential,
            expires,
        }) = &*kept
            && expires.is_none_or(|at| Instant::now() + MARGIN < at)
        {
            return Ok(Some(Arc::clone(credential)));
        }
        let (credential, expires) = match &self.from {
            Credentials::Anonymous => return Ok(None),
            Credentials::Missing(looked) => {
                return Err(PublishError::NoCredentials {
                    target: self.target.clone(),
                    looked: looked.clone(),
                });
            }
            Credentials::Static(Keys { id, secret, token }) => {
                let credential = AwsCredential {
                    key_id: id.reveal().to_owned(),
                    secret_key: secret.reveal().to_owned(),
                    token: token.as_ref().map(|token| token.reveal().to_owned()),
                };
                (credential, None)
            }
            Credentials::Process { command: _ } => {
                let text = self.own(interrupt)?;
                printed(own::PROCESS, text.reveal().as_bytes())?
            }
            Credentials::Container { url, authorization } => {
                let token = match authorization {
                    None => None,
                    Some(Authorization::Token(token)) => Some(token.clone()),
                    Some(Authorization::File(_)) => Some(self.own(interrupt)?),
                };
                let body = ask::container(&self.direct, url, token.as_ref(), interrupt)?;
                printed(ask::CONTAINER, &body)?
            }
            Credentials::WebIdentity {
                token_file: _,
                role_arn,
                session_name,
                endpoint,
            } => {
                let role = ask::Role {
                    arn: role_arn,
                    session: session_name.as_deref(),
                    endpoint: endpoint.as_deref(),
                    region: &self.region,
                };
                ask::web_identity(wire, &role, &self.own(interrupt)?, interrupt)?
            }
            // It keeps what it gets itself.
            Credentials::Instance { endpoint } => {
                return self.provided(endpoint, wire, interrupt).map(Some);
            }
        };
        check(&credential)?;
        let credential = Arc::new(credential);
        *kept = Some(Lasting {
            credential: Arc::clone(&credential),
            expires,
        });
        Ok(Some(credential))
    }

    /// The store says that they have expired: says whether there may be others.
    pub(super) fn expired(&self) -> bool {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.provider.lock().unwrap_or_else(PoisonError::into_inner) = None;
        !matches!(
            self.from,
            Credentials::Static(_) | Credentials::Anonymous | Credentials::Missing(_)
        )
    }

    /// What they begin with.
    fn own(&self, interrupt: &Interrupt) -> Result<Secret, PublishError> {
        match &self.keeper {
            Some(Kept { keeper, whose }) => keeper.tell(*whose, interrupt),
            None => tell(&self.from, interrupt),
        }
    }

    fn provided(
        &self,
        endpoint: &str,
        wire: &Wire,
        interrupt: &Interrupt,
    ) -> Result<Arc<AwsCredential>, PublishError> {
        let http = wire.http()?;
        let provider = {
            let mut kept = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(provider) = &*kept {
                Arc::clone(provider)
            } else {
                let made = provider(endpoint, &self.region);
                let made = made.map_err(|error| PublishError::Client(error.to_string()))?;
                Arc::clone(kept.insert(made))
            }
        };
        let patience = wire.patience().connect_timeout + wire.patience().idle_timeout;
        let credential = provider.get_credential();
        let credential = wire.wait(http, credential, patience, &Meter::none(), interrupt);
        let why = match credential {
            Ok(Ok(credential)) => {
                check(&credential)?;
                return Ok(credential);
            }
            Ok(Err(error)) => words(&error),
            Err(Fault::Fatal(error)) => return Err(error),
            Err(Fault::Trouble(trouble)) => trouble.to_string(),
        };
        Err(PublishError::NoCredentials {
            target: self.target.clone(),
            looked: format!(
                "neither in the environment, nor in a profile, nor of a container, nor of an instance ({why})"
            ),
        })
    }
}

/// What is to be in a header must be fit for it; `object_store` relies on that.
fn check(credential: &AwsCredential) -> Result<(), PublishError> {
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let token = credential.token.as_deref().is_none_or(fits);
    if fits(&credential.key_id) && fits(&credential.secret_key) && token {
        return Ok(());
    }
    Err(PublishError::CredentialSource {
        source_name: "where they are set".to_owned(),
        why: "they hold spaces or characters that cannot be in credentials".to_owned(),
    })
}

/// The innermost cause: what is around it says where in the library it happened.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words = causes.last().map(ToString::to_string).unwrap_or_default();
    net::redact(&words)
}

fn provider(endpoint: &str, region: &str) -> Result<AwsCredentialProvider, object_store::Error> {
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    // The bucket is not asked for anything.
    let builder = AmazonS3Builder::new()
        .with_bucket_name("none")
        .with_region(region)
        .with_retry(retry)
        .with_metadata_endpoint(endpoint);
    Ok(Arc::clone(builder.build()?.credentials()))
}

/// Reads what was printed. The library's errors may quote it, so they are not told.
fn printed(
    source_name: &str,
    bytes: &[u8],
) -> Result<(AwsCredential, Option<Instant>), PublishError> {
    let Printed {
        access_key_id,
        secret_access_key,
        token,
        expiration,
    } = serde_json::from_slice(bytes)
        .map_err(|_| wrong(source_name, "what it gives is not the JSON of credentials"))?;
    let expires = expiration.map(|time| until(source_name, &time));
    let credential = AwsCredential {
        key_id: access_key_id,
        secret_key: secret_access_key,
        token,
    };
    Ok((credential, expires.transpose()?))
}

/// Until when credentials are good.
fn until(source_name: &str, expiration: &str) -> Result<Instant, PublishError> {
    let at = expiration.parse::<jiff::Timestamp>();
    let at = at.map_err(|_| wrong(source_name, "its `Expiration` is no time"))?;
    let left = at.as_second() - jiff::Timestamp::now().as_second();
    match u64::try_from(left) {
        Ok(left @ 1..) => Ok(Instant::now() + Duration::from_secs(left)),
        _ => Err(wrong(source_name, "what it gives has expired")),
    }
}

fn wrong(source_name: &str, why: impl Into<String>) -> PublishError {
    PublishError::CredentialSource {
        source_name: source_name.to_owned(),
        why: why.into(),
    }
}
