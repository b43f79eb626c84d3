//! Keys of tests.

use banyan_gossip::{Keys, PeerId, Signed};

/// Keyed hashes instead of signatures: as good for a test, and much cheaper.
pub(crate) struct TestKeys(pub(crate) PeerId);

impl Keys for TestKeys {
    fn sign(&self, message: &Signed<'_>) -> [u8; 64] {
        tag(&self.0, &message.to_bytes())
    }

    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool {
        tag(peer, &message.to_bytes()) == *signature
    }
}

pub(crate) fn tag(peer: &PeerId, message: &[u8]) -> [u8; 64] {
    let mut sum = [0u8; 64];
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for (index, byte) in peer.key_bytes().iter().chain(message).enumerate() {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        sum[index % 64] ^= (state >> 32) as u8;
    }
    sum[..8].copy_from_slice(&state.to_be_bytes());
    sum
}
