use std::collections::BTreeMap;

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
    // Who has fetched half of it is offered more; what others have least of.
    let (who, pieces) = first[0].clone();
    offers.handle_has(&who, pieces);
    let (again, more) = offers.poll_offer().expect("more");
    assert_eq!((again, more.len()), (who, 4));
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
    assert_eq!(offers.poll_offer(), Some((peer(1), 0..4)));
    offers.handle_has(&peer(1), 0..9);
    assert_eq!(offers.complete(), (2, 2));
    assert!(!offers.handle_up(peer(3), PieceSet::empty(5)));
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
        }
    }
}
