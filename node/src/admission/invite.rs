//! Invitations: a token that leads a new node to the mesh and gets it the mesh key, a few times and for a while.

use std::{fmt, str::FromStr};

use banyan_gossip::{MeshName, PeerId};
use serde::{Deserialize, Serialize};

use super::key::{InvalidKey, checked_text, from_checked_text};

/// First characters of a token's text.
const PREFIX: &str = "bnyi";
/// Longest token before it becomes text, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;
/// Most addresses in a token.
const ADDRESSES_MAX: usize = 8;

/// Which invitation a token belongs to. Never zero.
pub type InviteId = [u8; 8];

/// What the node that invites remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// What the token proves.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 32],
    /// Until when it is good, in milliseconds since 1970.
    pub expires_ms: u64,
    /// How many nodes it still admits.
    pub uses: u32,
}

/// What the node that is invited gets, as a text of letters and digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The mesh to join.
    pub mesh: MeshName,
    /// The node that invites.
    pub inviter: PeerId,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Which invitation.
    pub id: InviteId,
    /// What is proved to the node that invites.
    #[serde(with = "serde_bytes")]
    pub secret: [u8; 32],
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not begin with `bnyi`.
    #[error("an invitation begins with {PREFIX}")]
    Prefix,
    /// It is cut off, or of another version.
    #[error("the invitation is not complete")]
    Form,
    /// The checksum differs.
    #[error("the invitation is mistyped: its checksum differs")]
    Checksum,
}

impl Token {
    /// A token; of the addresses those that fit.
    #[must_use]
    pub fn new(mesh: MeshName, inviter: PeerId, addresses: Vec<String>, id: InviteId, secret: [u8; 32]) -> Self {
        let mut token = Self { mesh, inviter, addresses, id, secret };
        token.addresses.truncate(ADDRESSES_MAX);
        while token.encode().len() > TOKEN_BYTES_MAX {
            token.addresses.pop();
        }
        token
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("writing to memory does not fail");
        bytes
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", checked_text(&self.encode()))
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mesh, inviter, addresses, .. } = self;
        write!(f, "Token {{ mesh: {mesh}, inviter: {inviter}, addresses: {addresses:?} }}")
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let text = text.strip_prefix(PREFIX).ok_or(InvalidToken::Prefix)?;
        let bytes = from_checked_text(text, TOKEN_BYTES_MAX).map_err(|error| match error {
            InvalidKey::Checksum => InvalidToken::Checksum,
            InvalidKey::Prefix | InvalidKey::Form => InvalidToken::Form,
        })?;
        let token: Self = ciborium::from_reader(&bytes[..]).map_err(|_| InvalidToken::Form)?;
        let good = token.addresses.len() <= ADDRESSES_MAX && token.id != InviteId::default();
        good.then_some(token).ok_or(InvalidToken::Form)
    }
}
