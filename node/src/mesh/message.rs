//! What two linked nodes say to each other on the control stream.

use banyan_gossip::{Deed, TrackName};
use serde::{Deserialize, Serialize};

use super::offload::Report;

/// Largest encoded control message, in bytes. Checked before anything is allocated for it.
pub const CONTROL_BYTES_MAX: usize = 320 * 1024;

/// One message of the control stream. On the wire: a 4-byte big-endian length, then CBOR.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Control {
    /// For the peer table.
    #[serde(rename = "g")]
    Gossip(banyan_gossip::Message),
    /// For the tree of one track.
    #[serde(rename = "t")]
    Tree {
        /// The track.
        #[serde(rename = "n")]
        track: TrackName,
        /// For its tree.
        #[serde(rename = "m")]
        message: banyan_tree::Message,
        /// With an `Accept`: the origin's word for the publication.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        deed: Option<Deed>,
    },
    /// To a parent: who forwards how much of a track.
    #[serde(rename = "f")]
    Report {
        /// The track.
        #[serde(rename = "n")]
        track: TrackName,
        /// Of the sender and those below it.
        #[serde(rename = "m")]
        report: Report,
    },
    /// Answer with a [`Control::Pong`] of the same number.
    #[serde(rename = "i")]
    Ping(u32),
    /// The answer to a ping.
    #[serde(rename = "o")]
    Pong(u32),
    /// A person wants to know of the receiver: answer with a [`Control::Probed`] of the same number.
    #[serde(rename = "p")]
    Probe(Probe),
    /// The answer to a probe.
    #[serde(rename = "q")]
    Probed(Probed),
    /// The sender no longer needs this link; whoever needs it keeps it, otherwise closes it.
    #[serde(rename = "r")]
    Release,
    /// The sender, whose id is the greater, asks the other end to open the stream that carries typed streams.
    #[serde(rename = "s")]
    Streams,
    /// The sender closes this link on purpose.
    #[serde(rename = "b")]
    Bye(ByeReason),
}

/// What a person wants to know of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Comes back with the answer.
    #[serde(rename = "n")]
    pub nonce: u64,
    /// Also whether the TCP addresses in the sender's row can be dialled.
    #[serde(rename = "r")]
    pub reach: bool,
}

/// What a peer says of itself when it is probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// That of the probe.
    #[serde(rename = "n")]
    pub nonce: u64,
    /// What its clock showed when the probe came: milliseconds since 1970. Nothing is ordered by it.
    #[serde(rename = "t")]
    pub unix_ms: u64,
    /// Version of its program.
    #[serde(rename = "v")]
    pub version: String,
    /// Addresses that it dialled back, and whether somebody answered; at most [`REACHED_MAX`].
    #[serde(rename = "a")]
    pub reached: Vec<(String, bool)>,
}

/// Most addresses that are dialled back for a probe.
pub const REACHED_MAX: usize = 4;

/// Why a link is closed on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByeReason {
    /// The node leaves the mesh.
    Leaving,
    /// Neither end needs the link.
    Surplus,
    /// The node has as many links as it may have.
    Busy,
    /// The other end sent something against the protocol.
    Misbehaved,
}

/// Bytes that are no control message.
#[derive(Debug, thiserror::Error)]
#[error("not a control message: {0}")]
pub struct ControlError(String);

impl Control {
    /// The CBOR of the message, without the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        ciborium::into_writer(self, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`ControlError`] if the bytes are not exactly one message.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, ControlError> {
        let message = ciborium::de::from_reader_with_recursion_limit(&mut bytes, 32)
            .map_err(|error| ControlError(error.to_string()))?;
        if bytes.is_empty() { Ok(message) } else { Err(ControlError("bytes follow it".to_owned())) }
    }
}
