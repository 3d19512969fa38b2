//! Which machine, and how to know that it is the one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::key::{Fingerprint, PublicKeyText};

/// A machine as seen from here: where it is, who we are there, and how it proves its identity.
///
/// Two equal targets share one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The name used in errors, normally the node's name.
    pub id: String,
    /// IPv4 address, IPv6 address (without brackets) or host name.
    pub host: String,
    /// TCP port of its SSH server.
    pub port: u16,
    /// User to log in as.
    pub user: String,
    /// What its host key has to be.
    pub host_key: HostKey,
    /// The machine to go through, if it can't be reached directly. May have a jump host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Arc<Target>>,
}

impl Target {
    /// A machine that is reached directly.
    pub fn new(
        id: impl Into<String>,
        host: impl Into<String>,
        port: u16,
        user: impl Into<String>,
        host_key: HostKey,
    ) -> Target {
        Target {
            id: id.into(),
            host: host.into(),
            port,
            user: user.into(),
            host_key,
            jump: None,
        }
    }

    /// The same machine, reached through another one.
    pub fn through(mut self, jump: Arc<Target>) -> Target {
        self.jump = Some(jump);
        self
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// How a machine proves that it is the one. There is no variant that accepts any key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostKey {
    /// Its host key is one of these public keys. More than one while a key is being rotated.
    Keys(Vec<PublicKeyText>),
    /// One of its host keys, of whatever type, has this SHA-256 fingerprint.
    Fingerprint(Fingerprint),
}

impl HostKey {
    /// Expects exactly this public key, in OpenSSH's text form (`ssh-ed25519 AAAA… comment`).
    pub fn from_public_key(text: &str) -> Result<HostKey, Error> {
        Ok(HostKey::Keys(vec![PublicKeyText::parse(text)?]))
    }

    /// Expects a host key with this fingerprint (`SHA256:…`), as printed by `ssh-keygen -l`.
    pub fn from_fingerprint(text: &str) -> Result<HostKey, Error> {
        Ok(HostKey::Fingerprint(Fingerprint::parse(text)?))
    }

    /// The fingerprints that are accepted.
    pub fn fingerprints(&self) -> Vec<String> {
        match self {
            HostKey::Keys(keys) => keys.iter().map(|key| key.fingerprint().to_string()).collect(),
            HostKey::Fingerprint(fingerprint) => vec![fingerprint.to_string()],
        }
    }
}
