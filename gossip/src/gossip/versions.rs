//! The newest that was heard of each peer that has no place in the table.
//!
//! Whoever passes on the rows of peers that it does not hold must know which of them it has passed
//! on: a row that is news again at everyone goes round for ever, and drowns the newer one.

use crate::{PeerId, mix::mix_peer};

/// Peers that fall on the same places; the one noted first makes room.
const WAYS: usize = 8;
/// Places, of 16 bytes each, taken when the first peer is noted. Of a mesh with more peers than that,
/// some rows may be passed on twice.
const PLACES: usize = 16 * 1024;

/// What was heard of peers; see the module.
#[derive(Debug)]
pub(super) struct Versions {
    salt: u64,
    places: Vec<[Place; WAYS]>,
}

/// A peer, by half a hash, with its newest incarnation and version.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    peer: u32,
    /// Versions beyond this are taken for the same.
    version: u32,
    incarnation: u64,
}

impl Versions {
    /// Nothing was heard. The salt is secret.
    pub(super) const fn new(salt: u64) -> Self {
        Self { salt, places: Vec::new() }
    }

    /// The newest incarnation and version that was noted, if it is remembered.
    pub(super) fn newest(&self, peer: &PeerId) -> Option<(u64, u32)> {
        let (set, peer) = self.locate(peer);
        let place = self.places.get(set)?.iter().find(|place| place.peer == peer)?;
        Some((place.incarnation, place.version))
    }

    /// Notes it if it is newer. Returns whether it is, as far as is remembered.
    pub(super) fn note(&mut self, peer: &PeerId, incarnation: u64, version: u32) -> bool {
        let (set, peer) = self.locate(peer);
        self.places.resize(PLACES / WAYS, Default::default());
        let places = &mut self.places[set];
        let way = places.iter().position(|place| place.peer == peer);
        if way.is_some_and(|way| (places[way].incarnation, places[way].version) >= (incarnation, version)) {
            return false;
        }
        places[..=way.unwrap_or(WAYS - 1)].rotate_right(1);
        places[0] = Place { peer, version, incarnation };
        true
    }

    /// Where a peer is noted, and as what: never as 0, which is nobody.
    fn locate(&self, peer: &PeerId) -> (usize, u32) {
        let hash = mix_peer(self.salt, peer);
        (hash as usize % (PLACES / WAYS), (hash >> 32) as u32 | 1)
    }
}

/// The version of a row as it is noted.
pub(super) fn version_of(version: u64) -> u32 {
    u32::try_from(version).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(index: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&index.to_be_bytes());
        PeerId::from_key_bytes(key)
    }

    #[test]
    fn of_each_peer_the_newest_is_known() {
        let mut versions = Versions::new(7);
        assert_eq!(versions.newest(&peer(1)), None);
        assert!(versions.note(&peer(1), 5, 3));
        assert!(!versions.note(&peer(1), 5, 3));
        assert!(!versions.note(&peer(1), 4, 9), "an earlier incarnation");
        assert!(versions.note(&peer(1), 6, 0));
        assert_eq!(versions.newest(&peer(1)), Some((6, 0)));
        // A death ends an incarnation.
        assert!(versions.note(&peer(1), 6, u32::MAX));
        assert!(!versions.note(&peer(1), 6, version_of(u64::MAX)));
    }

    #[test]
    fn ten_thousand_peers_are_remembered_and_any_number_takes_bounded_memory_c4() {
        let mut versions = Versions::new(7);
        (0..10_000).for_each(|index| assert!(versions.note(&peer(index), 1, 1)));
        let known = (0..10_000).filter(|index| versions.newest(&peer(*index)).is_some()).count();
        assert!(known > 9_500, "{known}");
        (0..200_000).for_each(|index| assert!(versions.note(&peer(index), 2, 1)));
        assert_eq!(versions.places.capacity(), PLACES / WAYS);
    }
}
