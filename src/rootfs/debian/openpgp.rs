//! Whether a cleartext-signed document (RFC 9580, section 7) was signed by a key of a keyring,
//! and which text exactly was.

use std::io::Cursor;

use jiff::Timestamp;
use pgp::composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Duration, KeyDetails, Tag};

/// How far ahead of this host's clock a signer's may be.
const SKEW_SECONDS: i64 = 24 * 60 * 60;

/// Keys that are trusted.
pub struct Keyring(Vec<SignedPublicKey>);

/// A text, and who vouched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What was signed and nothing else: with line feeds, and without blanks at the ends of
    /// lines, which a cleartext signature does not cover.
    pub text: String,
    /// The fingerprint of the primary key of the first good signature.
    pub signer: String,
}

/// Why a document is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The keyring itself cannot be read.
    #[error("the keyring holds no usable key: {0}")]
    Keyring(String),
    /// It is no cleartext-signed document, or there is text outside the signed part.
    #[error("it is not one cleartext-signed document: {0}")]
    Form(String),
    /// None of its signatures is good; why, one by one.
    #[error("it has no good signature: {}", .0.join("; "))]
    NoGood(Vec<String>),
}

impl Keyring {
    /// Reads a binary keyring, as Debian packages them.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |error: pgp::errors::Error| SignatureError::Keyring(error.to_string());
        let keys = SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(wrong)?;
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if keys.is_empty() {
            return Err(SignatureError::Keyring("it is empty".to_owned()));
        }
        Ok(Self(keys))
    }

    /// Reads keys as `gpg --export` writes them, armored or not.
    pub fn parse_any(bytes: &[u8]) -> Result<Self, SignatureError> {
        let wrong = |error: pgp::errors::Error| SignatureError::Keyring(error.to_string());
        if !bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Self::parse(bytes);
        }
        let (keys, _) = SignedPublicKey::from_armor_many(Cursor::new(bytes)).map_err(wrong)?;
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if keys.is_empty() {
            return Err(SignatureError::Keyring("it is empty".to_owned()));
        }
        Ok(Self(keys))
    }

    /// Who vouches for a file with a detached signature, armored or not: the fingerprint of the
    /// primary key of the first good signature, as [`Self::verify`] judges it.
    pub fn verify_detached(
        &self,
        signature: &[u8],
        file: &[u8],
        now: Timestamp,
    ) -> Result<String, SignatureError> {
        let form = |error: pgp::errors::Error| SignatureError::Form(error.to_string());
        let signatures: Vec<DetachedSignature> =
            if signature.trim_ascii_start().starts_with(b"-----BEGIN") {
                let (all, _) =
                    DetachedSignature::from_armor_many(Cursor::new(signature)).map_err(form)?;
                all.collect::<Result<_, _>>().map_err(form)?
            } else {
                let all =
                    DetachedSignature::from_bytes_many(Cursor::new(signature)).map_err(form)?;
                all.collect::<Result<_, _>>().map_err(form)?
            };
        let mut refused = Vec::new();
        for DetachedSignature { signature } in &signatures {
            match self.signer(signature, file, now) {
                Ok(signer) => return Ok(signer),
                Err(why) => refused.push(why),
            }
        }
        if refused.is_empty() {
            refused.push("it has none at all".to_owned());
        }
        Err(SignatureError::NoGood(refused))
    }

    /// The text of a cleartext-signed document, if at least one signature on it is good: made by
    /// a key of this keyring that was valid then and has not been revoked since.
    pub fn verify(&self, document: &str, now: Timestamp) -> Result<Signed, SignatureError> {
        // The parser refuses text before and after the signed document.
        let (message, _) = CleartextSignedMessage::from_string(document.trim_end())
            .map_err(|error| SignatureError::Form(error.to_string()))?;
        let text = message.signed_text();
        let mut refused = Vec::new();
        for signature in message.signatures() {
            match self.signer(signature, text.as_bytes(), now) {
                Ok(signer) => {
                    let text = text.replace("\r\n", "\n");
                    return Ok(Signed { text, signer });
                }
                Err(why) => refused.push(why),
            }
        }
        if refused.is_empty() {
            refused.push("it has none at all".to_owned());
        }
        Err(SignatureError::NoGood(refused))
    }

    fn signer(&self, signature: &Signature, text: &[u8], now: Timestamp) -> Result<String, String> {
        let issuer = issuer(signature);
        let typ = signature.typ();
        if !matches!(typ, Some(SignatureType::Text | SignatureType::Binary)) {
            return Err(format!("{issuer} signed something else than a document"));
        }
        let hash = signature.hash_alg();
        if !hash.is_some_and(strong) {
            return Err(format!("{issuer} signed with a digest that can be forged"));
        }
        let made = signature
            .created()
            .ok_or_else(|| format!("{issuer} does not say when it signed"))?;
        let made = i64::from(made.as_secs());
        if made > now.as_second() + SKEW_SECONDS {
            return Err(format!(
                "{issuer} signed in the future by this host's clock"
            ));
        }
        let lifetime = signature.signature_expiration_time();
        if !outlives(made, lifetime.map(Duration::as_secs), now.as_second()) {
            return Err(format!("the signature of {issuer} has expired"));
        }
        for key in &self.0 {
            if signature.verify(&key.primary_key, text).is_ok() {
                return primary_may_sign(key, made).map(|()| fingerprint(key));
            }
            for subkey in &key.public_subkeys {
                if signature.verify(&subkey.key, text).is_ok() {
                    primary_is_valid(key, made)?;
                    return subkey_may_sign(key, subkey, made).map(|()| fingerprint(key));
                }
            }
        }
        Err(format!(
            "{issuer} is not in the keyring, or the document was changed"
        ))
    }
}

