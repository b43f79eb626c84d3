//! What happens on a node, as it is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// One event of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Position in this node's sequence of events, +1 each.
    pub seq: u64,
    /// Milliseconds since the node started.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl View for EventView {
    const SCHEMA: &'static str = "banyan.event/v1";
}

/// What can happen on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A peer became known.
    PeerJoined {
        /// The peer.
        peer_id: String,
        /// What a person calls it.
        label: Option<String>,
    },
    /// A peer is suspected of being gone.
    PeerSuspected {
        /// The peer.
        peer_id: String,
    },
    /// A suspected peer is there after all.
    PeerRefuted {
        /// The peer.
        peer_id: String,
    },
    /// A peer is gone without a goodbye.
    PeerLost {
        /// The peer.
        peer_id: String,
    },
    /// A peer said goodbye.
    PeerLeft {
        /// The peer.
        peer_id: String,
    },
    /// A peer does what no honest one does; told now and then while it lasts.
    Misbehaved {
        /// The peer.
        peer_id: String,
        /// What: `forged_op` (it sent what its author did not sign) or `op_flood` (it says far more than its share).
        reason: String,
    },
    /// A link to a peer is up.
    LinkUp {
        /// The peer.
        peer_id: String,
    },
    /// A link to a peer is gone.
    LinkDown {
        /// The peer.
        peer_id: String,
        /// Why.
        reason: String,
    },
    /// This node has a parent (again) on a track.
    ParentChanged {
        /// The track.
        track: String,
        /// The former parent, if there was one.
        from: Option<String>,
        /// The parent.
        to: String,
        /// Distance from the origin.
        depth: u8,
        /// Why: `joined`, `parent_lost`, `parent_silent`, `moved_up`, `shed`, …
        reason: String,
        /// Candidates asked.
        tries: u32,
        /// Milliseconds from the decision to the open stream.
        took_ms: f64,
    },
    /// This node has lost its parent on a track, and looks for another.
    ParentLost {
        /// The track.
        track: String,
        /// The former parent.
        peer_id: String,
        /// Why.
        reason: String,
    },
    /// A peer passed on, or promised, what the origin of a track has not signed. It is left and not asked again for
    /// ten minutes.
    PeerLied {
        /// The track.
        track: String,
        /// The peer.
        peer_id: String,
    },
    /// The stream goes on after the parent was lost.
    Repaired {
        /// The track.
        track: String,
        /// Why the repair was needed.
        reason: String,
        /// Milliseconds from the last object before the loss to the first after it.
        gap_ms: f64,
        /// Milliseconds from noticing the loss to the open stream from the new parent.
        attach_ms: f64,
    },
    /// This node has no parent on a track.
    Stuck {
        /// The track.
        track: String,
        /// Why no parent was found; it goes on trying.
        reason: String,
    },
    /// A child was accepted.
    ChildJoined {
        /// The track.
        track: String,
        /// The child.
        peer_id: String,
    },
    /// A child is gone.
    ChildLeft {
        /// The track.
        track: String,
        /// The child.
        peer_id: String,
        /// Why.
        reason: String,
    },
    /// The track is published by somebody (else), or anew.
    OriginChanged {
        /// The track.
        track: String,
        /// The origin.
        origin: String,
        /// Its publishing epoch.
        epoch: u64,
    },
    /// Objects are missing: no ring in reach holds them any more.
    Gap {
        /// The track.
        track: String,
        /// First missing object id.
        from: u64,
        /// First id after the missing ones.
        to: u64,
    },
    /// A bootstrap address cannot be reached; it is tried again.
    BootstrapFailed {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A job of the library has begun, gone on or ended.
    LibraryJob {
        /// The job.
        id: u64,
        /// As in the job's view.
        kind: String,
        /// The title's name.
        name: String,
        /// As in the job's view.
        state: String,
        /// As in the job's view.
        phase: String,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all; 0 while unknown.
        bytes_total: u64,
    },
    /// What this node or a peer offers has changed.
    LibraryChanged {
        /// Packages in the whole mesh, each counted once.
        packages: u64,
    },
    /// Somebody told the whole mesh something; never twice the same in a node's life.
    User {
        /// Names the event in the whole mesh.
        id: String,
        /// Who told it.
        from: String,
        /// What kind of event it is.
        name: String,
        /// Anything more.
        payload: String,
    },
    /// Events are missing here: the reader was too slow, or asked for some that are not kept any more.
    Missed {
        /// How many; at most, where the reader asked for a time.
        events: u64,
    },
}

impl Event {
    /// The word that names this kind of event, as in its JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PeerJoined { .. } => "peer_joined",
            Self::PeerSuspected { .. } => "peer_suspected",
            Self::PeerRefuted { .. } => "peer_refuted",
            Self::PeerLost { .. } => "peer_lost",
            Self::PeerLeft { .. } => "peer_left",
            Self::Misbehaved { .. } => "misbehaved",
            Self::LinkUp { .. } => "link_up",
            Self::LinkDown { .. } => "link_down",
            Self::ParentChanged { .. } => "parent_changed",
            Self::ParentLost { .. } => "parent_lost",
            Self::PeerLied { .. } => "peer_lied",
            Self::Repaired { .. } => "repaired",
            Self::Stuck { .. } => "stuck",
            Self::ChildJoined { .. } => "child_joined",
            Self::ChildLeft { .. } => "child_left",
            Self::OriginChanged { .. } => "origin_changed",
            Self::Gap { .. } => "gap",
            Self::BootstrapFailed { .. } => "bootstrap_failed",
            Self::LibraryJob { .. } => "library_job",
            Self::LibraryChanged { .. } => "library_changed",
            Self::User { .. } => "user",
            Self::Missed { .. } => "missed",
        }
    }

    /// Whether it has to do with this peer.
    #[must_use]
    pub fn mentions(&self, peer: &str) -> bool {
        match self {
            Self::PeerJoined { peer_id, .. }
            | Self::PeerSuspected { peer_id }
            | Self::PeerRefuted { peer_id }
            | Self::PeerLost { peer_id }
            | Self::PeerLeft { peer_id }
            | Self::LinkUp { peer_id }
            | Self::Misbehaved { peer_id, .. }
            | Self::LinkDown { peer_id, .. }
            | Self::ParentLost { peer_id, .. }
            | Self::PeerLied { peer_id, .. }
            | Self::ChildJoined { peer_id, .. }
            | Self::ChildLeft { peer_id, .. } => peer_id == peer,
            Self::ParentChanged { from, to, .. } => to == peer || from.as_deref() == Some(peer),
            Self::OriginChanged { origin, .. } => origin == peer,
            _ => false,
        }
    }
}
