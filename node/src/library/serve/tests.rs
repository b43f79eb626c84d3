use proptest::prelude::*;

use super::*;
use crate::library::{
    manifest::{FileEntry, MODE_FILE},
    path::PackagePath,
    piece::FileHashes,
};

const KIB: u64 = 1024;

/// A package of this many pieces, each a file of this many bytes.
fn package(pieces: u32, bytes: u64) -> Arc<Manifest> {
    let entry = |index: u32| {
        let hashes = FileHashes { size: bytes, root: [0; 32], pieces: Box::default() };
        FileEntry::new(PackagePath::new(&format!("{index:05}")).expect("valid"), MODE_FILE, hashes)
    };
    Arc::new(Manifest::new((0..pieces).map(entry).collect()).expect("valid"))
}

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

/// What is sent until nothing is left: blocks as (peer, request, piece, offset, bytes), an end with no bytes.
fn drain(serve: &mut Serve) -> Vec<(PeerId, u64, u32, u32, u32)> {
    let outputs = std::iter::from_fn(|| serve.poll_output());
    let outputs = outputs.map(|output| match output {
        Output::Block { peer, request, piece, offset, bytes, .. } => (peer, request.0, piece.0, offset, bytes),
        Output::End { peer, request } => (peer, request.0, 0, 0, 0),
    });
    outputs.collect()
}

#[test]
fn pieces_come_in_order_in_blocks_and_then_the_end_d5() {
    let (mut serve, package) = (Serve::default(), package(3, 200 * KIB));
    assert_eq!(serve.handle_request(peer(1), RequestId(4), &package, 1..3), Ok(()));
    assert_eq!(serve.queued_bytes(&peer(1)), (400 * KIB, 400 * KIB));
    let (whole, rest) = (BLOCK_BYTES, 200 * KIB as u32 - BLOCK_BYTES);
    let block = |piece, offset, bytes| (peer(1), 4, piece, offset, bytes);
    let expected =
        [block(1, 0, whole), block(1, whole, rest), block(2, 0, whole), block(2, whole, rest), block(0, 0, 0)];
    assert_eq!(drain(&mut serve), expected);
    assert_eq!(serve.queued_bytes(&peer(1)), (0, 0));
    assert!(serve.peers.is_empty());
}

