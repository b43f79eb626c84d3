//! Peer ids of libp2p and ours.

use banyan_gossip::PeerId;

/// libp2p's peer id, which may name a key of any kind.
pub(super) type Libp2pId = libp2p::PeerId;

pub(super) fn to_libp2p(peer: &PeerId) -> Libp2pId {
    Libp2pId::from_bytes(&peer.to_multihash()).expect("an identity multihash of 36 bytes is a valid peer id")
}

/// `None`: the key is not an Ed25519 key.
pub(super) fn from_libp2p(peer: &Libp2pId) -> Option<PeerId> {
    PeerId::from_multihash(&peer.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn both_forms_are_one_id() {
        let theirs = Keypair::generate_ed25519().public().to_peer_id();
        let ours = from_libp2p(&theirs).expect("an Ed25519 key");
        assert_eq!(ours.to_string(), theirs.to_string());
        assert_eq!(to_libp2p(&ours), theirs);
        assert_eq!(to_libp2p(&PeerId::from_key_bytes([255; 32])).to_bytes().len(), 38);
    }

    #[test]
    fn other_keys_have_no_id_here() {
        assert_eq!(from_libp2p(&Libp2pId::random()), None);
    }
}
