//! Signatures by Sigstore (docs.sigstore.dev): whether a bundle says that somebody signed a file.
//!
//! All is verified from what is in the bundle, without asking anybody: the certificate and its
//! inclusion in the logs, the log entry and the signature. The keys of the public instance's
//! services are those that the crate holds.

use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::Bundle;
use sigstore_verify::{VerificationPolicy, verify};

/// Whose signatures count: who is said to have signed, and who is believed to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// An e-mail address, or the URL of a workflow.
    pub identity: String,
    /// Who has told Sigstore that it was they: `https://github.com/login/oauth`.
    pub issuer: String,
}

impl Identity {
    /// Whether this bundle says that they signed these bytes; why not, if not.
    pub fn signed(&self, bytes: &[u8], bundle: &[u8]) -> Result<(), String> {
        let bundle = std::str::from_utf8(bundle).map_err(|_| "it is not UTF-8".to_owned())?;
        let bundle = Bundle::from_json(bundle).map_err(|error| error.to_string())?;
        let root = TrustedRoot::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT);
        let root = root.map_err(|error| error.to_string())?;
        let policy = VerificationPolicy::new(self.identity.as_str(), self.issuer.as_str());
        let result = verify(bytes, &bundle, &policy, &root).map_err(|error| error.to_string())?;
        // The policy asks for each of these; what it comes to is held against it once more.
        let whole = result.certificate_verified()
            && result.sct_verified()
            && result.tlog_verified()
            && result.identity_policy_checked();
        if whole {
            Ok(())
        } else {
            Err("not all of it could be verified".to_owned())
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.identity, self.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file and its bundle that cosign made with the public instance (of the test data of
    /// github.com/sigstore/sigstore-rust).
    const FILE: &[u8] = b"test content for cosign\n";
    const BUNDLE: &str = include_str!("sigstore/cosign-blob.sigstore.json");

    fn identity(identity: &str, issuer: &str) -> Identity {
        Identity {
            identity: identity.to_owned(),
            issuer: issuer.to_owned(),
        }
    }

    #[test]
    fn a_bundle_is_good_for_its_file_and_its_signer_alone() {
        let issuer = "https://github.com/login/oauth";
        let signer = identity("w.vollprecht@gmail.com", issuer);
        assert_eq!(signer.signed(FILE, BUNDLE.as_bytes()), Ok(()));
        let table = [
            (signer.clone(), &b"another file\n"[..]),
            (identity("hugo@python.org", issuer), FILE),
            (
                identity("w.vollprecht@gmail.com", "https://accounts.google.com"),
                FILE,
            ),
            (identity("w.vollprecht", issuer), FILE),
        ];
        for (signer, file) in table {
            assert!(signer.signed(file, BUNDLE.as_bytes()).is_err(), "{signer}");
        }
    }

    #[test]
    fn what_was_changed_or_is_no_bundle_is_refused() {
        let signer = identity("w.vollprecht@gmail.com", "https://github.com/login/oauth");
        let bundle: serde_json::Value = serde_json::from_str(BUNDLE).expect("JSON");
        let without = |pointer: &str, key: &str| {
            let mut bundle = bundle.clone();
            let object = bundle
                .pointer_mut(pointer)
                .and_then(|it| it.as_object_mut());
            object.expect("an object").remove(key).expect("a key");
            bundle.to_string()
        };
        let entry = "/verificationMaterial/tlogEntries/0";
        let mut empty = bundle.clone();
        *empty
            .pointer_mut("/verificationMaterial/tlogEntries")
            .expect("entries") = serde_json::json!([]);
        let table = [
            String::new(),
            "{}".to_owned(),
            without("", "messageSignature"),
            without("/verificationMaterial", "certificate"),
            without("/verificationMaterial", "tlogEntries"),
            without(entry, "inclusionProof"),
            empty.to_string(),
        ];
        for text in table {
            assert!(signer.signed(FILE, text.as_bytes()).is_err(), "{text}");
        }
        assert!(signer.signed(FILE, b"\xff").is_err());
    }
}
