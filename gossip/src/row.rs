//! What a peer says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Label, PeerId, TrackName};

/// Largest encoded row, in bytes.
pub const ROW_BYTES_MAX: usize = 4096;
/// Most addresses in a row.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 128;
/// Most tags in a row.
pub const TAGS_MAX: usize = 16;
/// Longest key of a tag, in bytes.
pub const TAG_KEY_BYTES_MAX: usize = 32;
/// Longest value of a tag, in bytes.
pub const TAG_VALUE_BYTES_MAX: usize = 64;
/// What the tracks of a row may take together; see [`TrackEntry::budget`].
pub const TRACKS_BUDGET_BYTES: usize = 2048;

/// What a peer says of itself. Written by its owner alone, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The owner.
    pub peer: PeerId,
    /// Grows at each restart and at each refutation of a suspicion.
    pub incarnation: u64,
    /// Grows with each op of the owner within an incarnation.
    pub version: u64,
    /// Whether the owner is there or has said goodbye.
    pub presence: Presence,
    /// What a person calls the peer.
    pub label: Option<Label>,
    /// Listener addresses as multiaddrs, without the `/p2p/…` part; best first.
    pub addresses: Vec<String>,
    /// Free-form tags.
    pub tags: BTreeMap<String, String>,
    /// Slots that the peer offers over all tracks.
    pub capacity: u16,
    /// Slots still free over all tracks.
    pub free: u16,
    /// Whether the peer relays tracks that it does not follow.
    #[serde(default, skip_serializing_if = "RelayPolicy::is_default")]
    pub relay: RelayPolicy,
    /// The tracks that the peer publishes, subscribes to or relays.
    pub tracks: BTreeMap<TrackName, TrackEntry>,
    /// The peer's library, if it offers one.
    pub library: Option<LibraryDigest>,
}

/// Whether the owner of a row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// The owner is there.
    Alive,
    /// The owner has said goodbye.
    Left,
}

/// Whether a peer relays tracks that it does not follow; the greater is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayPolicy {
    /// It does not.
    Never,
    /// It does if somebody asks it to who finds every slot of the track taken.
    #[default]
    WhenAsked,
    /// As [`RelayPolicy::WhenAsked`], and it is asked before those.
    Always,
}

/// A peer's part in the tree of one track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackEntry {
    /// Whether the peer is the track's origin.
    pub role: Role,
    /// The origin that the peer publishes for or follows; `None` while it knows none.
    pub origin: Option<PeerId>,
    /// The origin's publishing epoch; 0 while unknown.
    pub epoch: u64,
    /// Distance from the origin (0 at the origin itself); `None` while not attached to a live origin.
    pub depth: Option<u8>,
    /// Who feeds the peer.
    pub parent: Option<PeerId>,
    /// Children fed on this track.
    pub children: u16,
    /// Slots that a new child of this track could get now.
    pub free: u16,
    /// Whether the peer is a member for others' sake alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub volunteer: bool,
}

/// A peer's part in a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Publishes the track.
    Origin,
    /// Subscribes to the track, and relays it if it has children.
    Member,
    /// Published the track; its end was reached, and late subscribers are still served.
    Ended,
}

/// What gossip carries of a peer's library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryDigest {
    /// Grows with each change of the library.
    pub revision: u64,
    /// BLAKE3 of the catalog.
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 32],
}

impl Row {
    /// Slots that are free over all tracks, as far as that can be true.
    #[must_use]
    pub fn believed_free(&self) -> u16 {
        self.free.min(self.capacity)
    }
}

impl RelayPolicy {
    /// What a row that does not say it means.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Its name in settings and views.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::WhenAsked => "when-asked",
            Self::Always => "always",
        }
    }
}

impl TrackEntry {
    /// The origin of the publication that this entry of `peer` belongs to.
    #[must_use]
    pub const fn publisher(&self, peer: PeerId) -> Option<PeerId> {
        if matches!(self.role, Role::Member) { self.origin } else { Some(peer) }
    }

    /// What a track of this name takes of [`TRACKS_BUDGET_BYTES`], in bytes: its name and the
    /// largest encoding of its entry.
    #[must_use]
    pub fn budget(name: &TrackName) -> usize {
        name.as_str().len() + 160
    }
}

/// Whether a tag keeps the bounds.
pub(crate) fn tag_fits(key: &str, value: &str) -> bool {
    !key.is_empty() && key.len() <= TAG_KEY_BYTES_MAX && value.len() <= TAG_VALUE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_entry_keeps_its_budget() {
        let name = TrackName::new("a").expect("valid");
        let peer = Some(PeerId::from_key_bytes([255; 32]));
        let entry = TrackEntry {
            role: Role::Member,
            origin: peer,
            epoch: u64::MAX,
            depth: Some(u8::MAX),
            parent: peer,
            children: u16::MAX,
            free: u16::MAX,
            volunteer: true,
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&(&name, &entry), &mut bytes).expect("writing to memory does not fail");
        assert!(bytes.len() <= TrackEntry::budget(&name), "{} bytes", bytes.len());
    }
}
