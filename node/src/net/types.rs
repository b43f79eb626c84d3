//! What users of a node give and get: options, items, errors.

use std::path::PathBuf;

use banyan_gossip::{PeerId, TrackName, op::UserEventError};
use banyan_tree::Right;
use bytes::Bytes;

use crate::relay::{Integrity, Mode, Terms};

/// Where a subscription starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With the next object.
    #[default]
    Latest,
    /// With the oldest object that is still held.
    Oldest,
    /// With this object id; what is no longer held is reported as a gap.
    Id(u64),
}

/// How to publish a track.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// What happens to subscribers that cannot keep up.
    pub mode: Mode,
    /// Whether the objects are signed, so that no relay can change them.
    pub integrity: Integrity,
}

impl PublishOptions {
    pub(crate) const fn terms(&self) -> Terms {
        Terms { mode: self.mode, integrity: self.integrity }
    }
}

/// How to subscribe to a track.
#[derive(Debug, Clone, Default)]
pub struct SubscribeOptions {
    /// Where to start.
    pub from: From,
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// The next object.
    Object {
        /// Its id, +1 each.
        id: u64,
        /// What was published: a part of what was read with it, up to 1 MiB. Copy what is kept for long.
        payload: Bytes,
    },
    /// The objects `from..to` are missing and will not come.
    Gap {
        /// First missing id.
        from: u64,
        /// First id after the missing ones.
        to: u64,
    },
    /// The track is published anew, or by another origin: ids start again.
    Epoch {
        /// The new publishing epoch.
        epoch: u64,
    },
    /// The origin is gone (`true`) or back (`false`); the subscription goes on waiting.
    OriginLost(bool),
    /// Nothing follows.
    End(End),
}

/// Why a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The publisher ended the track and everything was delivered.
    Complete,
    /// This subscriber held up a reliable track for too long and was cut off.
    TooSlow,
    /// The node shuts down.
    Shutdown,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The data directory is used by another running node.
    #[error("data directory {} is in use by another node", .0.display())]
    DataDirBusy(PathBuf),
    /// The data directory cannot be written or read.
    #[error("data directory {}: {source}", .path.display())]
    DataDir {
        /// The path at fault.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The identity file does not hold an identity.
    #[error("identity file {} is corrupt: {reason}", .path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An address cannot be understood.
    #[error("address {address:?} is not valid: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The mesh keys, the invitations or the known addresses cannot be read.
    #[error("key file {0}")]
    KeyFile(#[from] KeyFileError),
    /// A tag breaks the bounds, or there are too many.
    #[error("{0}")]
    Tags(String),
    /// A folder cannot be shared as a library.
    #[error("library {}: {reason}", .path.display())]
    Library {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No listener could be opened.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        reason: String,
    },
}

/// Why keys, invitations or addresses cannot be read or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct KeyFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl KeyFileError {
    pub(crate) fn new(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// Why an invitation was not taken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The node that invited does not answer at any address.
    #[error("{inviter}, who invited, cannot be reached: {reason}")]
    Unreachable {
        /// Who invited.
        inviter: PeerId,
        /// Of the last address that was tried.
        reason: String,
    },
    /// It answers, and the invitation is used up, has expired, or was made before its node lost its memory.
    #[error("the invitation is used up, or has expired")]
    Refused,
    /// What it brought cannot be kept.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// Why the keys of a node were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The change makes no sense.
    #[error(transparent)]
    Keyring(#[from] crate::admission::KeyringError),
    /// It cannot be kept, and was not made.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// Why a request to a node failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// This node already publishes the track.
    #[error("track {0} is already being published by this node")]
    AlreadyPublished(TrackName),
    /// Another live peer publishes the track.
    #[error("track {track} is published by {origin}")]
    Conflict {
        /// The track.
        track: TrackName,
        /// Who publishes it.
        origin: PeerId,
    },
    /// A newer epoch of the track appeared elsewhere.
    #[error("track {0} was taken over by another origin")]
    TakenOver(TrackName),
    /// The node has no room for another track.
    #[error("too many tracks on this node: their names no longer fit a gossip row")]
    TooManyTracks,
    /// The object is larger than [`crate::relay::OBJECT_BYTES_MAX`].
    #[error("object of {0} bytes is over the limit of 16 MiB")]
    ObjectTooLarge(usize),
    /// No peer publishes or follows the track.
    #[error("no peer publishes or follows track {0}")]
    UnknownTrack(TrackName),
    /// No peer has this id, part of an id, or label.
    #[error("no peer {0:?} is known")]
    UnknownPeer(String),
    /// Neither a peer nor a track has this name.
    #[error("neither a peer nor a track {0:?} is known")]
    UnknownName(String),
    /// A peer cannot be reached, or has not answered in time.
    #[error("no answer from {0}")]
    NoAnswer(String),
    /// Several peers may be meant.
    #[error("{text:?} may mean {}", .peers.join(", or "))]
    AmbiguousPeer {
        /// What was asked for.
        text: String,
        /// Some of those who may be meant.
        peers: Vec<String>,
    },
    /// A tag breaks the bounds, or there are too many.
    #[error("{0}")]
    InvalidTag(&'static str),
    /// A user event breaks the bounds, or there are too many.
    #[error(transparent)]
    Event(#[from] UserEventError),
    /// An address cannot be understood, or there are too many.
    #[error("address {address:?} is not valid: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody of this mesh answers at an address.
    #[error("cannot join by {address}: {reason}")]
    NotJoined {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The rules of the node do not allow it.
    #[error("the rules of this node do not let it {right} track {track}")]
    Forbidden {
        /// The track.
        track: TrackName,
        /// What was asked for.
        right: Right,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Shutdown,
}
