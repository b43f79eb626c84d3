//! Reliability, credit, backpressure, fairness, counters.

use super::*;
use crate::streams::frame::{Channel, Frame};

fn hostile(frames: &[(Frame, &[u8])]) -> BytesMut {
    let mut wire = BytesMut::new();
    for (frame, payload) in frames {
        frame.encode(&mut wire);
        wire.extend_from_slice(payload);
    }
    wire
}

fn data(seq: u32, payload: &[u8]) -> (Frame, &[u8]) {
    (Frame::Data { channel: Channel::new(0, 1), seq, first: true, last: true, length: payload.len() }, payload)
}

fn opening(reliable: bool) -> (Frame, &'static [u8]) {
    let channel = Channel::new(0, 1);
    (Frame::Open { channel, id: StreamId(7), reliable, window: 1000, window_max: 1000 }, b"")
}

#[test]
fn a_name_stands_for_the_same_id_everywhere_b1() {
    assert_eq!(stream_id_from_key("name"), stream_id_from_key("name"));
    assert_eq!(stream_id_from_key("").0, 0xaf13_49b9_f5f9_a1a6);
    assert_ne!(stream_id_from_key("a"), stream_id_from_key("b"));
}

#[test]
fn a_reliable_stream_brings_everything_in_order_and_whole_b2() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(0));
    let sizes = [0, 1, 1000, 32_767, 32_768, 32_769, 1_000_000];
    for (at, size) in sizes.into_iter().enumerate() {
        pair.send(0, a, &vec![at as u8; size]).expect("has credit");
    }
    pair.settle();
    let got = pair.read_all(1, b);
    assert_eq!(got.len(), sizes.len());
    for (at, (message, size)) in got.iter().zip(sizes).enumerate() {
        assert_eq!((message.seq, &message.payload[..]), (at as u64, &vec![at as u8; size][..]));
    }
}

#[test]
fn a_gap_ends_a_reliable_stream_and_is_seen_on_the_other_kind_b2() {
    let now = Instant::now();
    let mut link = Link::default();
    let mut wire = hostile(&[opening(true), data(0, b"a"), data(2, b"c")]);
    assert_eq!(link.handle_bytes(now, &mut wire), Err(LinkError::OutOfOrder));
    let mut link = Link::default();
    let mut wire = hostile(&[opening(false), data(0, b"a"), data(2, b"c")]);
    link.handle_bytes(now, &mut wire).expect("gaps are allowed");
    let (key, _) = link.accept(now).expect("came");
    assert_eq!(link.read(now, key), message(0, b"a"));
    assert_eq!(link.read(now, key), message(2, b"c"));
    assert_eq!(link.stats(key).map(|stats| stats.rx_missed), Some(1));
    let mut back = hostile(&[data(1, b"b")]);
    assert_eq!(link.handle_bytes(now, &mut back), Err(LinkError::OutOfOrder), "never reordered");
}

#[test]
fn what_fire_and_forget_refuses_leaves_a_gap_b2() {
    let mut pair = Pair::new();
    let config = StreamConfig { reliability: Reliability::FireAndForget, ..fixed(100) };
    let [a, b] = pair.both(7, config);
    pair.send(0, a, &[1; 80]).expect("has credit");
    assert_eq!(pair.send(0, a, &[2; 80]), Err(TrySendError::Backpressure));
    pair.settle();
    assert_eq!(pair.read_all(1, b).len(), 1);
    pair.settle();
    pair.send(0, a, &[3; 80]).expect("has credit again");
    pair.settle();
    assert_eq!(pair.read_all(1, b)[0].seq, 2);
    assert_eq!(pair.stats(1, b).rx_missed, 1);
}

