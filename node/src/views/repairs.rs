//! `GET /v1/repairs`: how this node found other parents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{View, peers::PeerName};

/// The last repairs of this node, the oldest first; at most 1,000.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repairs {
    /// Repairs since the start of the node, those that are not listed any more included.
    pub total: u64,
    /// The last of them.
    pub repairs: Vec<Repair>,
}

impl View for Repairs {
    const SCHEMA: &'static str = "banyan.repairs/v1";
}

/// How this node lost a parent, or left one that was about to be lost, and found another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repair {
    /// Position among the repairs of this node, +1 each.
    pub id: u64,
    /// The track.
    pub track: String,
    /// When it was noticed that a parent was needed: milliseconds since the node started.
    pub at_ms: u64,
    /// The same by this machine's clock: milliseconds since 1970.
    pub unix_ms: u64,
    /// Why: `link_down`, `silent`, `stream_closed`, `leaving`, `shed`, `parent_silent`, `parent_gone`, …
    pub cause: String,
    /// What showed it: `connection`, `silence`, `stream`, `parent` (it said so), `table`, `path`, `seals` or `origin`.
    pub detected_by: String,
    /// Milliseconds for which nothing had come from the former parent when it was noticed, if known: the
    /// detection took no longer than that.
    pub silent_ms: Option<f64>,
    /// `seeking`, `attached` (no object has come yet), `repaired` (objects flow again) or `given_up` (the
    /// track is not wanted any more).
    pub state: String,
    /// The former parent.
    pub from: Option<PeerName>,
    /// The parent found.
    pub to: Option<PeerName>,
    /// Distance from the origin below it.
    pub depth: Option<u8>,
    /// Candidates asked.
    pub tries: Option<u32>,
    /// Milliseconds from noticing to the open stream from the new parent.
    pub attach_ms: Option<f64>,
    /// Milliseconds from the last object before to the first after.
    pub gap_ms: Option<f64>,
    /// Objects that the new parent had waiting for this node and sent at once.
    pub replayed: Option<u64>,
    /// Objects that nobody held any more.
    pub missing: u64,
}
