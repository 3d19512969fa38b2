//! Keys: ours to log in with, and the machines' to be known by.
//!
//! Texts are checked when they enter ("parse, don't validate"), so that a mistyped fingerprint is found when a
//! design is read and not when the first machine answers. Private keys are wiped from memory when dropped and never
//! show up in `Debug`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;

/// A text that must not be shown: wiped when dropped, redacted in `Debug`, and without `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over a secret.
    pub fn new(text: String) -> SecretText {
        SecretText(Zeroizing::new(text))
    }

    /// The secret itself. The name makes each place that uses it easy to find.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A public key in OpenSSH's text form, checked and without its comment: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKeyText {
    text: String,
    fingerprint: Fingerprint,
}

impl PublicKeyText {
    /// Reads one line as found in `ssh_host_ed25519_key.pub` or `authorized_keys` (without options).
    pub fn parse(text: &str) -> Result<PublicKeyText, Error> {
        let key = PublicKey::from_openssh(text.trim()).map_err(|error| Error::Key {
            what: "this public key",
            reason: error.to_string(),
            hint: "give one line of the form `ssh-ed25519 AAAA… comment`, as in /etc/ssh/ssh_host_ed25519_key.pub",
        })?;
        PublicKeyText::from_key(&key)
    }

    pub(crate) fn from_key(key: &PublicKey) -> Result<PublicKeyText, Error> {
        let mut bare = key.clone();
        bare.set_comment("");
        let text = bare.to_openssh().map_err(|error| Error::Key {
            what: "this public key",
            reason: error.to_string(),
            hint: "use an ed25519 key",
        })?;
        Ok(PublicKeyText {
            text: text.trim_end().to_owned(),
            fingerprint: Fingerprint::of(key),
        })
    }

    /// The key without its comment.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its SHA-256 fingerprint.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        self.text.split(' ').next().and_then(|name| Algorithm::new(name).ok())
    }
}

impl fmt::Display for PublicKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for PublicKeyText {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        PublicKeyText::parse(&text)
    }
}

impl From<PublicKeyText> for String {
    fn from(key: PublicKeyText) -> String {
        key.text
    }
}

/// A SHA-256 fingerprint of a public key, as `ssh-keygen -l` prints it: `SHA256:` and 43 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Reads `SHA256:…`. A whole line printed by `ssh-keygen -l` is understood, too.
    pub fn parse(text: &str) -> Result<Fingerprint, Error> {
        let unusable = |reason: String| Error::Key {
            what: "this fingerprint",
            reason,
            hint: "print it on the machine's own console with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` and give the part that starts with SHA256:",
        };
        let word = text
            .split_whitespace()
            .find(|word| word.starts_with("SHA256:"))
            .ok_or_else(|| unusable("it has no part that starts with SHA256:".to_owned()))?;
        let fingerprint = russh::keys::ssh_key::Fingerprint::from_str(word.trim_end_matches('='))
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Fingerprint(fingerprint.to_string()))
    }

    pub(crate) fn of(key: &PublicKey) -> Fingerprint {
        Fingerprint(key.fingerprint(HashAlg::Sha256).to_string())
    }

    /// `SHA256:…`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Fingerprint::parse(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.0
    }
}

/// Our private key, with which we log in.
pub struct Identity {
    key: Arc<PrivateKey>,
    public: String,
}

impl Identity {
    /// Reads a private key in OpenSSH's form (`-----BEGIN OPENSSH PRIVATE KEY-----`).
    ///
    /// A key protected by a passphrase is refused: nobody is there to type it when the nightly run starts.
    pub fn from_openssh(text: &str) -> Result<Identity, Error> {
        let hint = "give the text of a private key file that starts with `-----BEGIN OPENSSH PRIVATE KEY-----`; an older form is converted in place by `ssh-keygen -p -N '' -f FILE`";
        let key = PrivateKey::from_openssh(text.trim()).map_err(|error| Error::Key {
            what: "this private key",
            reason: error.to_string(),
            hint,
        })?;
        if key.is_encrypted() {
            return Err(Error::Key {
                what: "this private key",
                reason: "it is protected by a passphrase".to_owned(),
                hint: "make a key for this cluster alone with `ssh-keygen -t ed25519 -N '' -f FILE`, or take the passphrase off a copy with `ssh-keygen -p -N '' -f COPY`",
            });
        }
        Identity::new(key)
    }

    /// Makes a new ed25519 key.
    pub fn generate_ed25519(comment: &str) -> Result<Identity, Error> {
        Identity::new(generate(comment)?)
    }

    fn new(key: PrivateKey) -> Result<Identity, Error> {
        let public = public_line(&key)?;
        Ok(Identity {
            key: Arc::new(key),
            public,
        })
    }

