//! Credentials from where they come from, kept until they expire. What AWS's instances and web
//! identities take is done by `object_store`.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::RetryConfig;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, AwsCredentialProvider};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;

use crate::publish::error::PublishError;
use crate::publish::settings::{Authorization, Credentials, Keys, S3Settings};
use crate::publish::wire::{Fault, Meter, Wire};
use crate::sys::interrupt::Interrupt;

/// What is about to expire is as good as expired.
const MARGIN: Duration = Duration::from_secs(120);
/// How long a `credential_process` may take: it may ask a person.
const PROCESS: Duration = Duration::from_secs(600);
const LIMIT: usize = 64 << 10;

/// Gives the credentials for requests.
pub(super) struct Source {
    from: Credentials,
    region: String,
    target: String,
    kept: Mutex<Option<Kept>>,
    /// Of those that `object_store` gets.
    provider: Mutex<Option<AwsCredentialProvider>>,
}

struct Kept {
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
    pub(super) fn new(settings: &S3Settings, target: &str) -> Self {
        Self {
            from: settings.credentials.clone(),
            region: settings.region.clone(),
            target: target.to_owned(),
            kept: Mutex::new(None),
            provider: Mutex::new(None),
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
        if let Some(Kept {
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
            Credentials::Process { command } => {
                printed("credential_process", &run(command.reveal(), interrupt)?)?
            }
            Credentials::Container { url, authorization } => {
                let body = ask(wire, url, authorization.as_ref(), interrupt)?;
                printed(CONTAINER, &body)?
            }
            // These keep what they get themselves.
            Credentials::WebIdentity { .. } | Credentials::Instance { .. } => {
                return self.provided(wire, interrupt).map(Some);
            }
        };
        check(&credential)?;
        let credential = Arc::new(credential);
        *kept = Some(Kept {
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

    fn provided(
        &self,
        wire: &Wire,
        interrupt: &Interrupt,
    ) -> Result<Arc<AwsCredential>, PublishError> {
        let http = wire.http()?;
        let provider = {
            let mut kept = self.provider.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(provider) = &*kept {
                Arc::clone(provider)
            } else {
                let made = provider(&self.from, &self.region);
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
        Err(match &self.from {
            Credentials::WebIdentity { .. } => PublishError::CredentialSource {
                source_name: "the web identity".to_owned(),
                why,
            },
            _ => PublishError::NoCredentials {
                target: self.target.clone(),
                looked: format!(
                    "neither in the environment, nor in a profile, nor of a container, nor of an instance ({why})"
                ),
            },
        })
    }
}

const CONTAINER: &str = "the container's agent";

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
    crate::net::redact(&words)
}

fn provider(
    from: &Credentials,
    region: &str,
) -> Result<AwsCredentialProvider, object_store::Error> {
    let retry = RetryConfig {
        max_retries: 2,
        retry_timeout: Duration::from_secs(20),
        ..RetryConfig::default()
    };
    // The bucket is not asked for anything.
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name("none")
        .with_region(region)
        .with_retry(retry);
    match from {
        Credentials::WebIdentity {
            token_file,
            role_arn,
            session_name,
            endpoint,
        } => {
            let file = token_file.to_string_lossy();
            builder = builder
                .with_config(AmazonS3ConfigKey::WebIdentityTokenFile, file)
                .with_config(AmazonS3ConfigKey::RoleArn, role_arn);
            if let Some(name) = session_name {
                builder = builder.with_config(AmazonS3ConfigKey::RoleSessionName, name);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_config(AmazonS3ConfigKey::StsEndpoint, endpoint);
            }
        }
        Credentials::Instance { endpoint } => {
            builder = builder.with_metadata_endpoint(endpoint);
        }
        Credentials::Static(_)
        | Credentials::Process { .. }
        | Credentials::Container { .. }
        | Credentials::Anonymous
        | Credentials::Missing(_) => {}
    }
    Ok(Arc::clone(builder.build()?.credentials()))
}

/// Reads what was printed. The library's errors may quote it, so they are not told.
fn printed(
    source_name: &str,
    bytes: &[u8],
) -> Result<(AwsCredential, Option<Instant>), PublishError> {
    let wrong = |why: &str| PublishError::CredentialSource {
        source_name: source_name.to_owned(),
        why: why.to_owned(),
    };
    let Printed {
        access_key_id,
        secret_access_key,
        token,
        expiration,
    } = serde_json::from_slice(bytes)
        .map_err(|_| wrong("what it gives is not the JSON of credentials"))?;
    let expires = match expiration {
        None => None,
        Some(time) => {
            let at = time.parse::<jiff::Timestamp>();
            let at = at.map_err(|_| wrong("its `Expiration` is no time"))?;
            let left = at.as_second() - jiff::Timestamp::now().as_second();
            let left = u64::try_from(left).unwrap_or(0);
            if left == 0 {
                return Err(wrong("what it gives has expired"));
            }
            Some(Instant::now() + Duration::from_secs(left))
        }
    };
    let credential = AwsCredential {
        key_id: access_key_id,
        secret_key: secret_access_key,
        token,
    };
    Ok((credential, expires))
}

/// Runs a `credential_process`: its standard error is the person's to see, its output ours.
fn run(command: &str, interrupt: &Interrupt) -> Result<Vec<u8>, PublishError> {
    let wrong = |why: String| PublishError::CredentialSource {
        source_name: "credential_process".to_owned(),
        why,
    };
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is missing from the JSON, and told so.
        let _ = output.map(|output| output.take(LIMIT as u64).read_to_end(&mut bytes));
        bytes
    });
    let end = Instant::now() + PROCESS;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) => {}
            Err(error) => break Err(wrong(error.to_string())),
        }
        if let Err(interrupted) = interrupt.sleep(Duration::from_millis(20)) {
            break Err(interrupted.into());
        }
        if Instant::now() > end {
            break Err(wrong("it did not end".to_owned()));
        }
    };
    if status.is_err() {
        // It may have ended by itself just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = status?;
    if !status.success() {
        return Err(wrong(status.to_string()));
    }
    reader
        .join()
        .map_err(|_| wrong("its output could not be read".to_owned()))
}

/// Asks a container's agent.
fn ask(
    wire: &Wire,
    url: &str,
    authorization: Option<&Authorization>,
    interrupt: &Interrupt,
) -> Result<Vec<u8>, PublishError> {
    let wrong = |why: String| PublishError::CredentialSource {
        source_name: CONTAINER.to_owned(),
        why,
    };
    let url = url.parse().map_err(|_| wrong("it has no URL".to_owned()))?;
    let mut request = Request::new(Method::GET, url);
    let token = match authorization {
        None => None,
        Some(Authorization::Token(token)) => Some(token.reveal().to_owned()),
        Some(Authorization::File(path)) => {
            let read = std::fs::read_to_string(path);
            let token = read.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
            Some(token.trim_end().to_owned())
        }
    };
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&token)
            .map_err(|_| wrong("its token cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let told = |fault| match fault {
        Fault::Fatal(error) => error,
        Fault::Trouble(trouble) => wrong(trouble.to_string()),
    };
    let mut response = wire
        .send(request, &Meter::none(), interrupt)
        .map_err(told)?;
    if !response.status().is_success() {
        return Err(wrong(format!("it answered {}", response.status())));
    }
    wire.body(&mut response, LIMIT, interrupt).map_err(told)
}
