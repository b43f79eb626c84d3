//! Peer ids: the Ed25519 public key of a node, written as libp2p writes it.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The Ed25519 public key that names a peer and verifies what it signs.
///
/// Its text form is the libp2p `PeerId` of that key (`12D3KooW…`): base58btc of an identity
/// multihash over the protobuf-encoded key. In CBOR it is a byte string of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId([u8; 32]);

/// Identity multihash (code 0, length 36) of a protobuf `PublicKey { type: Ed25519, data: 32 bytes }`.
const MULTIHASH_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A text that is no Ed25519 peer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 peer id: it should look like 12D3KooW…")]
pub struct InvalidPeerId;

impl PeerId {
    /// The id of the peer that owns this Ed25519 public key.
    #[must_use]
    pub const fn from_key_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn key_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes of the libp2p `PeerId` (a multihash).
    #[must_use]
    pub fn to_multihash(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&MULTIHASH_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// Reads the bytes of a libp2p `PeerId`.
    ///
    /// # Errors
    /// [`InvalidPeerId`] if the multihash is not that of an Ed25519 key.
    pub fn from_multihash(bytes: &[u8]) -> Result<Self, InvalidPeerId> {
        let key = bytes.strip_prefix(&MULTIHASH_PREFIX).ok_or(InvalidPeerId)?;
        key.try_into().map(Self).map_err(|_| InvalidPeerId)
    }

    /// The last eight characters of the text form: enough to tell peers apart in a log.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }
}

/// By the bytes of the key.
impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        // Keys are random: the first word decides, and maps of peers are searched without a call.
        let word = |id: &Self| u64::from_be_bytes(*id.0.first_chunk().expect("a key has 32 bytes"));
        word(self).cmp(&word(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_multihash()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = InvalidPeerId;

    fn from_str(text: &str) -> Result<Self, InvalidPeerId> {
        let mut bytes = [0; 38];
        let length = bs58::decode(text).onto(&mut bytes).map_err(|_| InvalidPeerId)?;
        Self::from_multihash(&bytes[..length])
    }
}

/// Text in human-readable formats (JSON), 32 bytes elsewhere (CBOR).
impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            serde_bytes::ByteArray::<32>::deserialize(deserializer).map(|key| Self(key.into_array()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_that_of_libp2p() {
        let id = PeerId::from_key_bytes([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn ids_are_ordered_by_all_bytes_of_their_keys() {
        let id = |first, last| {
            let mut key = [7; 32];
            (key[0], key[31]) = (first, last);
            PeerId::from_key_bytes(key)
        };
        assert!(id(1, 9) < id(2, 0) && id(1, 0) < id(1, 1) && id(1, 1) <= id(1, 1));
        assert!(id(127, 0) < id(128, 0));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "12D3KooW", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "0OIl", "é"] {
            assert_eq!(text.parse::<PeerId>(), Err(InvalidPeerId), "{text}");
        }
    }
}
