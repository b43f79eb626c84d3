//! Certificates for the systems whose links are set up by hand: each node signs its own, and its card
//! carries it, so that whoever connects trusts this one and no other.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use crate::system::Failure;

/// The name that all certificates are for.
pub(super) const NAME: &str = "localhost";

/// A node's own certificate and key.
pub(super) fn own() -> Result<CertifiedKey<KeyPair>, Failure> {
    Ok(generate_simple_self_signed([NAME.to_owned(), "127.0.0.1".to_owned()])?)
}

/// Bytes as text without blanks.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`to_hex`].
pub(super) fn from_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
