//! Who signs and verifies.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::{MeshName, PeerId};

/// What is signed: something of a kind, for a mesh.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    kind: &'static str,
    mesh: &'a MeshName,
    body: &'a [u8],
}

impl<'a> Signed<'a> {
    /// An op, encoded.
    #[must_use]
    pub const fn op(mesh: &'a MeshName, op: &'a [u8]) -> Self {
        Self { kind: "op", mesh, body: op }
    }

    /// That this peer publishes a track, encoded.
    #[must_use]
    pub const fn track(mesh: &'a MeshName, deed: &'a [u8]) -> Self {
        Self { kind: "track", mesh, body: deed }
    }

    /// The hash of a group of frames of a track.
    #[must_use]
    pub const fn seal(mesh: &'a MeshName, digest: &'a [u8]) -> Self {
        Self { kind: "seal", mesh, body: digest }
    }

    /// The bytes that a signature is of. They say what they are and for which mesh, so that they mean
    /// nothing anywhere else.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [b"banyan ", self.kind.as_bytes(), b" 1\0", self.mesh.as_str().as_bytes(), b"\0", self.body].concat()
    }
}

/// Signs for this node and verifies for others. A simulator may bring something cheaper than
/// [`Ed25519Keys`].
pub trait Keys: Send + Sync {
    /// Signs with this node's key.
    fn sign(&self, message: &Signed<'_>) -> [u8; 64];
    /// Whether this peer signed this message.
    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool;
}

/// The real thing: Ed25519, verified strictly (RFC 8032 without its malleable cases).
pub struct Ed25519Keys(SigningKey);

impl Ed25519Keys {
    /// The key pair of this secret seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Whose key it is.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_key_bytes(self.0.verifying_key().to_bytes())
    }
}

impl std::fmt::Debug for Ed25519Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ed25519Keys({})", self.peer_id())
    }
}

impl Keys for Ed25519Keys {
    fn sign(&self, message: &Signed<'_>) -> [u8; 64] {
        self.0.sign(&message.to_bytes()).to_bytes()
    }

    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool {
        let key = VerifyingKey::from_bytes(peer.key_bytes());
        key.is_ok_and(|key| key.verify_strict(&message.to_bytes(), &Signature::from_bytes(signature)).is_ok())
    }
}
