//! A hash that is cheap, well mixed and the same everywhere. It is no defence: whoever wants
//! two inputs of the same hash finds them.

use crate::PeerId;

/// Hashes words: a round of SplitMix64 (Steele, Lea and Flood, 2014) each.
pub(crate) fn mix(seed: u64, words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(seed, |state, word| {
        let state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    })
}

/// Hashes a peer id.
pub(crate) fn mix_peer(seed: u64, peer: &PeerId) -> u64 {
    let (words, _) = peer.key_bytes().as_chunks::<8>();
    mix(seed, words.iter().map(|word| u64::from_be_bytes(*word)))
}
