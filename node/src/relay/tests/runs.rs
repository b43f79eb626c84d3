//! Runs of small objects: what a decoder makes of them, and what a track gives to its readers.

use super::*;
use crate::relay::frame::{Chunk, RUN_BYTES_MAX};

/// The frames of objects of these lengths, beginning with this id.
fn wire(from: u64, lengths: &[usize]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (index, length) in lengths.iter().enumerate() {
        let id = from + index as u64;
        frame::chunks(id, &object(id, *length)).for_each(|chunk| wire.extend_from_slice(&chunk.wire));
    }
    wire
}

/// Objects of these lengths as one run.
fn run(from: u64, lengths: &[usize]) -> Chunk {
    Chunk { id: from, count: lengths.len() as u32, first: true, last: true, wire: wire(from, lengths).into() }
}

fn at(id: u64) -> Position {
    Position { id, chunk: 0 }
}

/// What comes of bytes that arrive in pieces of this size: the frames one by one, the error at the end, and what is left.
fn decode(mut decoder: Decoder, bytes: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>, BytesMut) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for part in bytes.chunks(step) {
        buffer.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(Frame::Chunk(chunk))) => {
                    assert!(chunk.count == 1 || chunk.wire.len() <= RUN_BYTES_MAX && chunk.first && chunk.last);
                    assert_eq!(chunk.end() - chunk.id, chunk.singles().count() as u64);
                    frames.extend(chunk.singles().map(Frame::Chunk));
                }
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), buffer),
            }
        }
    }
    (frames, None, buffer)
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![10 => 0usize..400, 2 => 400usize..40_000, 1 => CHUNK_BYTES_MAX - 30..3 * CHUNK_BYTES_MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn runs_hold_the_objects_that_come_one_by_one_however_the_bytes_are_cut(
        parts in prop::collection::vec((prop::collection::vec(length(), 0..40), 0u64..3, any::<prop::sample::Index>()), 1..5),
        step in prop_oneof![1usize..200, 1usize..200_000],
        harm in prop::option::of((any::<prop::sample::Index>(), 0usize..HEADER_BYTES, 1u8..)),
    ) {
        let (mut bytes, mut id) = (BytesMut::new(), 0);
        for (lengths, skipped, control) in parts {
            bytes.extend_from_slice(&wire(id, &lengths));
            id += lengths.len() as u64 + skipped;
            if skipped > 0 {
                control.get(&control_frames()).encode(&mut bytes);
            }
        }
        let (all, error, rest) = decode(Decoder::default(), &bytes, bytes.len().max(1));
        prop_assert!(error.is_none() && rest.is_empty());
        if let Some((frame, at, bits)) = harm.filter(|_| !all.is_empty()) {
            // Something is wrong with the header of one of the frames.
            let before: usize = all[..frame.index(all.len())].iter().map(Frame::wire_bytes).sum();
            bytes[before + at] ^= bits;
        }
        let plain = decode(Decoder::default(), &bytes, step);
        prop_assert_eq!(&decode(Decoder::with_runs(), &bytes, step), &plain);
        // Of the whole, more is left after an error.
        let (frames, error, _) = decode(Decoder::with_runs(), &bytes, bytes.len().max(1));
        prop_assert_eq!((&frames, &error), (&plain.0, &plain.1));
    }
}