#[test]
fn the_default_window_is_64_kib_on_the_wire_b3() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, StreamConfig::default());
    assert_eq!(pair.stats(0, a).credit_left, 64 * 1024);
    let sent = pair.flood(0, a, 1000);
    assert!((64 * 1024 - 1011..=64 * 1024).contains(&sent), "{sent}");
    pair.settle();
    assert_eq!(pair.stats(1, b).rx_pending_bytes, sent);
    assert_eq!(pair.stats(0, a).credit_left, 64 * 1024 - sent);
}

#[test]
fn window_0_asks_for_the_greatest_b3() {
    let mut pair = Pair::new();
    let [a, _] = pair.both(7, fixed(0));
    assert_eq!(pair.stats(0, a).credit_left, u64::from(WINDOW_BYTES_MAX));
}

#[test]
fn hostile_grants_mint_nothing_b3() {
    let mut pair = Pair::new();
    let [a, _] = pair.both(7, fixed(1000));
    let before = pair.stats(0, a);
    for limit in [u64::MAX, 2000, 1001, 1000, 0] {
        let mut wire = hostile(&[(Frame::Grant { channel: a.channel(), limit }, b"")]);
        pair.ends[0].handle_bytes(pair.now, &mut wire).expect("ignored");
        assert_eq!(pair.stats(0, a), before, "{limit}");
    }
}

#[test]
fn sending_more_than_granted_ends_the_link_b3() {
    let mut link = Link::default();
    let payload = [0; 500];
    let mut wire = hostile(&[opening(true), data(0, &payload), data(1, &payload)]);
    assert_eq!(link.handle_bytes(Instant::now(), &mut wire), Err(LinkError::Overrun));
}

#[test]
fn a_reader_that_never_reads_stalls_the_sender_for_good_b4() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, StreamConfig::default());
    let mut sent = 0;
    for _ in 0..100 {
        sent += pair.flood(0, a, 1000);
        pair.settle();
    }
    assert!(sent <= 64 * 1024, "{sent}");
    assert_eq!(pair.stats(1, b).rx_window, 64 * 1024, "not even the window grows");
    let before = pair.stats(1, b).grants_sent;
    assert_eq!(before, 0);
    pair.read_all(1, b);
    pair.settle();
    assert!(pair.stats(1, b).grants_sent > before && pair.stats(0, a).credit_left >= 64 * 1024);
}

#[test]
fn a_reader_that_keeps_up_is_sent_more_at_a_time_b4() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, StreamConfig::default());
    for _ in 0..20 {
        pair.flood(0, a, 1000);
        pair.settle();
        pair.read_all(1, b);
        pair.settle();
    }
    assert_eq!(pair.stats(1, b).rx_window, u64::from(WINDOW_BYTES_TUNED));
    assert!(pair.flood(0, a, 1000) <= u64::from(WINDOW_BYTES_TUNED));
}

#[test]
fn windows_grow_by_no_more_than_the_pool_and_share_it_again_b4() {
    let mut pair = Pair::new();
    let keys: Vec<[Key; 2]> = (0..6).map(|id| pair.both(id, fixed(0))).collect();
    let windows: u64 = keys.iter().map(|[_, b]| pair.stats(1, *b).rx_window).sum();
    assert_eq!(windows, (WINDOW_POOL_BYTES + 6 * WINDOW_BYTES as usize) as u64);
    let [a, b] = keys[5];
    assert_eq!(pair.stats(0, a).credit_left, u64::from(WINDOW_BYTES), "the pool is empty");
    assert_eq!(pair.send(0, a, &vec![0; 1 << 20]), Err(TrySendError::Backpressure));
    pair.settle();
    assert!(pair.ends[0].close(keys[0][0], CloseBehavior::DropAndClose));
    pair.settle();
    pair.read(1, keys[0][1]);
    pair.settle();
    pair.send(0, a, &vec![0; 1 << 20]).expect("there is room again");
    pair.settle();
    assert_eq!(pair.read_all(1, b).len(), 1);
}

