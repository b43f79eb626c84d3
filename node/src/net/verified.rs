//! Signatures that were verified in this process need not be verified again.
//!
//! Each node verifies each op of the mesh once, which takes 50 µs. A process that runs hundreds of nodes, as
//! tests, benches and simulations of people's own do, would spend most of its start on that. One that runs a
//! single node, the ordinary case, looks nothing up and remembers nothing.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use banyan_gossip::{Ed25519Keys, Keys, PeerId, Signed};

/// Nodes of this process.
static NODES: AtomicUsize = AtomicUsize::new(0);

/// Hashes of what was verified, each at its place; a later one takes the place of an earlier.
static VERIFIED: Mutex<Vec<[u8; 32]>> = Mutex::new(Vec::new());

/// Places, of 32 bytes each.
const PLACES: usize = 1 << 14;

/// The keys of a node, which shares with the other nodes of its process what it has verified.
#[derive(Debug)]
pub(super) struct SharedKeys(Ed25519Keys);

impl SharedKeys {
    pub(super) fn new(keys: Ed25519Keys) -> Self {
        NODES.fetch_add(1, Ordering::Relaxed);
        Self(keys)
    }
}

impl Drop for SharedKeys {
    fn drop(&mut self) {
        NODES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Keys for SharedKeys {
    fn sign(&self, message: &Signed<'_>) -> [u8; 64] {
        self.0.sign(message)
    }

    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool {
        if NODES.load(Ordering::Relaxed) < 2 {
            return self.0.verify(peer, message, signature);
        }
        let mut hasher = blake3::Hasher::new();
        // The first two are of fixed length.
        let hash = hasher.update(peer.key_bytes()).update(signature).update(&message.to_bytes()).finalize();
        let hash = *hash.as_bytes();
        is_known(&hash) || (self.0.verify(peer, message, signature) && note(hash))
    }
}

fn place(hash: &[u8; 32]) -> usize {
    usize::from(u16::from_le_bytes([hash[0], hash[1]])) % PLACES
}

fn is_known(hash: &[u8; 32]) -> bool {
    let verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    verified.get(place(hash)) == Some(hash)
}

fn note(hash: [u8; 32]) -> bool {
    let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    verified.resize(PLACES, [0; 32]);
    verified[place(&hash)] = hash;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_is_verified_however_often_it_is_asked() {
        let [a, b] = [1, 2].map(|byte| SharedKeys::new(Ed25519Keys::from_seed(&[byte; 32])));
        let mesh = "lab".parse().expect("valid");
        let message = Signed::op(&mesh, b"op");
        let (signature, peer) = (a.sign(&message), a.0.peer_id());
        for keys in [&a, &b, &a] {
            assert!(keys.verify(&peer, &message, &signature));
            assert!(!keys.verify(&b.0.peer_id(), &message, &signature), "somebody else's name");
            assert!(!keys.verify(&peer, &Signed::op(&mesh, b"no"), &signature), "other words");
            let mut forged = signature;
            forged[63] ^= 1;
            assert!(!keys.verify(&peer, &message, &forged));
        }
    }
}
