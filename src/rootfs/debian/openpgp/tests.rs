//! Signatures that are good, and everything that makes them bad.

use pgp::composed::{
    ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::packet::{KeyFlags, SignatureConfig, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{Password, SigningKey};

use super::*;

const DAY: u32 = 24 * 60 * 60;
/// When the keys of the tests were made, in seconds since 1970.
const BIRTH: u32 = 1_700_000_000;
const TEXT: &str = "Suite: stable\n- a dash\nFrom here\n";

fn at(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).expect("a timestamp")
}

fn key() -> SignedSecretKey {
    let birth = pgp::types::Timestamp::from_secs(BIRTH);
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(birth)
        .build()
        .expect("parameters");
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(birth)
        .primary_user_id("Archive <archive@example.org>".to_owned())
        .subkey(subkey)
        .build()
        .expect("parameters")
        .generate(rand::thread_rng())
        .expect("a key")
}

fn config(
    key: &impl SigningKey,
    typ: SignatureType,
    made: u32,
    more: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha256);
    let made = pgp::types::Timestamp::from_secs(made);
    let mut data = vec![
        SubpacketData::SignatureCreationTime(made),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    data.extend(more);
    config.hashed_subpackets = data
        .into_iter()
        .map(|data| Subpacket::regular(data).expect("a subpacket"))
        .collect();
    config
}

fn sign(key: &impl SigningKey, config: SignatureConfig) -> String {
    CleartextSignedMessage::new(TEXT, config, key, &Password::empty())
        .expect("a signed text")
        .to_armored_string(ArmorOptions::default())
        .expect("armour")
}

fn signed(key: &impl SigningKey, made: u32) -> String {
    sign(key, config(key, SignatureType::Text, made, Vec::new()))
}

fn keyring(keys: &[&SignedPublicKey]) -> Keyring {
    let bytes: Vec<u8> = keys
        .iter()
        .flat_map(|key| key.to_bytes().expect("a key"))
        .collect();
    Keyring::parse(&bytes).expect("a keyring")
}

fn refusal(keyring: &Keyring, document: &str, now: u32) -> String {
    let error = keyring.verify(document, at(now)).expect_err("no good");
    error.to_string()
}

#[test]
fn exactly_the_signed_text_is_given() {
    let key = key();
    let public = key.to_public_key();
    let keyring = keyring(&[&self::key().to_public_key(), &public]);
    let document = signed(&key.primary_key, BIRTH + DAY);
    assert!(document.contains("\n- - a dash\n"));
    let found = keyring
        .verify(&document, at(BIRTH + 2 * DAY))
        .expect("good");
    assert_eq!(found.text.trim_end(), TEXT.trim_end());
    assert_eq!(found.signer, public.primary_key.fingerprint().to_string());
    let by_subkey = signed(&key.secret_subkeys[0].key, BIRTH + DAY);
    let found = keyring
        .verify(&by_subkey, at(BIRTH + 2 * DAY))
        .expect("good");
    assert_eq!(found.signer, public.primary_key.fingerprint().to_string());
}

#[test]
fn nothing_outside_the_signed_part_counts() {
    let key = key();
    let keyring = keyring(&[&key.to_public_key()]);
    let good = signed(&key.primary_key, BIRTH + DAY);
    let now = BIRTH + 2 * DAY;
    let twice = format!("{good}\n{good}");
    let unsigned_header = good.replacen("\n\n", "\nSuite: sid\n\n", 1);
    for document in [
        format!("Suite: sid\n\n{good}"),
        format!("{good}\nSuite: sid\n"),
        twice,
        unsigned_header,
        TEXT.to_owned(),
        String::new(),
    ] {
        let said = refusal(&keyring, &document, now);
        assert!(said.starts_with("it is not one cleartext-signed"), "{said}");
    }
    for document in [
        good.replace("stable", "sid"),
        good.replace("From here\n", "From here\nSuite: sid\n"),
        good.replacen("Suite", "\nSuite", 1),
    ] {
        let said = refusal(&keyring, &document, now);
        assert!(said.ends_with("or the document was changed"), "{said}");
    }
}

#[test]
fn only_keys_that_may_sign_count() {
    let key = key();
    let primary = &key.primary_key;
    let public = key.to_public_key();
    let now = BIRTH + 50 * DAY;
    let document = signed(primary, BIRTH + 20 * DAY);
    let password = Password::empty();
    // Each is the public key with something about it changed, and what is said then.
    let change = |how: &dyn Fn(&mut SignedPublicKey)| {
        let mut public = public.clone();
        how(&mut public);
        refusal(&keyring(&[&public]), &document, now)
    };
    let certify = |flags: fn(&mut KeyFlags), lifetime: u32| {
        let mut allowed = KeyFlags::default();
        flags(&mut allowed);
        let lifetime = Duration::from_secs(lifetime);
        let more = vec![
            SubpacketData::KeyFlags(allowed),
            SubpacketData::KeyExpirationTime(lifetime),
        ];
        let config = config(primary, SignatureType::CertPositive, BIRTH + DAY, more);
        let id = &public.details.users[0].id;
        config
            .sign_certification(primary, primary.public_key(), &password, Tag::UserId, id)
            .expect("a certification")
    };
    let expired = certify(|flags| flags.set_sign(true), 10 * DAY);
    let said = change(&|key| key.details.users[0].signatures = vec![expired.clone()]);
    assert!(said.ends_with("had expired when it signed"), "{said}");

    let other_use = certify(|flags| flags.set_certify(true), 0);
    let said = change(&|key| key.details.users[0].signatures = vec![other_use.clone()]);
    assert!(said.ends_with("is not for signing"), "{said}");

    let revocation = config(
        primary,
        SignatureType::KeyRevocation,
        BIRTH + 30 * DAY,
        vec![],
    )
    .sign_key(primary, &password, primary.public_key())
    .expect("a revocation");
    let said = change(&|key| key.details.revocation_signatures = vec![revocation.clone()]);
    assert!(said.ends_with("has been revoked"), "{said}");

    // A revocation that someone else made is none.
    let mut kept = public.clone();
    let other = self::key();
    let foreign = config(
        &other.primary_key,
        SignatureType::KeyRevocation,
        BIRTH,
        vec![],
    )
    .sign_key(&other.primary_key, &password, primary.public_key())
    .expect("a revocation");
    kept.details.revocation_signatures = vec![foreign];
    assert!(keyring(&[&kept]).verify(&document, at(now)).is_ok());

    // A subkey that another key claims, but that never agreed.
    let by_subkey = signed(&key.secret_subkeys[0].key, BIRTH + 20 * DAY);
    let mut thief = self::key().to_public_key();
    thief.public_subkeys.clone_from(&public.public_subkeys);
    let said = refusal(&keyring(&[&thief]), &by_subkey, now);
    assert!(said.contains("is not bound to its key"), "{said}");

    let said = refusal(&keyring(&[&other.to_public_key()]), &document, now);
    assert!(said.contains("is not in the keyring"), "{said}");
}

#[test]
fn only_signatures_of_the_right_kind_and_time_count() {
    let key = key();
    let primary = &key.primary_key;
    let keyring = keyring(&[&key.to_public_key()]);
    let now = BIRTH + 5 * DAY;
    let said = refusal(&keyring, &signed(primary, now + 2 * DAY), now);
    assert!(said.contains("signed in the future"), "{said}");
    let said = refusal(&keyring, &signed(primary, BIRTH - DAY), now);
    assert!(said.contains("younger than its signature"), "{said}");
    let lifetime = Duration::from_secs(DAY);
    let short = vec![SubpacketData::SignatureExpirationTime(lifetime)];
    let short = config(primary, SignatureType::Text, BIRTH + DAY, short);
    let said = refusal(&keyring, &sign(primary, short), now);
    assert!(said.ends_with("has expired"), "{said}");
    let good = config(primary, SignatureType::Text, BIRTH + DAY, Vec::new())
        .sign(primary, &Password::empty(), TEXT.as_bytes())
        .expect("a signature");
    // What would otherwise be found first is that the digest of the document is another one.
    let relabelled = |how: &dyn Fn(&mut SignatureConfig)| {
        let mut config = good.config().expect("of a known version").clone();
        how(&mut config);
        let bytes = good.signature().expect("of a known version").clone();
        let changed = Signature::from_config(config, [0; 2], bytes).expect("a signature");
        CleartextSignedMessage::new_many(TEXT, |_| Ok(vec![changed]))
            .and_then(|message| message.to_armored_string(ArmorOptions::default()))
            .expect("armour")
    };
    for weak in [HashAlgorithm::Sha1, HashAlgorithm::Md5] {
        let document = relabelled(&|config| config.hash_alg = weak);
        let said = refusal(&keyring, &document, now);
        assert!(said.ends_with("with a digest that can be forged"), "{said}");
    }
    let document = relabelled(&|config| config.typ = SignatureType::CertGeneric);
    let said = refusal(&keyring, &document, now);
    assert!(
        said.ends_with("signed something else than a document"),
        "{said}"
    );
}

#[test]
fn subkeys_sign_only_as_far_as_their_key_lets_them() {
    let key = key();
    let (primary, subkey) = (&key.primary_key, &key.secret_subkeys[0].key);
    let password = Password::empty();
    let document = signed(subkey, BIRTH + 20 * DAY);
    let bind = |typ, made, more| {
        config(primary, typ, made, more)
            .sign_subkey_binding(
                primary,
                primary.public_key(),
                &password,
                subkey.public_key(),
            )
            .expect("a signature on the subkey")
    };
    let agreement = config(subkey, SignatureType::KeyBinding, BIRTH + DAY, Vec::new())
        .sign_primary_key_binding(subkey, subkey.public_key(), &password, primary.public_key())
        .expect("the subkey's own signature");
    let agreed = || SubpacketData::EmbeddedSignature(Box::new(agreement.clone()));
    let flags = |flag: fn(&mut KeyFlags)| {
        let mut flags = KeyFlags::default();
        flag(&mut flags);
        SubpacketData::KeyFlags(flags)
    };
    let signing = || flags(|flags| flags.set_sign(true));
    let days = |days: u32| SubpacketData::KeyExpirationTime(Duration::from_secs(days * DAY));
    let bound = |more| bind(SignatureType::SubkeyBinding, BIRTH + DAY, more);
    let revoked = |made| bind(SignatureType::SubkeyRevocation, made, Vec::new());
    let table = [
        (
            "as it should be",
            vec![bound(vec![signing(), agreed()])],
            "",
        ),
        (
            "it lasts long enough",
            vec![bound(vec![signing(), agreed(), days(30)])],
            "",
        ),
        (
            "it never agreed",
            vec![bound(vec![signing()])],
            "is not for signing",
        ),
        (
            "it is for something else",
            vec![bound(vec![flags(|f| f.set_encrypt_comms(true)), agreed()])],
            "is not for signing",
        ),
        (
            "it had expired",
            vec![bound(vec![signing(), agreed(), days(10)])],
            "was not valid when it signed",
        ),
        (
            "it was revoked",
            vec![bound(vec![signing(), agreed()]), revoked(BIRTH + 30 * DAY)],
            "has been revoked",
        ),
    ];
    let said = |how: &dyn Fn(&mut SignedPublicKey)| {
        let mut public = key.to_public_key();
        how(&mut public);
        let found = keyring(&[&public]).verify(&document, at(BIRTH + 50 * DAY));
        found
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    for (what, signatures, refused) in table {
        let said = said(&|key| key.public_subkeys[0].signatures.clone_from(&signatures));
        assert!(said.ends_with(refused), "{what}: {said}");
        assert_eq!(said.is_empty(), refused.is_empty(), "{what}: {said}");
    }
    // It is worth nothing without its key.
    let revocation = config(primary, SignatureType::KeyRevocation, BIRTH, Vec::new())
        .sign_key(primary, &password, primary.public_key())
        .expect("a revocation");
    let said = said(&|key| key.details.revocation_signatures = vec![revocation.clone()]);
    assert!(said.ends_with("has been revoked"), "{said}");
}

#[test]
fn the_shipped_keyring_is_one() {
    let bytes = include_bytes!("../../../../keyrings/debian-archive.gpg");
    let Keyring(keys) = Keyring::parse(bytes).expect("a keyring");
    assert!(keys.len() >= 9);
    assert!(Keyring::parse(b"").is_err());
    assert!(Keyring::parse(b"no key at all").is_err());
}
