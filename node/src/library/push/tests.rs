use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

#[test]
fn each_piece_leaves_once_before_any_leaves_twice_d5() {
    let mut offers = Offers::new([10; 40], 80);
    (0..5).for_each(|number| assert!(offers.handle_up(peer(number), PieceSet::empty(40))));
    let first: Vec<_> = std::iter::from_fn(|| offers.poll_offer()).collect();
    // Five peers, 8 pieces each, 4 at a time.
    assert_eq!(first.len(), 10);
    let mut offered: Vec<u32> = first.iter().flat_map(|(_, pieces)| pieces.clone()).collect();
    offered.sort_unstable();
    assert_eq!(offered, (0..40).collect::<Vec<_>>());
    // Who has fetched half of it gets the rest from the others.
    let (who, pieces) = first[0].clone();
    offers.handle_has(&who, pieces.clone());
    assert_eq!(offers.poll_offer(), None);
    // Who has fetched all of it is offered another piece that nobody has.
    first.iter().filter(|(peer, _)| *peer == who).for_each(|(_, pieces)| offers.handle_has(&who, pieces.clone()));
    let (again, more) = offers.poll_offer().expect("more");
    assert_eq!((again, more.len()), (who, 1));
    assert!(first.iter().any(|(peer, pieces)| *peer != who && pieces.contains(&more.start)));
    assert_eq!(offers.poll_offer(), None);
}

#[test]
fn what_left_with_its_peer_is_offered_again_d5() {
    let mut offers = Offers::new([10; 4], 1000);
    assert!(offers.handle_up(peer(1), PieceSet::empty(4)));
    assert_eq!(offers.poll_offer(), Some((peer(1), 0..4)));
    assert!(offers.handle_up(peer(2), PieceSet::full(4)));
    assert_eq!((offers.poll_offer(), offers.complete()), (None, (1, 2)));
    offers.handle_down(&peer(1));
    assert!(offers.handle_up(peer(1), PieceSet::empty(4)));
    // Another has all of it: what it does not get from there comes piece by piece.
    assert_eq!(offers.poll_offer(), Some((peer(1), 0..1)));
    offers.handle_has(&peer(1), 0..9);
    assert_eq!(offers.complete(), (2, 2));
    assert!(!offers.handle_up(peer(3), PieceSet::empty(5)));
}

/// In each step everybody sends one piece: the source what it has offered, by turns, the peers what another lacks.
/// Returns the steps until all have all, and the pieces that the source has sent.
fn spread(peers: usize, pieces: u32) -> (u32, u32) {
    const PIECE: u32 = 1024 * 1024;
    let bytes = u64::from(pieces) * u64::from(PIECE);
    let mut offers = Offers::new((0..pieces).map(|_| PIECE), ahead_bytes(bytes, peers));
    let ids: Vec<PeerId> = (0..peers).map(|number| peer(number as u8)).collect();
    ids.iter().for_each(|id| assert!(offers.handle_up(*id, PieceSet::empty(pieces))));
    let mut offered = vec![VecDeque::new(); peers];
    let mut have = vec![PieceSet::empty(pieces); peers];
    let (mut steps, mut sent) = (0, 0);
    while have.iter().any(|have| !have.is_full()) {
        while let Some((to, run)) = offers.poll_offer() {
            offered[ids.iter().position(|id| *id == to).expect("a peer")].extend(run);
        }
        let mut came = Vec::new();
        for turn in 0..peers {
            let to = (steps as usize + turn) % peers;
            while offered[to].front().is_some_and(|piece| have[to].contains(Piece(*piece))) {
                offered[to].pop_front();
            }
            if let Some(piece) = offered[to].pop_front() {
                came.push((to, piece));
                sent += 1;
                break;
            }
        }
        for from in 0..peers {
            let lacks = |to: usize, piece: u32| !have[to].contains(Piece(piece)) && !came.contains(&(to, piece));
            let turns = (0..peers).map(|turn| (from + steps as usize + turn) % peers);
            let copies = |piece: &Piece| have.iter().filter(|have| have.contains(*piece)).count();
            let find = |to: usize| {
                let useful = have[from].iter().filter(|piece| lacks(to, piece.0));
                useful.min_by_key(copies).map(|piece| (to, piece.0))
            };
            let found = turns.filter(|to| *to != from).find_map(find);
            came.extend(found);
        }
        for (to, piece) in came {
            have[to].insert(Piece(piece));
            offers.handle_has(&ids[to], piece..piece + 1);
        }
        steps += 1;
    }
    (steps, sent)
}

#[test]
fn source_sends_little_more_than_one_copy_to_many_d5() {
    for (peers, pieces) in [(2, 60), (5, 100), (20, 128), (40, 100)] {
        let (steps, sent) = spread(peers, pieces);
        assert!(sent * 10 <= pieces * 13, "{peers} peers: {sent} pieces sent of {pieces}");
        assert!(steps * 10 <= pieces * 14, "{peers} peers: {steps} steps for {pieces} pieces");
    }
}

proptest! {
    #[test]
    fn the_counts_are_those_of_the_peers(steps in prop::collection::vec((0u8..4, 0u8..4, 0u32..30, 0u32..9), 0..99)) {
        let mut offers = Offers::new([7; 30], 70);
        for (step, number, first, count) in steps {
            match step {
                0 => {
                    let mut have = PieceSet::empty(30);
                    (first..first + count).for_each(|piece| { have.insert(Piece(piece)); });
                    offers.handle_up(peer(number), have);
                }
                1 => offers.handle_has(&peer(number), first..first + count),
                2 if count == 0 => offers.handle_down(&peer(number)),
                _ => {
                    if let Some((to, pieces)) = offers.poll_offer() {
                        prop_assert!(!pieces.is_empty());
                        prop_assert!(pieces.into_iter().all(|piece| !offers.peers[&to].have.contains(Piece(piece))));
                    }
                }
            }
            let mut copies = BTreeMap::new();
            for peer in offers.peers.values() {
                prop_assert!(peer.have.iter().all(|piece| peer.known.contains(piece)));
                prop_assert_eq!(peer.open_bytes, 7 * u64::from(peer.known.count() - peer.have.count()));
                peer.known.iter().for_each(|piece| *copies.entry(piece.0).or_insert(0) += 1);
            }
            let expected: Vec<u16> = (0..30).map(|piece| copies.get(&piece).copied().unwrap_or(0)).collect();
            prop_assert_eq!(&*offers.copies, &expected[..]);
            let had = |piece: u32| offers.peers.values().filter(|peer| peer.have.contains(Piece(piece))).count();
            prop_assert!((0..30).all(|piece| usize::from(offers.had[piece as usize]) == had(piece)));
        }
    }
}
