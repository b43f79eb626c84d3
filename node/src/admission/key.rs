//! Mesh keys.

use std::{fmt, str::FromStr};

/// First characters of a key's text.
const PREFIX: &str = "bnyk";
/// Bytes of the checksum behind a key in its text.
const CHECK_BYTES: usize = 4;

/// The secret that the members of a mesh share: 256 random bits.
///
/// Its text is `bnyk` and the base58 form of the key and a checksum. Neither `Debug` nor `Display`
/// shows it; see [`MeshKey::to_text`].
#[derive(Clone, PartialEq, Eq)]
pub struct MeshKey([u8; 32]);

/// What a key is called where it must not be shown: eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 4]);

/// A text that is no mesh key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It does not begin with `bnyk`.
    #[error("a mesh key begins with {PREFIX}")]
    Prefix,
    /// It has characters that are not of base58, or too few or too many of them.
    #[error("a mesh key has {PREFIX} and about 49 letters and digits")]
    Form,
    /// The checksum differs.
    #[error("the mesh key is mistyped: its checksum differs")]
    Checksum,
}

impl MeshKey {
    /// A key of 256 random bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as people pass it on.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", checked_text(&self.0))
    }

    /// What the key is called in lists and logs.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let hash = blake3::derive_key("banyan mesh key fingerprint v1", &self.0);
        Fingerprint(*hash.first_chunk().expect("a hash has 32 bytes"))
    }
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshKey({})", self.fingerprint())
    }
}

impl FromStr for MeshKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let text = text.strip_prefix(PREFIX).ok_or(InvalidKey::Prefix)?;
        let bytes = from_checked_text(text, 32)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidKey::Form)?))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.len() == 8 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let word = u32::from_str_radix(text, 16).ok().filter(|_| hex).ok_or(())?;
        Ok(Self(word.to_be_bytes()))
    }
}

/// Base58 of the bytes and a checksum.
pub(super) fn checked_text(bytes: &[u8]) -> String {
    let mut checked = bytes.to_vec();
    checked.extend(&blake3::hash(bytes).as_bytes()[..CHECK_BYTES]);
    bs58::encode(checked).into_string()
}

/// The bytes of a [`checked_text`], at most `most` of them.
pub(super) fn from_checked_text(text: &str, most: usize) -> Result<Vec<u8>, InvalidKey> {
    let mut checked = vec![0; most + CHECK_BYTES];
    let length = bs58::decode(text).onto(&mut checked[..]).map_err(|_| InvalidKey::Form)?;
    checked.truncate(length);
    let (bytes, check) = checked.split_last_chunk::<CHECK_BYTES>().ok_or(InvalidKey::Form)?;
    match blake3::hash(bytes).as_bytes().starts_with(check) {
        true => Ok(bytes.to_vec()),
        false => Err(InvalidKey::Checksum),
    }
}
