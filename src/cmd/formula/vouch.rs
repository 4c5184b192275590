//! Who vouches for a tarball that is to be added: a signature, or the person.

use crate::cmd::Failure;
use crate::formula::Signers;
use crate::model::Sha256;
use crate::rootfs::debian::openpgp::Keyring;
use crate::ui::ExitKind;

/// Who vouches for a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vouched {
    /// These, whom the formula names: the fingerprint of a key, an identity of Sigstore's.
    Signed(Vec<String>),
    /// The person, who knows its digest.
    Digest,
    /// Nobody. Why nobody could.
    Nobody(Lacking),
}

/// What there was lacking for a signature to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacking {
    /// Upstream has none beside the tarball.
    Signature,
    /// There is one by PGP, and nothing to verify it with.
    Keyring,
    /// The formula names nobody whose signature would count.
    Signer,
}

/// What there is to judge by.
pub(super) struct Evidence<'a> {
    /// The tarball's name, for messages.
    pub(super) file: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) digest: Sha256,
    /// The detached PGP signature beside it.
    pub(super) signature: Option<&'a [u8]>,
    /// The Sigstore bundle beside it.
    pub(super) bundle: Option<&'a [u8]>,
    pub(super) keyring: Option<&'a Keyring>,
    /// Whom the formula names.
    pub(super) signers: Signers<'a>,
    /// The digests that the person gave.
    pub(super) digests: &'a [Sha256],
}

/// Judges. A signature that can be verified and is wrong is an error, whoever else vouches.
pub(super) fn judge(evidence: &Evidence<'_>, now: jiff::Timestamp) -> Result<Vouched, Failure> {
    let Evidence {
        bytes,
        digest,
        signature,
        bundle,
        keyring,
        signers,
        digests,
        ..
    } = *evidence;
    let mut signed = Vec::new();
    if let (Some(signature), Some(keyring), false) = (signature, keyring, signers.keys.is_empty()) {
        signed.push(signer(evidence, signature, keyring, now)?);
    }
    let is_known = digests.contains(&digest);
    // Who knows the digest is not kept from it by a Sigstore whose keys are not known here yet.
    if let (Some(bundle), Some(identity), false) = (bundle, signers.sigstore, is_known) {
        match identity.signed(bytes, bundle) {
            Ok(()) => signed.push(identity.to_string()),
            Err(why) => {
                let counts = format!("the signature that counts is that of {identity}");
                return Err(wrong(evidence.file, &why).hint(counts));
            }
        }
    }
    if !signed.is_empty() {
        return Ok(Vouched::Signed(signed));
    }
    if is_known {
        return Ok(Vouched::Digest);
    }
    Ok(Vouched::Nobody(match (signature, bundle) {
        (None, None) => Lacking::Signature,
        (Some(_), _) if !signers.keys.is_empty() => Lacking::Keyring,
        _ => Lacking::Signer,
    }))
}

fn wrong(file: &str, why: &dyn std::fmt::Display) -> Failure {
    let message = format!("the signature of {file} is not to be trusted: {why}");
    Failure::new(ExitKind::Found, message)
        .hint("nothing was written; do not use this tarball before you know why")
}

fn signer(
    evidence: &Evidence<'_>,
    signature: &[u8],
    keyring: &Keyring,
    now: jiff::Timestamp,
) -> Result<String, Failure> {
    let keys = evidence.signers.keys;
    let wrong = |why: &dyn std::fmt::Display| {
        let counts = format!("the keys that count are {}", keys.join(", "));
        wrong(evidence.file, why).hint(counts)
    };
    let signer = keyring
        .verify_detached(signature, evidence.bytes, now)
        .map_err(|error| wrong(&error))?;
    if keys.iter().any(|it| it.eq_ignore_ascii_case(&signer)) {
        return Ok(signer.to_ascii_uppercase());
    }
    let stranger = format!("{signer} made it, whom the formula does not name");
    Err(wrong(&stranger))
}

/// Refuses a tarball that nobody vouches for, with what to do about it.
pub(super) fn refuse(
    file: &str,
    digest: Sha256,
    lacking: Lacking,
    signers: Signers<'_>,
) -> Failure {
    let (why, hint) = match lacking {
        Lacking::Signature => (
            "upstream has neither an OpenPGP signature nor a Sigstore bundle beside it",
            format!("if you know its digest to be right, give it: --sha256 {digest}"),
        ),
        Lacking::Keyring => (
            "there is an OpenPGP signature, but no keyring to verify it with",
            format!(
                "give a file that holds the key {}: --keyring FILE",
                signers.keys.join(" or ")
            ),
        ),
        Lacking::Signer => (
            "there is a signature, but the formula names nobody whose signature counts",
            "name the release manager in the series: signed_by = [\"FINGERPRINT\"], or sigstore = \
             { identity = \"…\", issuer = \"…\" }"
                .to_owned(),
        ),
    };
    Failure::new(ExitKind::Usage, format!("nobody vouches for {file}: {why}"))
        .hint(hint)
        .hint("or write the line without: --unsigned")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formula::Identity;

    #[test]
    fn without_a_signature_only_the_digest_that_is_known_counts() {
        let bytes = b"tarball";
        let digest = Sha256::of(bytes);
        let now = jiff::Timestamp::UNIX_EPOCH;
        let keys = ["AB".repeat(20)];
        let identity = Identity {
            identity: "hugo@example.org".to_owned(),
            issuer: "https://example.org".to_owned(),
        };
        let (some, none): (Option<&[u8]>, _) = (Some(b"?"), None);
        let (named, unnamed) = (&keys[..], &[][..]);
        let nobody = |lacking| Some(Vouched::Nobody(lacking));
        let other = Sha256::of(b"other");
        let table = [
            (
                (none, none),
                (named, true),
                None,
                nobody(Lacking::Signature),
            ),
            ((some, none), (named, true), None, nobody(Lacking::Keyring)),
            ((some, none), (unnamed, true), None, nobody(Lacking::Signer)),
            ((none, some), (named, false), None, nobody(Lacking::Signer)),
            (
                (none, none),
                (named, true),
                Some(digest),
                Some(Vouched::Digest),
            ),
            (
                (none, some),
                (named, true),
                Some(digest),
                Some(Vouched::Digest),
            ),
            (
                (none, none),
                (unnamed, false),
                Some(other),
                nobody(Lacking::Signature),
            ),
            // A bundle that can be verified, and is none.
            ((none, some), (named, true), None, None),
            ((some, some), (unnamed, true), Some(other), None),
        ];
        for (n, ((signature, bundle), (keys, sigstore), known, expected)) in
            table.into_iter().enumerate()
        {
            let evidence = Evidence {
                file: "x.tgz",
                bytes,
                digest,
                signature,
                bundle,
                keyring: None,
                signers: Signers {
                    keys,
                    sigstore: sigstore.then_some(&identity),
                },
                digests: known.as_slice(),
            };
            assert_eq!(judge(&evidence, now).ok(), expected, "{n}");
        }
    }
}
