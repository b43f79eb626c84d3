//! Keys that cost nothing: who signed stands in the signature.

use banyan_gossip::{Keys, PeerId, Signed};

/// The id of a simulated host: unpredictable but for its number, which stands at the end.
#[must_use]
pub(crate) fn peer_id(seed: u64, index: u32) -> PeerId {
    let mut rng = fastrand::Rng::with_seed(seed ^ (u64::from(index) << 32) ^ 0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 32];
    rng.fill(&mut key[..28]);
    key[28..].copy_from_slice(&index.to_be_bytes());
    PeerId::from_key_bytes(key)
}

/// The number of a simulated host.
#[must_use]
pub(crate) fn index_of(peer: &PeerId) -> u32 {
    u32::from_be_bytes(*peer.key_bytes().last_chunk().expect("an id has 32 bytes"))
}

/// Nobody in a simulation can claim to be somebody else, at the price of a comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimKeys(pub(crate) PeerId);

impl SimKeys {
    /// Its signature of anything.
    pub(crate) fn signature(self) -> [u8; 64] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(self.0.key_bytes());
        signature
    }
}

impl Keys for SimKeys {
    fn sign(&self, _: &Signed<'_>) -> [u8; 64] {
        self.signature()
    }

    fn verify(&self, peer: &PeerId, _: &Signed<'_>, signature: &[u8; 64]) -> bool {
        signature.starts_with(peer.key_bytes())
    }
}
