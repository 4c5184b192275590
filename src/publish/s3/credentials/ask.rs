//! Credentials that are handed out over HTTP: by a container's agent, and by AWS's STS in exchange for
//! the token of a web identity.

use std::time::Instant;

use bytes::Bytes;
use object_store::aws::AwsCredential;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Url};
use serde::Deserialize;

use super::{LIMIT, until, wrong};
use crate::model::encode_path;
use crate::net;
use crate::publish::Secret;
use crate::publish::error::PublishError;
use crate::publish::s3::xml;
use crate::publish::web::asked;
use crate::publish::wire::{Fault, Meter, Tries, Wire};
use crate::sys::interrupt::Interrupt;

/// How a container's agent is called in messages.
pub(super) const CONTAINER: &str = "the container's agent";
const STS: &str = "the web identity";

/// The role that a web identity is to take.
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    /// What the session is called in AWS's logs.
    pub(super) session: Option<&'a str>,
    /// Where to ask, if not at AWS itself.
    pub(super) endpoint: Option<&'a str>,
    pub(super) region: &'a str,
}

/// What STS answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    assume_role_with_web_identity_result: AssumedResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedResult {
    credentials: Given,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// What STS answers when it refuses.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    error: Code,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Code {
    code: String,
}

/// Asks a container's agent.
pub(super) fn container(
    wire: &Wire,
    url: &str,
    token: Option<&Secret>,
    interrupt: &Interrupt,
) -> Result<Vec<u8>, PublishError> {
    let url: Url = url.parse().map_err(|_| wrong(CONTAINER, "it has no URL"))?;
    let value = token
        .map(|token| HeaderValue::from_str(token.reveal()))
        .transpose();
    let value = value.map_err(|_| wrong(CONTAINER, "its token cannot be sent"))?;
    let make = || {
        let mut request = Request::new(Method::GET, url.clone());
        if let Some(mut value) = value.clone() {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        request
    };
    answer(wire, CONTAINER, &make, interrupt)
}

/// Exchanges a token (`AssumeRoleWithWebIdentity` of STS's API).
pub(super) fn web_identity(
    wire: &Wire,
    role: &Role<'_>,
    token: &Secret,
    interrupt: &Interrupt,
) -> Result<(AwsCredential, Option<Instant>), PublishError> {
    let Role {
        arn,
        session,
        endpoint,
        region,
    } = *role;
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    let usual = format!("https://sts.{region}.amazonaws.com{china}/");
    let url: Url = endpoint
        .unwrap_or(&usual)
        .parse()
        .map_err(|_| wrong(STS, "AWS_ENDPOINT_URL_STS is no URL"))?;
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", arn),
        ("RoleSessionName", session.unwrap_or("pybuild")),
        ("WebIdentityToken", token.reveal()),
    ];
    let form =
        form.map(|(name, value)| format!("{name}={}", encode_path(value).replace('/', "%2F")));
    let form = Bytes::from(form.join("&"));
    let make = || {
        let mut request = Request::new(Method::POST, url.clone());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        *request.body_mut() = Some(form.clone().into());
        request
    };
    let body = answer(wire, STS, &make, interrupt)?;
    // What is wrong with the document may quote it.
    let assumed: Assumed = xml::parse("AssumeRoleWithWebIdentityResponse", &body)
        .map_err(|_| wrong(STS, "what STS gives is not the document of credentials"))?;
    let Given {
        access_key_id,
        secret_access_key,
        session_token,
        expiration,
    } = assumed.assume_role_with_web_identity_result.credentials;
    let credential = AwsCredential {
        key_id: access_key_id,
        secret_key: secret_access_key,
        token: Some(session_token),
    };
    Ok((credential, Some(until(STS, &expiration)?)))
}

/// Asks until there is an answer or no use in asking. Of a refusal its code alone is told: the words
/// of some quote what they were asked with.
fn answer(
    wire: &Wire,
    source_name: &str,
    make: &dyn Fn() -> Request,
    interrupt: &Interrupt,
) -> Result<Vec<u8>, PublishError> {
    let patience = wire.patience();
    let mut tries = Tries::new(patience);
    loop {
        let outcome = wire.send(make(), &Meter::none(), interrupt);
        let outcome = outcome.and_then(|mut response| {
            let body = wire.body(&mut response, LIMIT, interrupt)?;
            Ok((response.status(), asked(response.headers()), body))
        });
        let (most, asked, why) = match outcome {
            Ok((status, _, body)) if status.is_success() => return Ok(body),
            Ok((status, asked, body)) => {
                let refused: Option<Refused> = xml::parse("ErrorResponse", &body).ok();
                let code = refused
                    .map(|Refused { error }| error.code)
                    .unwrap_or_default();
                let busy = status.is_server_error()
                    || matches!(status.as_u16(), 408 | 429)
                    || code == "IDPCommunicationError";
                let most = if busy { patience.tries } else { 1 };
                (
                    most,
                    asked,
                    format!("it answered {} {code}", status.as_u16()),
                )
            }
            Err(Fault::Fatal(error)) => return Err(error),
            Err(Fault::Trouble(trouble)) => {
                (net::tries(&trouble, patience), None, trouble.to_string())
            }
        };
        if tries.again(most, asked, interrupt)? {
            continue;
        }
        let why = why.trim_end().to_owned();
        if most == 1 {
            return Err(wrong(source_name, why));
        }
        return Err(PublishError::Unreachable {
            what: format!("asking {source_name} for credentials"),
            why,
            tries: tries.made(),
        });
    }
}
