//! What the trees of two linked nodes say to each other.
//!
//! Messages between two nodes arrive in order; nothing is assumed of the order between different
//! pairs.

use std::{collections::BTreeSet, fmt};

use banyan_gossip::PeerId;
use serde::{Deserialize, Serialize};

use crate::{DetachReason, LinkSettings, Source};

/// Longest root path.
pub const PATH_MAX: usize = 32;
/// Most backups that a parent names.
pub const BACKUPS_MAX: usize = 4;
/// Most peers that a refusal names.
pub const TRY_INSTEAD_MAX: usize = 3;

/// One message about one track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// To a hoped-for parent: feed me.
    Join {
        /// Chosen by the asker; comes back in the answer.
        request: u64,
        /// The publication that the asker follows; a parent that follows an older one refuses.
        source: Option<Source>,
        /// Levels below the asker; 0 if it has no children.
        height: u8,
        /// First object id that the asker needs; `None` takes whatever comes.
        need: Option<u64>,
        /// The asker has lost its parent, or is about to: slots kept for repairs may be taken.
        repair: bool,
    },
    /// To the asker: a slot is reserved, open the data stream.
    Accept {
        /// Of the `Join`.
        request: u64,
        /// Names the reservation, later the session.
        ticket: u64,
        /// The asker's root path: origin first, the sender last.
        path: Vec<PeerId>,
        /// The publication that the sender follows.
        source: Source,
        /// How long ago the sender heard of the origin, in milliseconds.
        origin_age_ms: u64,
        /// Other children of the sender.
        backups: Vec<PeerId>,
        /// Authoritative for this link.
        settings: LinkSettings,
    },
    /// To the asker: not here.
    Refuse {
        /// Of the `Join`.
        request: u64,
        /// Why.
        reason: RefuseReason,
        /// Who may have room.
        try_instead: Vec<PeerId>,
    },
    /// To a child: its root path is now this.
    Path {
        /// Topmost ancestor first, the sender last. It begins at the origin unless the sender's
        /// fragment is detached.
        path: Vec<PeerId>,
        /// The publication that the sender follows.
        source: Source,
        /// Other children of the sender.
        backups: Vec<PeerId>,
    },
    /// To a child, at regular intervals.
    Pulse {
        /// How long ago the sender heard of the origin, in milliseconds.
        origin_age_ms: u64,
    },
    /// To the parent: the levels below the sender are now this many.
    Height {
        /// 0 if it has no children.
        height: u8,
    },
    /// To the parent or the child of a session: it is over.
    Detach {
        /// Names the session.
        ticket: u64,
        /// Why.
        reason: DetachReason,
    },
    /// To a child: move elsewhere, you will be dropped soon.
    Shed {
        /// Who may have room.
        try_instead: Vec<PeerId>,
    },
    /// To a member that has no part in the track: relay it, for every slot in it is taken.
    Summon {
        /// The publication that the sender follows.
        source: Source,
    },
    /// To the sender of a `Summon`.
    Summoned {
        /// Why the track is not relayed; `None`: it is, and the row will tell when there is room.
        refused: Option<Unwilling>,
    },
}

/// Why a node does not become a volunteer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unwilling {
    /// It relays nothing that it does not follow.
    #[error("relays only what it follows")]
    Never,
    /// It has a part in the track already: ask it as anybody else.
    #[error("is in the track already")]
    Inside,
    /// It has too few free slots to be of use.
    #[error("too few free slots")]
    Full,
    /// It relays as many tracks for others as it may, or its row has no room for another.
    #[error("relays too many tracks")]
    TooManyTracks,
    /// The sender has asked too often.
    #[error("asked too often")]
    TooOften,
    /// It knows no such publication.
    #[error("knows no such publication")]
    NoOrigin,
    /// It does not know the sender as a live member.
    #[error("does not know the asker")]
    Stranger,
    /// It is leaving the mesh.
    #[error("leaving")]
    Leaving,
    /// Its rules do not let the origin publish the track, or the sender or it follow it.
    #[error("its rules forbid it")]
    Forbidden,
}

/// Why a parent does not take a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseReason {
    /// It has no part in the track.
    NotHere,
    /// It follows an older publication.
    OldSource,
    /// It is not attached to a live origin itself.
    Detached,
    /// It has no free slot for this kind of request.
    Full,
    /// The asker's subtree would reach below the depth limit.
    TooDeep,
    /// The asker is its ancestor.
    Ancestor,
    /// Its ring no longer holds what the asker needs.
    Behind,
    /// It is just moving below the asker.
    Crossing,
    /// It is leaving the track.
    Leaving,
    /// Its rules do not let the asker follow the track.
    Forbidden,
}

impl fmt::Display for RefuseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHere => "not in the track",
            Self::OldSource => "follows an older publication",
            Self::Detached => "not attached to the origin",
            Self::Full => "no free slot",
            Self::TooDeep => "depth limit",
            Self::Ancestor => "would be a loop",
            Self::Behind => "no longer holds the needed objects",
            Self::Crossing => "moving itself",
            Self::Leaving => "leaving",
            Self::Forbidden => "its rules do not let this node follow the track",
        })
    }
}

/// A message that no honest peer sends. The sender is at fault; it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed tree message: {0}")]
pub struct Malformed(pub &'static str);

impl Message {
    /// Checks the bounds that decoding does not.
    ///
    /// # Errors
    /// [`Malformed`] with the first bound that is broken.
    pub fn check(&self, from: &PeerId) -> Result<(), Malformed> {
        match self {
            Self::Accept { path, source, backups, .. } => {
                check_path(path, from)?;
                check_list(backups, BACKUPS_MAX)?;
                if path[0] == source.origin { Ok(()) } else { Err(Malformed("accepted below no origin")) }
            }
            Self::Path { path, backups, .. } => {
                check_path(path, from)?;
                check_list(backups, BACKUPS_MAX)
            }
            Self::Refuse { try_instead, .. } | Self::Shed { try_instead } => check_list(try_instead, TRY_INSTEAD_MAX),
            Self::Join { .. }
            | Self::Pulse { .. }
            | Self::Height { .. }
            | Self::Detach { .. }
            | Self::Summon { .. }
            | Self::Summoned { .. } => Ok(()),
        }
    }

    /// What a node answers that has no part in the track, if anything.
    #[must_use]
    pub fn refusal_of_stranger(&self) -> Option<Self> {
        match self {
            Self::Join { request, .. } => {
                Some(Self::Refuse { request: *request, reason: RefuseReason::NotHere, try_instead: Vec::new() })
            }
            Self::Accept { ticket, .. } => Some(Self::Detach { ticket: *ticket, reason: DetachReason::Cancelled }),
            _ => None,
        }
    }
}

fn check_path(path: &[PeerId], from: &PeerId) -> Result<(), Malformed> {
    if path.len() > PATH_MAX {
        return Err(Malformed("path too long"));
    }
    if path.last() != Some(from) {
        return Err(Malformed("path does not end at the sender"));
    }
    if path.iter().collect::<BTreeSet<_>>().len() < path.len() {
        return Err(Malformed("path goes in a circle"));
    }
    Ok(())
}

const fn check_list(list: &[PeerId], max: usize) -> Result<(), Malformed> {
    if list.len() > max { Err(Malformed("too many peers named")) } else { Ok(()) }
}