#[test]
fn refused_messages_are_not_enqueued_and_cost_nothing_b5() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.send(0, a, &[0; 900]).expect("has credit");
    let left = pair.stats(0, a).credit_left;
    assert_eq!(pair.send(0, a, &[0; 900]), Err(TrySendError::Backpressure));
    assert_eq!(pair.send(0, a, &[0; 1001]), Err(TrySendError::TooLarge { bytes: 1012, limit: 1000 }));
    let stats = pair.stats(0, a);
    assert_eq!((stats.credit_left, stats.tx_seq, stats.backpressure_events), (left, 1, 1));
    pair.settle();
    assert_eq!(pair.read_all(1, b).len(), 1);
}

#[test]
fn credit_for_what_waits_is_told_without_being_asked_again_b5() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    for length in [300, 900, 600, 989, 1, 700] {
        let payload = Bytes::from(vec![0; length]);
        if pair.ends[0].send_or_wait(pair.now, a, &payload, true).is_err() {
            while pair.ends[0].poll_event().is_some() {}
            pair.settle();
            pair.read_all(1, b);
            pair.settle();
            assert_eq!(pair.ends[0].poll_event(), Some(Event::Writable(a)), "{length}");
            pair.ends[0].send_or_wait(pair.now, a, &payload, false).expect("has credit now");
        }
    }
}

#[test]
fn streams_share_the_link_by_weight_b6() {
    let mut pair = Pair::new();
    let weights = [1, 3, 0];
    let keys: Vec<[Key; 2]> = weights
        .iter()
        .zip(0..)
        .map(|(weight, id)| pair.both(id, StreamConfig { weight: *weight, ..fixed(1 << 20) }))
        .collect();
    for ([a, _], size) in keys.iter().zip([1000, 30_000, 100]) {
        pair.flood(0, *a, size);
    }
    pair.write(0, 500_000);
    pair.carry(0, usize::MAX);
    let got: Vec<u64> = keys.iter().map(|[_, b]| pair.stats(1, *b).rx_pending_bytes).collect();
    for (got, share) in got.iter().zip([100_000, 300_000, 100_000]) {
        assert!(got.abs_diff(share) < 35_000, "{got} of {share}");
    }
}

#[test]
fn a_stuck_stream_takes_nothing_from_its_siblings_b6() {
    let carried = |stuck: usize| {
        let mut pair = Pair::new();
        let keys = pair.both(1, fixed(1 << 16));
        let stuck: Vec<_> = (0..stuck).map(|id| pair.both(100 + id as u64, fixed(1 << 16))).collect();
        let mut messages = 0;
        for _ in 0..50 {
            for [a, _] in &stuck {
                pair.flood(0, *a, 1000);
            }
            pair.flood(0, keys[0], 1000);
            pair.write(0, 1 << 18);
            pair.carry(0, usize::MAX);
            messages += pair.read_all(1, keys[1]).len();
            pair.settle();
        }
        messages
    };
    let (alone, beside) = (carried(0), carried(1));
    assert!(beside * 20 >= alone * 19, "{beside} of {alone}");
}

#[test]
fn counters_say_what_happened_b8() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.send(0, a, &[0; 489]).expect("has credit");
    pair.send(0, a, &[0; 489]).expect("has credit");
    pair.send(0, a, &[0; 489]).expect_err("has none left");
    pair.settle();
    let (sent, got) = (pair.stats(0, a), pair.stats(1, b));
    assert_eq!((sent.tx_seq, sent.credit_left, sent.backpressure_events, sent.window), (2, 0, 1, 1000));
    assert_eq!((got.rx_seq, got.rx_pending, got.rx_pending_bytes, got.grants_sent), (2, 2, 1000, 0));
    let later = pair.now + Duration::from_secs(9);
    pair.now = later;
    pair.read_all(1, b);
    pair.settle();
    assert_eq!((pair.stats(1, b).grants_sent, pair.stats(1, b).last_activity), (1, later));
    assert_eq!((pair.stats(0, a).grants_received, pair.stats(0, a).credit_left), (1, 1000));
}
