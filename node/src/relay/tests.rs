//! What the relay promises, over random schedules.

use std::time::{Duration, Instant};

use banyan_gossip::PeerId;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

mod bounds;
mod runs;
mod sealed;

use super::{
    Decoder, Feed, Frame, FrameError, Mode, OBJECT_BYTES_MAX, Pull, Start, Track, TrackConfig,
    frame::{self, CHUNK_BYTES_MAX, HEADER_BYTES},
    ring::{Position, Push, RingConfig},
    seal::Seal,
    track::{Assembler, Read, ReaderId, ReaderKind},
};

fn object(id: u64, length: usize) -> Vec<u8> {
    (0..length).map(|index| (id as usize).wrapping_mul(31).wrapping_add(index) as u8).collect()
}

fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut buffer, mut frames) = (Decoder::default(), BytesMut::from(bytes), Vec::new());
    while let Some(frame) = decoder.decode(&mut buffer)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn control_frames() -> Vec<Frame> {
    vec![
        Frame::Start { from: 3, newest: u64::MAX, reliable: true, epoch: 9 },
        Frame::Gap { from: 1, to: 2 },
        Frame::Stable(7),
        Frame::End(u64::MAX),
        Frame::CutOff,
        Frame::Ack(1),
        Frame::Leave,
        Frame::Seal(Seal {
            from: Position { id: 1, chunk: 2 },
            upto: Position { id: 3, chunk: 4 },
            last: true,
            signature: [5; 64],
        }),
        Frame::Retract(Position { id: 1, chunk: 0 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_undoes_encoding_however_the_bytes_arrive(lengths in prop::collection::vec(0usize..200_000, 1..6), step in 1usize..100_000) {
        let mut wire = BytesMut::new();
        let mut sent = Vec::new();
        for (id, length) in (0..).zip(&lengths) {
            for chunk in frame::chunks(id, &object(id, *length)) {
                sent.push(Frame::Chunk(chunk));
            }
            sent.extend(control_frames());
        }
        sent.iter().for_each(|frame| frame.encode(&mut wire));
        let (mut decoder, mut buffer, mut got) = (Decoder::default(), BytesMut::new(), Vec::new());
        for part in wire.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(frame) = decoder.decode(&mut buffer).expect("valid") {
                got.push(frame);
            }
        }
        prop_assert_eq!(sent.iter().map(Frame::wire_bytes).sum::<usize>(), wire.len());
        prop_assert_eq!(got, sent);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn the_decoder_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..200) {
        let _ = decode_all(&bytes);
        let mut wire = BytesMut::new();
        frame::chunks(1, &object(1, 100)).for_each(|chunk| Frame::Chunk(chunk).encode(&mut wire));
        control_frames().iter().for_each(|frame| frame.encode(&mut wire));
        let cut = cut.min(wire.len());
        wire[..cut].iter_mut().zip(&bytes).for_each(|(to, from)| *to ^= from);
        let _ = decode_all(&wire);
    }
}

#[test]
fn frames_over_the_limits_are_refused_and_those_at_them_taken() {
    let mut wire = BytesMut::new();
    frame::chunks(0, &object(0, CHUNK_BYTES_MAX)).for_each(|chunk| wire.extend_from_slice(&chunk.wire));
    assert_eq!(decode_all(&wire).expect("at the limit").len(), 1);
    wire[9..13].copy_from_slice(&(CHUNK_BYTES_MAX as u32 + 1).to_be_bytes());
    assert!(matches!(decode_all(&wire), Err(FrameError::TooLong { .. })));

    let largest = object(1, OBJECT_BYTES_MAX);
    let mut wire = BytesMut::new();
    frame::chunks(1, &largest).for_each(|chunk| wire.extend_from_slice(&chunk.wire));
    assert_eq!(decode_all(&wire).expect("at the limit").len(), 256);
    let mut wire = BytesMut::new();
    frame::chunks(1, &[&largest[..], &[0]].concat()).for_each(|chunk| wire.extend_from_slice(&chunk.wire));
    assert_eq!(decode_all(&wire), Err(FrameError::ObjectTooLarge { id: 1 }));
}

#[test]
fn a_chunk_that_follows_nothing_is_refused() {
    let chunks: Vec<_> = frame::chunks(5, &object(5, 3 * CHUNK_BYTES_MAX)).collect();
    assert_eq!(decode_all(&chunks[1].wire), Err(FrameError::OutOfOrder { id: 5 }));
    let wire = [&chunks[0].wire[..], &chunks[0].wire[..]].concat();
    assert_eq!(decode_all(&wire), Err(FrameError::OutOfOrder { id: 5 }));
}

/// A stream from a parent: both ends, and what reads it.
struct Stream {
    parent: usize,
    feed: Feed,
    pull: Pull,
    decoder: Decoder,
}

/// A relay with the streams from its parents.
struct Node {
    track: Track,
    streams: Vec<Stream>,
    local: ReaderId,
    assembler: Assembler,
    got: Vec<(u64, Bytes)>,
    gaps: Vec<(u64, u64)>,
}

impl Node {
    fn new(track: Track, now: Instant, start: Start) -> Self {
        let mut track = track;
        let (local, _) = track.open_reader(now, ReaderKind::Local, start);
        Self { track, streams: Vec::new(), local, assembler: Assembler::default(), got: Vec::new(), gaps: Vec::new() }
    }

    fn consume(&mut self, now: Instant) -> bool {
        match self.track.read(self.local) {
            Read::Frame(Frame::Chunk(chunk)) => {
                for (id, payload) in self.assembler.take(&chunk) {
                    self.got.push((id, payload));
                    self.track.ack(now, self.local, id + 1);
                }
                true
            }
            Read::Frame(Frame::Gap { from, to }) => {
                self.gaps.push((from, to));
                self.track.ack(now, self.local, to);
                true
            }
            _ => false,
        }
    }
}

/// Moves what comes next from a parent to a child, in runs, and the child's acknowledgement back.
fn pump(nodes: &mut [Node], child: usize, stream: usize, budget_bytes: usize, now: Instant) -> bool {
    let mut streams = std::mem::take(&mut nodes[child].streams);
    let Stream { parent, feed, pull, decoder } = &mut streams[stream];
    let mut wire = BytesMut::new();
    feed.fill(&mut nodes[*parent].track, budget_bytes, |frame| frame.encode(&mut wire));
    let mut moved = false;
    while let Some(frame) = decoder.decode(&mut wire).expect("valid frames") {
        if matches!(frame, Frame::Start { .. }) {
            continue;
        }
        moved = true;
        pull.take(now, &mut nodes[child].track, frame).expect("a valid stream");
    }
    let acked = nodes[child].track.acked();
    nodes[*parent].track.ack(now, feed.reader(), acked);
    nodes[child].streams = streams;
    moved
}

fn attach(nodes: &mut [Node], child: usize, parent: usize, now: Instant) {
    let start = Start::Id(nodes[child].track.ring().next().id);
    let feed = Feed::new(now, &mut nodes[parent].track, 1, start);
    let pull = Pull::new(nodes[child].streams.len() as u64);
    nodes[child].streams.push(Stream { parent, feed, pull, decoder: Decoder::with_runs() });
}

fn detach(nodes: &mut [Node], child: usize, stream: usize, now: Instant) {
    let Stream { parent, feed, .. } = nodes[child].streams.remove(stream);
    nodes[parent].track.close_reader(now, feed.reader(), true);
}

fn small_config() -> TrackConfig {
    let ring = RingConfig { age_min: Duration::ZERO, objects_min: 0, bytes_max: 300_000 };
    TrackConfig { ring, window_bytes: 150_000, ..TrackConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Origin 0 feeds 1 and 2; leaf 3 moves between 1 and 2 at random, also in the middle of an
    /// object and with both at once, while everybody consumes at a pace of its own.
    #[test]
    fn a_reliable_track_loses_and_doubles_nothing_over_any_moves_e1(
        steps in prop::collection::vec((0u8..8, 0usize..100_000), 50..400),
    ) {
        let base = Instant::now();
        let config = small_config();
        let mut nodes = vec![Node::new(Track::new_origin(config, Mode::Reliable), base, Start::Oldest)];
        for _ in 0..3 {
            nodes.push(Node::new(Track::new(config, Mode::Reliable, 0), base, Start::Oldest));
        }
        attach(&mut nodes, 1, 0, base);
        attach(&mut nodes, 2, 0, base);
        attach(&mut nodes, 3, 1, base);
        let mut sent = Vec::new();
        for (tick, (what, length)) in (0u64..).zip(steps) {
            let now = base + Duration::from_millis(tick);
            match what {
                0 if nodes[0].track.may_publish(length) => {
                    let id = nodes[0].track.publish(now, &object(sent.len() as u64, length));
                    prop_assert_eq!(id, sent.len() as u64);
                    sent.push(object(id, length));
                }
                1 => {
                    for length in [length % 500; 20] {
                        if nodes[0].track.may_publish(length) {
                            let id = nodes[0].track.publish(now, &object(sent.len() as u64, length));
                            sent.push(object(id, length));
                        }
                    }
                }
                2..=5 => {
                    let child = 1 + length % 3;
                    for stream in 0..nodes[child].streams.len() {
                        pump(&mut nodes, child, stream, length / 4, now);
                    }
                }
                6 => {
                    if nodes[3].streams.len() > 1 {
                        detach(&mut nodes, 3, length % 2, now);
                    } else {
                        // Make before break.
                        attach(&mut nodes, 3, 1 + length % 2, now);
                    }
                }
                _ => {
                    let node = length % 4;
                    nodes[node].consume(now);
                }
            }
            for node in &nodes {
                prop_assert!(node.track.ring().bytes() <= config.ring.bytes_hard_max());
            }
        }
        // Let everything flow.
        let now = base + Duration::from_secs(1);
        loop {
            let mut moved = false;
            for child in 1..4 {
                for stream in 0..nodes[child].streams.len() {
                    moved |= pump(&mut nodes, child, stream, 1, now);
                }
            }
            for node in &mut nodes {
                moved |= node.consume(now);
            }
            if !moved {
                break;
            }
        }
        for node in &nodes {
            prop_assert_eq!(&node.gaps, &vec![]);
            let ids: Vec<u64> = node.got.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(ids, (0..sent.len() as u64).collect::<Vec<_>>());
            prop_assert!(node.got.iter().zip(&sent).all(|((_, got), sent)| got == sent));
        }
    }

    /// A live reader that falls behind is told exactly which objects it missed.
    #[test]
    fn a_live_laggard_gets_every_object_or_a_gap_for_it(steps in prop::collection::vec((any::<bool>(), 0usize..100_000), 10..200)) {
        let now = Instant::now();
        let mut node = Node::new(Track::new_origin(small_config(), Mode::Live), now, Start::Oldest);
        let mut published = 0;
        for (publish, length) in steps {
            if publish {
                node.track.publish(now, &object(published, length));
                published += 1;
            } else {
                node.consume(now);
            }
        }
        while node.consume(now) {}
        let mut seen = vec![false; published as usize];
        for id in node.got.iter().map(|(id, _)| *id).chain(node.gaps.iter().flat_map(|(from, to)| *from..*to)) {
            prop_assert!(!std::mem::replace(&mut seen[id as usize], true), "{} twice", id);
        }
        prop_assert!(seen.iter().all(|seen| *seen));
    }
}

#[test]
fn a_publisher_of_a_reliable_track_waits_for_the_slowest_reader() {
    let now = Instant::now();
    let mut node = Node::new(Track::new_origin(small_config(), Mode::Reliable), now, Start::Oldest);
    let mut published = 0;
    while node.track.may_publish(10_000) {
        node.track.publish(now, &object(published, 10_000));
        published += 1;
        assert!(published < 100, "no limit");
    }
    assert_eq!(published as usize, 150_000 / (10_000 + HEADER_BYTES));
    assert!(node.consume(now));
    assert!(node.track.may_publish(10_000));
}

#[test]
fn an_object_over_the_window_is_published_when_all_before_it_is_stable() {
    let now = Instant::now();
    let mut node = Node::new(Track::new_origin(small_config(), Mode::Reliable), now, Start::Oldest);
    assert!(node.track.may_publish(OBJECT_BYTES_MAX));
    node.track.publish(now, &object(0, 10));
    assert!(!node.track.may_publish(OBJECT_BYTES_MAX));
    node.consume(now);
    assert!(node.track.may_publish(OBJECT_BYTES_MAX));
}

#[test]
fn a_lost_readers_claim_holds_for_its_time_and_no_longer() {
    let now = Instant::now();
    let config = small_config();
    let mut track = Track::new_origin(config, Mode::Reliable);
    let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    track.publish(now, &object(0, 10));
    track.close_reader(now, reader, true);
    assert_eq!(track.stable(), 0);
    track.handle_timeout(now + config.hold - Duration::from_millis(1));
    assert_eq!(track.stable(), 0);
    track.handle_timeout(now + config.hold);
    assert_eq!(track.stable(), 1);
}

/// Its former stream may be found broken before or after the new one is there. A process that was started again knows nothing
/// of those who were below the one before.
#[test]
fn the_claim_of_a_child_that_is_back_is_that_of_its_new_stream() {
    let (now, config) = (Instant::now(), small_config());
    for (closed_first, restarted) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut track = Track::new_origin(config, Mode::Reliable);
        let open = |track: &mut Track, owner: u8, instance: u64| {
            let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
            track.set_owner(reader, (PeerId::from_key_bytes([owner; 32]), instance));
            reader
        };
        let take = |track: &mut Track, reader| {
            while let Read::Frame(_) = track.read(reader) {}
            track.ack(now, reader, 2);
        };
        let (lost, other) = (open(&mut track, 1, 1), open(&mut track, 2, 1));
        track.publish(now, &object(0, 10));
        if closed_first {
            track.close_reader(now, lost, true);
        }
        let back = open(&mut track, 1, 1 + u64::from(restarted));
        if !closed_first {
            track.close_reader(now, lost, true);
        }
        track.publish(now, &object(1, 10));
        take(&mut track, other);
        assert_eq!(track.stable(), 0);
        take(&mut track, back);
        assert_eq!(track.stable(), if restarted { 0 } else { 2 });
        track.handle_timeout(now + config.hold);
        assert_eq!(track.stable(), 2);
    }
}

#[test]
fn nobody_elses_claim_ends_with_a_child_that_is_back() {
    let (now, config) = (Instant::now(), small_config());
    let mut track = Track::new_origin(config, Mode::Reliable);
    let mut readers = [1, 2].map(|owner| {
        let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
        track.set_owner(reader, (PeerId::from_key_bytes([owner; 32]), 1));
        reader
    });
    track.publish(now, &object(0, 10));
    for reader in readers {
        track.close_reader(now, reader, true);
    }
    readers[0] = track.open_reader(now, ReaderKind::Child, Start::Oldest).0;
    track.set_owner(readers[0], (PeerId::from_key_bytes([1; 32]), 1));
    while let Read::Frame(_) = track.read(readers[0]) {}
    track.ack(now, readers[0], 1);
    assert_eq!(track.stable(), 0);
    track.handle_timeout(now + config.hold);
    assert_eq!(track.stable(), 1);
}

/// A frozen child must not hold up a reliable track until it is declared dead.
#[test]
fn a_lapsed_claim_holds_nobody_up_and_its_reader_is_told_what_it_missed() {
    let now = Instant::now();
    let mut track = Track::new_origin(small_config(), Mode::Reliable);
    let (frozen, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    let (other, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    let mut published = 0;
    let mut fill = |track: &mut Track| {
        let before = published;
        while track.may_publish(1_000) && published < before + 1_000 {
            track.publish(now, &object(published, 1_000));
            published += 1;
            while matches!(track.read(other), Read::Frame(_)) {}
            track.ack(now, other, published);
        }
        published
    };
    let held = fill(&mut track);
    assert!(held < 1_000, "the frozen child holds it up");
    track.set_lapsed(frozen, true);
    assert_eq!(fill(&mut track), held + 1_000, "and no longer does");
    // It thaws: what is gone it is told, what is left it gets, and its claim counts again.
    track.set_lapsed(frozen, false);
    let Read::Frame(Frame::Gap { from: 0, to }) = track.read(frozen) else { panic!("a gap comes first") };
    let mut got = 0;
    while matches!(track.read(frozen), Read::Frame(_)) {
        got += 1;
    }
    assert_eq!(to + got, held + 1_000);
    assert!(fill(&mut track) < held + 2_000, "it must acknowledge again");
}

#[test]
fn a_hopeless_laggard_is_cut_off_and_an_idle_reader_is_not() {
    let now = Instant::now();
    let config = small_config();
    let mut track = Track::new_origin(config, Mode::Reliable);
    let (idle, _) = track.open_reader(now, ReaderKind::Local, Start::Oldest);
    track.handle_timeout(now + 10 * config.laggard);
    assert_eq!(track.read(idle), Read::Wait);
    let now = now + 10 * config.laggard;
    track.publish(now, &object(0, 10));
    track.handle_timeout(now + config.laggard);
    assert!(matches!(track.read(idle), Read::Frame(_)));
    track.handle_timeout(now + config.laggard + Duration::from_millis(1));
    assert_eq!(track.read(idle), Read::CutOff);
    assert_eq!(track.stable(), 1, "it holds nobody up any more");
}

#[test]
fn an_impossible_acknowledgement_changes_nothing() {
    let now = Instant::now();
    let mut track = Track::new_origin(small_config(), Mode::Reliable);
    let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    track.publish(now, &object(0, 10));
    track.ack(now, reader, u64::MAX);
    assert_eq!(track.stable(), 0);
}

#[test]
fn a_child_that_moves_claims_what_its_subtree_has_not_consumed_e1() {
    let now = Instant::now();
    let config = small_config();
    let mut track = Track::new_origin(config, Mode::Reliable);
    let (before, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    for id in 0..10 {
        track.publish(now, &object(id, 10));
        assert!(matches!(track.read(before), Read::Frame(_)));
    }
    track.ack(now, before, 2);
    track.close_reader(now, before, true);
    // It holds everything and asks for what comes next; its subtree has consumed two objects.
    let (after, _) = track.open_reader(now, ReaderKind::Child, Start::Id(10));
    let now = now + 2 * config.hold;
    track.handle_timeout(now);
    assert_eq!(track.stable(), 2);
    track.ack(now, after, 2);
    assert_eq!(track.stable(), 2);
    track.ack(now, after, 10);
    assert_eq!(track.stable(), 10);
}

#[test]
fn an_acknowledgement_that_overtakes_the_parent_counts_once_it_has_caught_up() {
    let now = Instant::now();
    let config = small_config();
    let mut track = Track::new_origin(config, Mode::Reliable);
    for id in 0..3 {
        track.publish(now, &object(id, 10));
    }
    // The former parent was ahead of this one, and nothing will be acknowledged twice.
    let (child, _) = track.open_reader(now, ReaderKind::Child, Start::Id(3));
    track.ack(now, child, 5);
    assert_eq!(track.stable(), 3);
    track.publish(now, &object(3, 10));
    track.publish(now, &object(4, 10));
    assert_eq!(track.stable(), 3);
    while matches!(track.read(child), Read::Frame(_)) {}
    assert_eq!(track.stable(), 5);
    track.handle_timeout(now + 10 * config.laggard);
    assert_eq!(track.read(child), Read::Wait, "it is no laggard");
}

#[test]
fn a_relay_keeps_what_its_own_readers_owe_even_if_it_is_stable() {
    let now = Instant::now();
    let mut node = Node::new(Track::new(small_config(), Mode::Reliable, 0), now, Start::Oldest);
    for id in 0..10 {
        for chunk in frame::chunks(id, &object(id, 50_000)) {
            assert_eq!(node.track.push(now, 1, Position { id, chunk: 0 }, chunk), Push::Stored);
        }
        node.track.set_stable(id + 1);
    }
    while node.consume(now) {}
    assert_eq!((node.got.len(), node.gaps.len()), (10, 0));
}

#[test]
fn a_lost_reader_that_had_consumed_everything_has_a_claim_on_what_comes() {
    let now = Instant::now();
    let config = small_config();
    let mut track = Track::new_origin(config, Mode::Reliable);
    let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    track.close_reader(now, reader, true);
    let mut published = 0;
    while track.may_publish(50_000) {
        track.publish(now, &object(published, 50_000));
        published += 1;
        assert!(published < 100, "no limit");
    }
    assert_eq!((track.stable(), track.ring().oldest()), (0, 0));
}

#[test]
fn gaps_alone_do_not_fill_a_ring_beyond_its_bounds() {
    let now = Instant::now();
    let config = small_config();
    for mode in [Mode::Live, Mode::Reliable] {
        let mut track = Track::new(config, mode, 0);
        let (reader, _) = track.open_reader(now, ReaderKind::Local, Start::Oldest);
        let count = 1_000_000;
        for id in 0..count {
            assert_eq!(track.push_gap(now, id, id + 1), Ok(Some((id, id + 1))));
        }
        assert!(track.ring().bytes() <= config.ring.bytes_hard_max());
        assert!(track.ring().oldest() > 0, "nothing was evicted");
        let mut told = 0;
        while let Read::Frame(Frame::Gap { from, to }) = track.read(reader) {
            assert_eq!(from, told);
            told = to;
        }
        assert_eq!(told, count);
    }
}

#[test]
fn the_last_id_of_all_is_refused_and_overflows_nothing() {
    let now = Instant::now();
    let mut track = Track::new(small_config(), Mode::Live, u64::MAX);
    let chunk = frame::chunks(u64::MAX, &[]).next().expect("one");
    assert_eq!(track.push(now, 1, Position { id: u64::MAX, chunk: 0 }, chunk), Push::Skipped);
    assert_eq!(track.ring().newest(), u64::MAX);
}
