//! One link a pair: which of two connections to a peer becomes the link (C6, B11).

use banyan_gossip::PeerId;

/// What tells one connection to a peer from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Drawn by the peer at each start: tells a second connection from a second life.
    pub instance: u64,
    /// The peer's incarnation when it greeted.
    pub incarnation: u64,
    /// Whether this node dialled.
    pub dialer: bool,
}

/// Whether a new connection takes the place of the link that is there. Both ends come to the same
/// answer: another life of the peer wins if it is not older; of two connections between the same
/// two lives, the one that the smaller id dialled; of two dialled by the same end, the later.
#[must_use]
pub fn supersedes(me: PeerId, peer: PeerId, old: Session, new: Session) -> bool {
    if old.instance != new.instance {
        return new.incarnation >= old.incarnation;
    }
    old.dialer == new.dialer || new.dialer == (me < peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PeerId = PeerId::from_key_bytes([1; 32]);
    const GREAT: PeerId = PeerId::from_key_bytes([2; 32]);

    fn session(dialer: bool) -> Session {
        Session { instance: 7, incarnation: 3, dialer }
    }

    /// Which dialler's connection an end keeps, whichever comes first.
    fn kept(me: PeerId, peer: PeerId, first: PeerId, second: PeerId) -> PeerId {
        let (old, new) = (session(first == me), session(second == me));
        if supersedes(me, peer, old, new) { second } else { first }
    }

    #[test]
    fn both_ends_keep_the_connection_that_the_smaller_id_dialled_c6() {
        for (first, second) in [(SMALL, GREAT), (GREAT, SMALL)] {
            assert_eq!(kept(SMALL, GREAT, first, second), SMALL);
            assert_eq!(kept(GREAT, SMALL, first, second), SMALL);
        }
    }

    #[test]
    fn of_two_connections_from_the_same_dialer_both_ends_keep_the_later_c6() {
        for (me, peer) in [(SMALL, GREAT), (GREAT, SMALL)] {
            for dialer in [false, true] {
                assert!(supersedes(me, peer, session(dialer), session(dialer)));
            }
        }
    }

    #[test]
    fn a_new_life_replaces_the_old_one_whoever_dialled_b11() {
        for dialer in [false, true] {
            let reborn = Session { instance: 8, incarnation: 4, dialer };
            for old in [session(false), session(true)] {
                assert!(supersedes(GREAT, SMALL, old, reborn), "the new life wins");
                assert!(!supersedes(GREAT, SMALL, reborn, old), "what comes late of the old life does not");
            }
        }
    }
}
