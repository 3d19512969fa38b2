//! Users' public SSH keys.

use super::fault;
use crate::Fault;

const KEY_TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
];

pub(super) fn check_key(key: &str, path: &str, faults: &mut Vec<Fault>) {
    let key = key.trim();
    if key.to_ascii_uppercase().contains("PRIVATE KEY") || key.starts_with("PuTTY-User-Key-File") {
        // The text is not repeated, not even a part: faults end up in notebooks and logs.
        let what = if is_encrypted(key) {
            "this is a private key, with a passphrase, and a private key must never leave its owner's machine"
        } else {
            "this is a private key, which must never leave its owner's machine"
        };
        fault(
            faults,
            path,
            what,
            "write the line of the .pub file beside it; if this text was saved or sent anywhere, make a new key pair",
        );
        return;
    }
    let help = "write the one line of a .pub file, such as ssh-ed25519 AAAA… name";
    let mut words = key.split_ascii_whitespace();
    let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if key.chars().any(char::is_control) {
        fault(faults, path, "the key spans several lines", help);
    } else if kind == "ssh-dss" {
        fault(
            faults,
            path,
            "ssh-dss keys are no longer accepted by SSH servers",
            "make a key with ssh-keygen -t ed25519",
        );
    } else if !KEY_TYPES.contains(&kind) {
        fault(faults, path, "this is not a public SSH key", help);
    } else if !is_key_blob(kind, blob) {
        fault(faults, path, format!("the {kind} key is damaged or cut short"), help);
    }
}

/// Whether a private key opens with a passphrase only.
fn is_encrypted(key: &str) -> bool {
    if key.contains("ENCRYPTED") {
        // PKCS #8, and OpenSSL's older form with its Proc-Type line.
        return true;
    }
    if let Some((_, cipher)) = key.split_once("\nEncryption: ") {
        // PuTTY's.
        return !cipher.starts_with("none");
    }
    // OpenSSH's own form names its cipher behind a fixed beginning.
    let body: String = key
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(|line| line.trim().chars())
        .take(64)
        .collect();
    decode_base64(&body)
        .and_then(|bytes| {
            let (length, rest) = bytes.strip_prefix(b"openssh-key-v1\0")?.split_first_chunk::<4>()?;
            Some(rest.get(..u32::from_be_bytes(*length) as usize)? != b"none")
        })
        .unwrap_or(false)
}

/// A key's blob repeats its type at its start, length first, so a cut or mistyped key shows.
fn is_key_blob(kind: &str, blob: &str) -> bool {
    let Some(bytes) = decode_base64(blob) else {
        return false;
    };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return false;
    };
    let length = u32::from_be_bytes(*length) as usize;
    let mut fields = 0;
    let mut rest = rest;
    if rest.get(..length) != Some(kind.as_bytes()) {
        return false;
    }
    rest = &rest[length..];
    // What follows is again lengths and fields, to the last byte.
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Some(after) = after.get(u32::from_be_bytes(*length) as usize..) else {
            return false;
        };
        rest = after;
        fields += 1;
    }
    rest.is_empty() && fields > 0
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        buffer = buffer << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}
