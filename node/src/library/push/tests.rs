use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

#[test]
fn each_piece_leaves_once_before_any_leaves_twice_d5() {
    let mut now = Instant::now();
    let mut offers = Offers::new([10; 40], 80, []);
    (0..5).for_each(|number| assert!(offers.handle_up(now, peer(number), PieceSet::empty(40))));
    let first: Vec<_> = std::iter::from_fn(|| offers.poll_offer(now)).collect();
    // Five peers, 8 pieces each, 4 at a time.
    assert_eq!(first.len(), 10);
    let mut offered: Vec<u32> = first.iter().flat_map(|(_, pieces)| pieces.clone()).collect();
    offered.sort_unstable();
    assert_eq!(offered, (0..40).collect::<Vec<_>>());
    // Who has fetched all of it gets the rest from the others.
    let (who, _) = first[0].clone();
    now += Duration::from_millis(500);
    first.iter().filter(|(peer, _)| *peer == who).for_each(|(_, pieces)| offers.handle_has(now, &who, pieces.clone()));
    assert_eq!(offers.poll_offer(now), None);
    // The others are slow, all at once: each piece of theirs goes to it, one by one, and to nobody else.
    now += LATE.0 * FIRST_TIME;
    let (again, more) = offers.poll_offer(now).expect("more");
    assert_eq!((again, more.len()), (who, 1));
    assert!(first.iter().any(|(peer, pieces)| *peer != who && pieces.contains(&more.start)));
    assert_eq!(offers.poll_offer(now), None);
}

#[test]
fn what_a_slow_peer_was_offered_goes_to_another_soon_after_what_is_usual_d5() {
    let mut now = Instant::now();
    let mut offers = Offers::new([10; 40], 10, []);
    (0..2).for_each(|number| assert!(offers.handle_up(now, peer(number), PieceSet::empty(40))));
    // Each fetches a piece of the source in half a second, and at once what the other has.
    let (slow, quick, last) = loop {
        let (to, pieces) = offers.poll_offer(now).expect("more");
        let other = if to == peer(0) { peer(1) } else { peer(0) };
        if pieces.end == 40 {
            break (to, other, pieces);
        }
        now += Duration::from_millis(500);
        [to, other].iter().for_each(|peer| offers.handle_has(now, peer, pieces.clone()));
    };
    assert_ne!(slow, quick);
    now += Duration::from_millis(700);
    assert_eq!(offers.poll_offer(now), None);
    now += Duration::from_secs(2);
    assert_eq!(offers.poll_offer(now), Some((quick, last)));
    assert_eq!(offers.poll_offer(now), None);
}

#[test]
fn who_gets_nothing_from_others_gets_all_from_the_source_d5() {
    let mut now = Instant::now();
    let mut offers = Offers::new([10; 20], 40, []);
    assert!(offers.handle_up(now, peer(1), PieceSet::full(20)));
    assert!(offers.handle_up(now, peer(2), PieceSet::empty(20)));
    assert_eq!(offers.poll_offer(now), None);
    now += LATE.0 * FIRST_TIME;
    for count in 1..=20 {
        let (to, pieces) = offers.poll_offer(now).expect("more");
        assert_eq!((to, pieces.len()), (peer(2), 1));
        offers.handle_has(now, &to, pieces);
        assert_eq!(offers.have_bytes(&to), 10 * count);
    }
    assert_eq!(offers.complete(), (2, 2));
}

#[test]
fn what_left_with_its_peer_is_offered_again_d5() {
    let now = Instant::now();
    let mut offers = Offers::new([10; 4], 1000, []);
    assert!(offers.handle_up(now, peer(1), PieceSet::empty(4)));
    assert_eq!(offers.poll_offer(now), Some((peer(1), 0..4)));
    assert!(offers.handle_up(now, peer(2), PieceSet::empty(4)));
    assert_eq!((offers.poll_offer(now), offers.complete()), (None, (0, 2)));
    offers.handle_down(&peer(1));
    assert_eq!(offers.poll_offer(now), Some((peer(2), 0..4)));
    offers.handle_has(now, &peer(2), 0..9);
    assert_eq!(offers.complete(), (1, 1));
    assert!(!offers.handle_up(now, peer(3), PieceSet::empty(5)));
}

/// In each step of 100 ms everybody sends one piece: the source what it has offered, by turns, the peers what another lacks.
/// Returns the steps until all have all, and the pieces that the source has sent.
fn spread(peers: usize, pieces: u32) -> (u32, u32) {
    const PIECE: u32 = 1024 * 1024;
    let mut now = Instant::now();
    let bytes = u64::from(pieces) * u64::from(PIECE);
    let mut offers = Offers::new((0..pieces).map(|_| PIECE), ahead_bytes(bytes, peers), []);
    let ids: Vec<PeerId> = (0..peers).map(|number| peer(number as u8)).collect();
    ids.iter().for_each(|id| assert!(offers.handle_up(now, *id, PieceSet::empty(pieces))));
    let mut offered = vec![VecDeque::new(); peers];
    let mut have = vec![PieceSet::empty(pieces); peers];
    let (mut steps, mut sent) = (0, 0);
    while have.iter().any(|have| !have.is_full()) {
        while let Some((to, run)) = offers.poll_offer(now) {
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
        now += Duration::from_millis(100);
        for (to, piece) in came {
            have[to].insert(Piece(piece));
            offers.handle_has(now, &ids[to], piece..piece + 1);
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
    fn the_counts_are_those_of_the_peers(steps in prop::collection::vec((0u8..5, 0u8..4, 0u32..30, 0u32..9), 0..99)) {
        let mut now = Instant::now();
        let mut offers = Offers::new([7; 30], 70, []);
        for (step, number, first, count) in steps {
            match step {
                0 => {
                    let mut have = PieceSet::empty(30);
                    (first..first + count).for_each(|piece| { have.insert(Piece(piece)); });
                    offers.handle_up(now, peer(number), have);
                }
                1 => offers.handle_has(now, &peer(number), first..first + count),
                2 if count == 0 => offers.handle_down(&peer(number)),
                3 => now += Duration::from_secs(u64::from(first)),
                _ => {
                    if let Some((to, pieces)) = offers.poll_offer(now) {
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

#[test]
fn who_is_meant_knows_of_nothing_before_it_is_offered_something_d5() {
    let now = Instant::now();
    let mut offers = Offers::new([10; 4], 20, [peer(1), peer(2)]);
    let counts = |offers: &Offers| [1, 2, 3].map(|number| offers.known(&peer(number)).map(PieceSet::count));
    assert_eq!((counts(&offers), offers.poll_offer(now)), ([Some(0), Some(0), None], None));
    assert!(offers.handle_up(now, peer(1), PieceSet::empty(4)));
    assert_eq!(offers.poll_offer(now), Some((peer(1), 0..1)));
    assert_eq!(
        (counts(&offers), offers.is_up(&peer(1)), offers.is_up(&peer(2))),
        ([Some(1), Some(0), None], true, false)
    );
    // It may come back; the other will not have it.
    offers.handle_down(&peer(1));
    offers.handle_out(&peer(2));
    assert_eq!(counts(&offers), [Some(0), None, None]);
}