/// Digests that nobody can forge a second document for. SHA-1 and MD5 are out.
fn strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint();
    let ids = signature.issuer_key_id();
    match (fingerprints.first(), ids.first()) {
        (Some(fingerprint), _) => format!("key {fingerprint}"),
        (None, Some(id)) => format!("key {id}"),
        (None, None) => "a key without a name".to_owned(),
    }
}

fn fingerprint(key: &SignedPublicKey) -> String {
    key.primary_key.fingerprint().to_string()
}

/// Whether what began at `start` and lasts `lifetime` seconds (0 or nothing: for ever) lasts
/// beyond `at`.
fn outlives(start: i64, lifetime: Option<u32>, at: i64) -> bool {
    match lifetime {
        None | Some(0) => true,
        Some(seconds) => at < start + i64::from(seconds),
    }
}

/// The newest signature that the key made on itself: it says what the key may do and how long.
fn self_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let on_users = key.details.users.iter().flat_map(|user| {
        let certifications = user.signatures.iter();
        certifications.filter(move |signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        })
    });
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|signature| {
        signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
    });
    on_users
        .chain(direct)
        .max_by_key(|signature| signature.created())
}

fn primary_is_valid(key: &SignedPublicKey, at: i64) -> Result<(), String> {
    let name = fingerprint(key);
    let primary = &key.primary_key;
    let mut revocations = key.details.revocation_signatures.iter();
    if revocations.any(|signature| signature.verify_key(primary).is_ok()) {
        return Err(format!("key {name} has been revoked"));
    }
    let own = self_signature(key).ok_or_else(|| format!("key {name} vouches for nobody"))?;
    let start = i64::from(primary.created_at().as_secs());
    if at < start {
        return Err(format!("key {name} is younger than its signature"));
    }
    if !outlives(start, own.key_expiration_time().map(Duration::as_secs), at) {
        return Err(format!("key {name} had expired when it signed"));
    }
    Ok(())
}

fn primary_may_sign(key: &SignedPublicKey, at: i64) -> Result<(), String> {
    primary_is_valid(key, at)?;
    if self_signature(key).is_some_and(|own| own.key_flags().sign()) {
        return Ok(());
    }
    Err(format!("key {} is not for signing", fingerprint(key)))
}

fn subkey_may_sign(
    key: &SignedPublicKey,
    subkey: &pgp::composed::SignedPublicSubKey,
    at: i64,
) -> Result<(), String> {
    let name = subkey.key.fingerprint();
    let bound = |signature: &&Signature| {
        signature
            .verify_subkey_binding(&key.primary_key, &subkey.key)
            .is_ok()
    };
    let mut signatures = subkey.signatures.iter().filter(bound);
    if signatures.any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(format!("subkey {name} has been revoked"));
    }
    let newest = subkey
        .signatures
        .iter()
        .filter(bound)
        .max_by_key(|signature| signature.created())
        .ok_or_else(|| format!("subkey {name} is not bound to its key"))?;
    // The subkey itself agreed to be one of this key: else anyone's subkey could be claimed.
    let agreed = newest.embedded_signature().is_some_and(|back| {
        back.verify_primary_key_binding(&subkey.key, &key.primary_key)
            .is_ok()
    });
    if !(newest.key_flags().sign() && agreed) {
        return Err(format!("subkey {name} is not for signing"));
    }
    let start = i64::from(subkey.key.created_at().as_secs());
    let lifetime = newest.key_expiration_time().map(Duration::as_secs);
    if at < start || !outlives(start, lifetime, at) {
        return Err(format!("subkey {name} was not valid when it signed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