#[test]
fn peers_share_the_uplink_whatever_they_ask_for_b6() {
    let (mut serve, large, small) = (Serve::default(), package(64, 1024 * KIB), package(4096, 4 * KIB));
    for request in 0..3 {
        serve.handle_request(peer(1), RequestId(request), &large, 0..32).expect("served");
    }
    serve.handle_request(peer(2), RequestId(0), &small, 0..4096).expect("served");
    let mut sent = BTreeMap::from([(peer(1), 0u64), (peer(2), 0)]);
    for (peer, .., bytes) in drain(&mut serve) {
        *sent.get_mut(&peer).expect("one of them") += u64::from(bytes);
        if sent[&super::tests::peer(2)] < 16 * 1024 * KIB {
            assert!(
                sent[&super::tests::peer(1)].abs_diff(sent[&super::tests::peer(2)]) <= 2 * u64::from(BLOCK_BYTES),
                "{sent:?}"
            );
        }
    }
    assert_eq!(sent[&peer(1)], 96 * 1024 * KIB);
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody_b6() {
    let (mut serve, package) = (Serve::default(), package(4, 1024 * KIB));
    serve.handle_request(peer(1), RequestId(0), &package, 0..4).expect("served");
    serve.handle_request(peer(2), RequestId(0), &package, 0..4).expect("served");
    serve.handle_ready(peer(1), false);
    assert!(drain(&mut serve).iter().all(|(to, ..)| *to == peer(2)));
    assert_eq!(serve.queued_bytes(&peer(1)).0, 4096 * KIB);
    serve.handle_ready(peer(1), true);
    assert_eq!(drain(&mut serve).len(), 33);
}

#[test]
fn what_waits_is_bounded_for_each_and_in_all_d5() {
    let config = Config {
        peers: 2,
        peer_requests: 2,
        request_pieces: 8,
        peer_bytes: 8 * KIB,
        bytes: 12 * KIB,
        ..Config::default()
    };
    let (mut serve, package) = (Serve::new(config.clone()), package(16, KIB));
    let busy = Err(Refused::Busy(config.retry_after));
    let mut ask = |from, request, pieces| serve.handle_request(peer(from), RequestId(request), &package, pieces);
    assert_eq!(ask(1, 1, 0..9), Err(Refused::Invalid));
    assert_eq!(ask(1, 1, 3..3), Err(Refused::Invalid));
    #[expect(clippy::reversed_empty_ranges, reason = "a peer may ask for one")]
    let reversed = 3..2;
    assert_eq!(ask(1, 1, reversed), Err(Refused::Invalid));
    assert_eq!(ask(1, 1, 14..17), Err(Refused::Invalid));
    assert_eq!(ask(1, 1, u32::MAX - 1..u32::MAX), Err(Refused::Invalid));
    assert_eq!(ask(1, 1, 0..5), Ok(()));
    assert_eq!(ask(1, 1, 5..6), Err(Refused::Invalid));
    assert_eq!(ask(1, 2, 0..4), busy);
    assert_eq!(ask(1, 2, 0..2), Ok(()));
    assert_eq!(ask(1, 3, 0..1), busy);
    assert_eq!(ask(2, 0, 0..6), busy);
    assert_eq!(ask(2, 0, 0..5), Ok(()));
    assert_eq!(ask(3, 0, 0..1), busy);
    serve.handle_down(peer(1));
    assert_eq!(serve.queued_bytes(&peer(2)), (5 * KIB, 5 * KIB));
    drain(&mut serve);
    assert_eq!(serve.handle_request(peer(3), RequestId(0), &package, 0..8), Ok(()));
}

#[test]
fn what_is_cancelled_is_not_sent_to_its_end_d5() {
    let (mut serve, package) = (Serve::default(), package(4, 256 * KIB));
    serve.handle_request(peer(1), RequestId(1), &package, 0..4).expect("served");
    assert!(matches!(serve.poll_output(), Some(Output::Block { piece: Piece(0), .. })));
    for piece in [0, 2, 2, 9] {
        serve.handle_cancel(peer(1), RequestId(1), Piece(piece));
    }
    serve.handle_cancel(peer(1), RequestId(2), Piece(1));
    serve.handle_cancel(peer(2), RequestId(1), Piece(1));
    assert_eq!(serve.queued_bytes(&peer(1)).0, 512 * KIB);
    let sent: Vec<_> =
        drain(&mut serve).into_iter().map(|(_, _, piece, offset, bytes)| (piece, offset, bytes)).collect();
    let half = BLOCK_BYTES;
    assert_eq!(sent, [(1, 0, half), (1, half, half), (3, 0, half), (3, half, half), (0, 0, 0)]);
}

#[test]
fn coming_again_gives_no_second_turn_b6() {
    let (mut serve, package) = (Serve::default(), package(8, 1024 * KIB));
    for _ in 0..50 {
        serve.handle_request(peer(1), RequestId(0), &package, 0..8).expect("served");
        serve.handle_down(peer(1));
    }
    serve.handle_request(peer(1), RequestId(0), &package, 0..8).expect("served");
    serve.handle_request(peer(2), RequestId(0), &package, 0..8).expect("served");
    let first: Vec<_> = (0..20).filter_map(|_| serve.poll_output()).collect();
    let to = |number| {
        first.iter().filter(|output| matches!(output, Output::Block { peer: to, .. } if *to == peer(number))).count()
    };
    assert_eq!((to(1), to(2)), (10, 10));
}

proptest! {
    /// Whatever is asked, cancelled and broken off: the counts are right, and all that is owed is sent once.
    #[test]
    fn the_books_balance(steps in prop::collection::vec((0u8..5, 0u8..3, 0u64..6, 0u32..6, 1u32..4), 0..80)) {
        let (mut serve, package) = (Serve::default(), package(9, 300 * KIB));
        let mut owed: BTreeMap<(PeerId, u64, u32), u32> = BTreeMap::new();
        let on_block = |owed: &mut BTreeMap<(PeerId, u64, u32), u32>, output: &Output| {
            if let Output::Block { peer, request, piece, offset, bytes, .. } = output {
                let left = owed.get_mut(&(*peer, request.0, piece.0)).expect("it is owed");
                assert_eq!(300 * KIB as u32 - *left, *offset);
                *left -= bytes;
            }
        };
        for (step, from, request, first, count) in steps {
            let from = peer(from);
            match step {
                0 | 1 => {
                    if serve.handle_request(from, RequestId(request), &package, first..first + count).is_ok() {
                        owed.extend((first..first + count).map(|piece| ((from, request, piece), 300 * KIB as u32)));
                    }
                }
                2 => {
                    serve.handle_cancel(from, RequestId(request), Piece(first));
                    owed.remove(&(from, request, first));
                }
                3 if count == 1 => {
                    serve.handle_down(from);
                    owed.retain(|(to, ..), _| *to != from);
                }
                3 => serve.handle_ready(from, count == 2),
                _ => {
                    if let Some(output) = serve.poll_output() {
                        on_block(&mut owed, &output);
                    }
                }
            }
            let bytes: u64 = owed.values().map(|left| u64::from(*left)).sum();
            prop_assert_eq!(serve.bytes, bytes);
            prop_assert_eq!(serve.peers.values().map(|queue| queue.bytes).sum::<u64>(), bytes);
        }
        (0..3).for_each(|from| serve.handle_ready(peer(from), true));
        while let Some(output) = serve.poll_output() {
            on_block(&mut owed, &output);
        }
        prop_assert!(owed.values().all(|left| *left == 0));
        prop_assert!(serve.peers.is_empty());
    }
}
