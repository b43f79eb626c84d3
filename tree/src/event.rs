//! What people may want to know of a tree.

use std::{fmt, time::Duration};

use banyan_gossip::PeerId;
use serde::{Deserialize, Serialize};

use crate::RefuseReason;

/// Something that happened in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This node has a parent, or another one.
    Attached {
        /// The parent.
        parent: PeerId,
        /// The former parent, if it was held until now.
        from: Option<PeerId>,
        /// Distance from the origin.
        depth: u8,
        /// Why a parent was sought.
        reason: MoveReason,
        /// Candidates asked.
        tries: u32,
        /// From the decision to the open stream.
        took: Duration,
    },
    /// This node has lost its parent.
    Detached {
        /// The former parent.
        parent: PeerId,
        /// Why.
        reason: DetachReason,
    },
    /// A child opened its stream.
    ChildJoined {
        /// The child.
        child: PeerId,
    },
    /// A child is gone.
    ChildLeft {
        /// The child.
        child: PeerId,
        /// Why.
        reason: DetachReason,
    },
    /// Nobody feeds this node, and why (A13). Said once per change of the reason.
    Stuck {
        /// Why.
        reason: StuckReason,
    },
    /// The tree follows another publication.
    OriginChanged {
        /// The origin.
        origin: PeerId,
        /// Its epoch.
        epoch: u64,
    },
}

/// Why a node looks for a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveReason {
    /// It has had none yet.
    Joined,
    /// The link or the data stream of the parent broke, or the parent ended the session.
    ParentLost,
    /// Nothing was heard of the parent for a moment.
    ParentSilent,
    /// The table says that the parent is gone.
    ParentGone,
    /// There is a place nearer to the origin.
    MovedUp,
    /// The parent asked it to go.
    Shed,
    /// The track was published anew.
    OriginChanged,
    /// The parent brought nothing, and is given up if another brings something meanwhile.
    Withheld,
    /// Its fragment found no parent for long.
    Stalled,
    /// It saw itself in its own root path.
    Loop,
    /// Its depth exceeded the limit.
    TooDeep,
}

impl fmt::Display for MoveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joined => "joined",
            Self::ParentLost => "parent_lost",
            Self::ParentSilent => "parent_silent",
            Self::ParentGone => "parent_gone",
            Self::MovedUp => "moved_up",
            Self::Shed => "shed",
            Self::OriginChanged => "origin_changed",
            Self::Withheld => "withheld",
            Self::Stalled => "stalled",
            Self::Loop => "loop",
            Self::TooDeep => "too_deep",
        })
    }
}

/// Why a session of parent and child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetachReason {
    /// The link between the two broke.
    LinkDown,
    /// The parent was silent for too long.
    Silent,
    /// The parent kept to itself what another brought. Only the child says so, and not to the parent.
    #[serde(skip)]
    Withheld,
    /// The data stream broke or was refused.
    StreamClosed,
    /// The parent was found to pass on what the origin has not published.
    Forged,
    /// The child has another parent. Not sent any more: a child that moves says on the stream that it leaves.
    Moved,
    /// The child does not need the slot that was reserved for it.
    Cancelled,
    /// The child or the parent leaves the track.
    Leaving,
    /// The origin stopped publishing.
    OriginLeft,
    /// One of the two follows another publication.
    OriginChanged,
    /// The parent lowered its capacity, or needs the slot for somebody who feeds others.
    Shed,
    /// The child came back and asked anew.
    Superseded,
    /// The child stands in its own root path.
    Loop,
    /// The child's subtree reaches below the depth limit.
    TooDeep,
    /// The rules of the one who says so do not let the child follow the track, or its origin publish it.
    Forbidden,
}

impl fmt::Display for DetachReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkDown => "link_down",
            Self::Silent => "silent",
            Self::Withheld => "withheld",
            Self::StreamClosed => "stream_closed",
            Self::Forged => "forged",
            Self::Moved => "moved",
            Self::Cancelled => "cancelled",
            Self::Leaving => "leaving",
            Self::OriginLeft => "origin_left",
            Self::OriginChanged => "origin_changed",
            Self::Shed => "shed",
            Self::Superseded => "superseded",
            Self::Loop => "loop",
            Self::TooDeep => "too_deep",
            Self::Forbidden => "forbidden",
        })
    }
}

/// Why nobody feeds a node (A13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StuckReason {
    /// No live peer publishes the track.
    NoOrigin,
    /// Nobody else is known to be attached to the origin.
    NobodyAttached,
    /// Every slot is taken.
    AllFull,
    /// Only peers at the depth limit have free slots.
    DepthLimit,
    /// Everyone with a free slot is fed by this very node.
    OnlyDescendants,
    /// Everyone who had a free slot refused; the last one for this reason.
    Refused(RefuseReason),
    /// Nobody who has a free slot can be reached.
    Unreachable,
    /// There is a parent, but the origin has not been heard of for a while.
    OriginSilent,
    /// Whoever publishes the track may not, by this node's rules.
    OriginForbidden,
}

impl fmt::Display for StuckReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrigin => f.write_str("no live peer publishes the track"),
            Self::NobodyAttached => f.write_str("nobody known is attached to the origin"),
            Self::AllFull => f.write_str("every slot is taken"),
            Self::DepthLimit => f.write_str("only peers at the depth limit have free slots"),
            Self::OnlyDescendants => f.write_str("only peers below this node have free slots"),
            Self::Refused(reason) => write!(f, "every candidate refused; the last one: {reason}"),
            Self::Unreachable => f.write_str("no candidate can be reached"),
            Self::OriginSilent => f.write_str("the origin has not been heard of for a while"),
            Self::OriginForbidden => f.write_str("who publishes the track may not, by this node's rules"),
        }
    }
}

/// Where a node stands in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no part in the track.
    Idle,
    /// It publishes the track.
    Origin,
    /// It is fed, and the origin is alive.
    Attached,
    /// It has no parent.
    Seeking {
        /// Why; `None` before the first search has ended.
        reason: Option<StuckReason>,
    },
    /// It has a parent, but the origin has not been heard of for a while.
    Stalled,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Origin => f.write_str("origin"),
            Self::Attached => f.write_str("attached"),
            Self::Seeking { reason: None } => f.write_str("seeking"),
            Self::Seeking { reason: Some(reason) } => write!(f, "seeking: {reason}"),
            Self::Stalled => f.write_str("stalled"),
        }
    }
}
