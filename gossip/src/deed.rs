//! Who may publish under an epoch: the origin's signature.

use serde::{Deserialize, Serialize};

use crate::{Keys, MeshName, PeerId, Signed, TrackName};

/// The origin's word that it publishes a track under an epoch, and how. It is handed down with the root path, so
/// that nobody pulls objects of a publication that is not its origin's.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// How it is published: what these bits mean is agreed on elsewhere.
    #[serde(rename = "t")]
    pub terms: u8,
    #[serde(rename = "s", with = "serde_bytes")]
    signature: [u8; 64],
}

impl Deed {
    /// Signs for this node.
    #[must_use]
    pub fn sign(keys: &dyn Keys, mesh: &MeshName, track: &TrackName, epoch: u64, terms: u8) -> Self {
        let signature = keys.sign(&Signed::track(mesh, &body(track, epoch, terms)));
        Self { terms, signature }
    }

    /// With a signature made elsewhere.
    #[must_use]
    pub const fn new(terms: u8, signature: [u8; 64]) -> Self {
        Self { terms, signature }
    }

    /// Whether this peer has signed it, for this mesh, track and epoch.
    #[must_use]
    pub fn is_of(&self, keys: &dyn Keys, mesh: &MeshName, track: &TrackName, epoch: u64, origin: &PeerId) -> bool {
        keys.verify(origin, &Signed::track(mesh, &body(track, epoch, self.terms)), &self.signature)
    }
}

impl std::fmt::Debug for Deed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deed").field("terms", &self.terms).finish_non_exhaustive()
    }
}

fn body(track: &TrackName, epoch: u64, terms: u8) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], &[terms], track.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ed25519Keys;

    #[test]
    fn a_deed_holds_for_its_mesh_track_epoch_terms_and_origin_alone() {
        let keys = [1, 2].map(|seed| Ed25519Keys::from_seed(&[seed; 32]));
        let meshes = ["a", "b"].map(|name| MeshName::new(name).expect("valid"));
        let tracks = ["x", "y"].map(|name| TrackName::new(name).expect("valid"));
        let deed = Deed::sign(&keys[0], &meshes[0], &tracks[0], 7, 1);
        let origin = keys[0].peer_id();
        assert!(deed.is_of(&keys[1], &meshes[0], &tracks[0], 7, &origin));
        assert!(!deed.is_of(&keys[1], &meshes[1], &tracks[0], 7, &origin));
        assert!(!deed.is_of(&keys[1], &meshes[0], &tracks[1], 7, &origin));
        assert!(!deed.is_of(&keys[1], &meshes[0], &tracks[0], 8, &origin));
        assert!(!deed.is_of(&keys[1], &meshes[0], &tracks[0], 7, &keys[1].peer_id()));
        let other = Deed { terms: 0, ..deed };
        assert!(!other.is_of(&keys[1], &meshes[0], &tracks[0], 7, &origin));
    }
}
