//! What two linked nodes say to each other on the control stream.

use banyan_gossip::TrackName;
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