    /// The public key with its comment, one line for `authorized_keys`.
    pub fn public_openssh(&self) -> &str {
        &self.public
    }

    /// The private key in OpenSSH's form, for an owner-only file.
    pub fn private_openssh(&self) -> Result<SecretText, Error> {
        private_text(&self.key)
    }

    /// SHA-256 fingerprint of the public key.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.key.public_key())
    }

    pub(crate) fn key(&self) -> &Arc<PrivateKey> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A machine's host key, made before the machine exists so that it is known from its first boot.
#[derive(Debug, Clone)]
pub struct HostKeyPair {
    /// For `/etc/ssh/ssh_host_ed25519_key` on the machine, mode 0600.
    pub private_openssh: SecretText,
    /// For `/etc/ssh/ssh_host_ed25519_key.pub` on the machine, with its comment.
    pub public_openssh: String,
    /// The same as the machine will offer it, to put into a [`HostKey`](crate::HostKey).
    pub public: PublicKeyText,
    /// SHA-256 fingerprint.
    pub fingerprint: Fingerprint,
}

/// Makes an ed25519 host key for a machine; `comment` is normally the machine's name.
pub fn generate_host_key(comment: &str) -> Result<HostKeyPair, Error> {
    let key = generate(comment)?;
    let public = PublicKeyText::from_key(key.public_key())?;
    Ok(HostKeyPair {
        private_openssh: private_text(&key)?,
        public_openssh: public_line(&key)?,
        fingerprint: public.fingerprint().clone(),
        public,
    })
}

fn generate(comment: &str) -> Result<PrivateKey, Error> {
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(new_key_error)?;
    key.set_comment(comment);
    Ok(key)
}

fn private_text(key: &PrivateKey) -> Result<SecretText, Error> {
    key.to_openssh(LineEnding::LF).map(SecretText).map_err(new_key_error)
}

fn public_line(key: &PrivateKey) -> Result<String, Error> {
    let line = key.public_key().to_openssh().map_err(new_key_error)?;
    Ok(line.trim_end().to_owned())
}

fn new_key_error(error: russh::keys::ssh_key::Error) -> Error {
    Error::Key {
        what: "this key",
        reason: error.to_string(),
        hint: "use an ed25519 key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_identity_survives_being_written_and_read() {
        let identity = Identity::generate_ed25519("demo cluster").unwrap();
        assert!(identity.public_openssh().starts_with("ssh-ed25519 "));
        assert!(identity.public_openssh().ends_with(" demo cluster"));
        let text = identity.private_openssh().unwrap();
        let again = Identity::from_openssh(text.reveal()).unwrap();
        assert_eq!(again.public_openssh(), identity.public_openssh());
        assert_eq!(again.fingerprint(), identity.fingerprint());
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let identity = Identity::generate_ed25519("x").unwrap();
        let pair = generate_host_key("c1").unwrap();
        let shown = format!("{identity:?} {pair:?} {:?}", identity.private_openssh());
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        assert!(shown.contains("SecretText(…)"));
    }

    #[test]
    fn a_passphrase_is_refused_with_a_way_out() {
        let key = generate("locked")
            .unwrap()
            .encrypt(&mut safe_rng(), "open sesame")
            .unwrap();
        let text = key.to_openssh(LineEnding::LF).unwrap();
        let error = Identity::from_openssh(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this private key cannot be used: it is protected by a passphrase"
        );
        assert!(error.hint().unwrap().contains("ssh-keygen"));
        assert!(Identity::from_openssh("nonsense").is_err());
    }

    #[test]
    fn fingerprints_are_checked_when_read() {
        let pair = generate_host_key("c1").unwrap();
        let text = pair.fingerprint.as_str();
        let line = format!("256 {text} c1 (ED25519)");
        assert_eq!(Fingerprint::parse(&line).unwrap(), pair.fingerprint);
        for wrong in ["", "SHA256:", "SHA256:short", "MD5:aa:bb", &text[..40]] {
            assert!(Fingerprint::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn public_keys_are_equal_whatever_their_comment() {
        let pair = generate_host_key("c1").unwrap();
        let other = pair.public_openssh.replace(" c1", " somebody else");
        assert_eq!(PublicKeyText::parse(&other).unwrap(), pair.public);
        assert!(PublicKeyText::parse("ssh-ed25519 AAAA").is_err());
    }

    #[test]
    fn keys_and_fingerprints_survive_serialization() {
        let pair = generate_host_key("c1").unwrap();
        let target = crate::Target::new("c1", "fe80::1", 22, "root", crate::HostKey::Keys(vec![pair.public]));
        let json = serde_json::to_string(&target).unwrap();
        assert_eq!(serde_json::from_str::<crate::Target>(&json).unwrap(), target);
        assert_eq!(target.address(), "[fe80::1]:22");
    }
}