#[test]
fn objects_that_came_together_are_one_run_of_at_most_64_kib() {
    let (mut decoder, mut buffer) = (Decoder::with_runs(), BytesMut::from(&wire(7, &[1_000; 100])[..]));
    let Ok(Some(Frame::Chunk(chunk))) = decoder.decode(&mut buffer) else { panic!("a run") };
    assert_eq!((chunk.id, chunk.count), (7, (RUN_BYTES_MAX / 1_013) as u32));
    let Ok(Some(Frame::Chunk(rest))) = decoder.decode(&mut buffer) else { panic!("a run") };
    assert_eq!((rest.id, rest.end()), (chunk.end(), 107));
    let mut buffer = BytesMut::from(&wire(0, &[CHUNK_BYTES_MAX, 1, 1, CHUNK_BYTES_MAX + 1, 1, 1])[..]);
    let counts = std::iter::from_fn(|| decoder.decode(&mut buffer).expect("valid")).map(|frame| match frame {
        Frame::Chunk(chunk) => chunk.count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.collect::<Vec<_>>(), [1, 2, 1, 1, 2]);
}

#[test]
fn the_last_id_of_all_is_in_no_run() {
    let (mut decoder, mut buffer) = (Decoder::with_runs(), BytesMut::new());
    for id in [u64::MAX - 2, u64::MAX - 1, u64::MAX] {
        frame::chunks(id, b"x").for_each(|chunk| buffer.extend_from_slice(&chunk.wire));
    }
    let mut track = Track::new(small_config(), Mode::Live, u64::MAX - 2);
    let Ok(Some(Frame::Chunk(chunk))) = decoder.decode(&mut buffer) else { panic!("a run") };
    assert_eq!((chunk.count, chunk.end()), (2, u64::MAX));
    assert_eq!(track.push(Instant::now(), 1, at(chunk.id), chunk), Push::Stored);
    let Ok(Some(Frame::Chunk(chunk))) = decoder.decode(&mut buffer) else { panic!("an object") };
    assert_eq!((chunk.id, chunk.count), (u64::MAX, 1));
    assert_eq!(track.push(Instant::now(), 1, at(chunk.id), chunk), Push::Skipped);
    assert_eq!(track.push(Instant::now(), 1, at(u64::MAX - 2), run(u64::MAX - 2, &[1])), Push::Duplicate);
    let beyond = Chunk { count: 3, ..run(u64::MAX - 2, &[1; 2]) };
    assert_eq!(track.push(Instant::now(), 1, at(u64::MAX - 2), beyond), Push::Skipped);
}

#[test]
fn of_a_run_that_is_partly_known_each_object_is_counted_as_what_it_is() {
    let now = Instant::now();
    let mut track = Track::new(small_config(), Mode::Live, 0);
    assert_eq!(track.push(now, 1, at(0), run(0, &[10, 20, 30])), Push::Stored);
    assert_eq!(track.push(now + Duration::from_millis(5), 2, at(1), run(1, &[20, 30, 40, 50])), Push::Stored);
    assert_eq!(track.push(now, 1, at(0), run(0, &[10, 20])), Push::Duplicate);
    let counters = track.counters();
    assert_eq!((counters.objects, counters.bytes, counters.duplicates), (5, 150, 4));
    assert_eq!(track.brought().collect::<Vec<_>>(), [(1, 3), (2, 5)]);
    let switch = track.take_switch().expect("another parent delivered");
    assert_eq!((switch.ticket, switch.gap), (2, Duration::from_millis(5)));
}

#[test]
fn a_child_gets_its_budget_and_a_run_more_at_most() {
    let now = Instant::now();
    let mut track = Track::new(small_config(), Mode::Reliable, 0);
    let mut feed = Feed::new(now, &mut track, 1, Start::Oldest);
    for from in [0, 10, 20] {
        track.push(now, 1, at(from), run(from, &[100; 10]));
    }
    let mut got = Vec::new();
    feed.fill(&mut track, 1_500, |frame| got.push(frame));
    let [Frame::Start { .. }, Frame::Chunk(one), Frame::Chunk(two)] = &got[..] else { panic!("{got:?}") };
    assert_eq!((one.id, one.end(), two.id, two.end()), (0, 10, 10, 20));
}

#[test]
fn a_child_that_has_some_of_a_run_gets_the_rest_and_what_it_owes_is_kept() {
    let now = Instant::now();
    let mut track = Track::new(small_config(), Mode::Reliable, 0);
    let (child, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    track.push(now, 1, at(0), run(0, &[1_000; 10]));
    track.read(child);
    track.ack(now, child, 4);
    assert_eq!(track.acked(), 4, "in the middle of a run");
    track.set_stable(4);
    // More than the ring keeps of what is owed to nobody.
    for from in (10..300).step_by(10) {
        assert_eq!(track.push(now, 1, at(from), run(from, &[1_000; 10])), Push::Stored);
    }
    let (other, from) = track.open_reader(now, ReaderKind::Child, Start::Id(4));
    assert_eq!(from, 4);
    assert_eq!(track.read(other), Read::Frame(Frame::Chunk(run(4, &[1_000; 6]))));
    assert_eq!(track.ring().oldest(), 0, "the run is owed from its middle on");
    track.set_stable(10);
    track.ack(now, child, 10);
    track.ack(now, other, 10);
    track.push(now, 1, at(300), run(300, &[1_000; 10]));
    assert_eq!(track.ring().oldest(), 10);
}

#[test]
fn a_reliable_subscriber_takes_what_is_left_of_a_run_and_may_consume_some_of_it() {
    let now = Instant::now();
    let mut track = Track::new(small_config(), Mode::Reliable, 0);
    let (local, _) = track.open_reader(now, ReaderKind::Local, Start::Id(4));
    track.push(now, 1, at(0), run(0, &[1_000; 10]));
    assert_eq!(track.read(local), Read::Frame(Frame::Chunk(run(4, &[1_000; 6]))));
    assert_eq!(track.acked(), 4, "taken is not consumed");
    track.ack(now, local, 7);
    assert_eq!(track.acked(), 7);
}

#[test]
fn a_live_subscriber_skips_what_it_has_not_taken_of_a_run() {
    let now = Instant::now();
    let mut node = Node::new(Track::new(small_config(), Mode::Live, 0), now, Start::Oldest);
    node.track.push(now, 1, at(0), run(0, &[1_000; 10]));
    assert!(node.consume(now) && node.consume(now));
    for from in (10..1_000).step_by(10) {
        node.track.push(now, 1, at(from), run(from, &[1_000; 10]));
    }
    let oldest = node.track.ring().oldest();
    assert!(oldest > 10);
    while node.consume(now) {}
    let ids: Vec<u64> = node.got.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [0, 1].into_iter().chain(oldest..1_000).collect::<Vec<_>>());
    assert_eq!(node.gaps, [(2, oldest)]);
    assert!(node.got.iter().all(|(id, payload)| payload[..] == object(*id, 1_000)));
}
