//! Opening, closing, and living again.

use super::*;
use crate::streams::frame::Frame;

fn frames(mut wire: BytesMut) -> Vec<Frame> {
    std::iter::from_fn(|| Frame::decode(&mut wire).expect("frames")).collect()
}

#[test]
fn opening_twice_finds_the_same_stream_and_keeps_the_first_configuration_b1() {
    let mut pair = Pair::new();
    let first = pair.open(0, 7, fixed(1000));
    let again = pair.ends[0].open(pair.now, StreamId(7), fixed(1000)).expect("is open");
    assert_eq!(again, Opened { key: first, config_ignored: false });
    let other = pair.ends[0].open(pair.now, StreamId(7), fixed(9000)).expect("is open");
    assert_eq!(other, Opened { key: first, config_ignored: true });
    assert_eq!(pair.stats(0, first).window, 1000);
}

#[test]
fn a_stream_that_came_is_accepted_or_opened_once_b1() {
    let mut pair = Pair::new();
    let keys = [pair.open(0, 1, fixed(1000)), pair.open(0, 2, fixed(1000))];
    for key in keys {
        pair.send(0, key, b"early").expect("has credit before anybody answers");
    }
    pair.settle();
    let opened = pair.open(1, 1, fixed(1000));
    let (accepted, id) = pair.ends[1].accept(pair.now).expect("the other");
    assert_eq!((id, pair.ends[1].accept(pair.now)), (StreamId(2), None));
    pair.settle();
    for (key, back) in [(opened, keys[0]), (accepted, keys[1])] {
        assert_eq!(pair.read(1, key), message(0, b"early"));
        pair.send(1, key, b"answer").expect("goes both ways");
        pair.settle();
        assert_eq!(pair.read(0, back), message(0, b"answer"));
    }
}

#[test]
fn a_broken_connection_ends_every_stream_but_not_what_has_come_b1() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.send(0, a, b"last").expect("has credit");
    pair.settle();
    pair.ends.iter_mut().for_each(Link::disconnect);
    assert_eq!(pair.send(0, a, b"more"), Err(TrySendError::NotConnected));
    assert_eq!(pair.read(1, b), message(0, b"last"));
    assert_eq!(pair.read(1, b), Read::NotConnected);
    assert_eq!(pair.ends[0].open(pair.now, StreamId(7), fixed(1)), Err(OpenError::NotConnected));
}

#[test]
fn a_close_that_was_answered_is_told_from_one_that_never_will_be_b7() {
    for answered in [true, false] {
        let mut pair = Pair::new();
        let [a, _] = pair.both(7, fixed(1000));
        pair.ends[0].close(a, CloseBehavior::DrainThenClose);
        if answered {
            pair.settle();
        }
        pair.ends[0].disconnect();
        assert_eq!(pair.ends[0].stats(a).is_none(), answered);
    }
}

#[test]
fn draining_delivers_what_was_queued_b7() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.send(0, a, b"one").expect("has credit");
    pair.send(0, a, b"two").expect("has credit");
    assert!(pair.ends[0].close(a, CloseBehavior::DrainThenClose));
    assert_eq!(pair.send(0, a, b"three"), Err(TrySendError::NotConnected));
    assert_eq!(pair.read(0, a), Read::NotConnected);
    pair.settle();
    assert_eq!(pair.send(1, b, b"answer"), Err(TrySendError::NotConnected));
    assert_eq!([pair.read(1, b), pair.read(1, b)], [message(0, b"one"), message(1, b"two")]);
    assert_eq!([pair.read(1, b), pair.read(1, b)], [Read::End, Read::NotConnected]);
    assert!(pair.ends.iter().all(Link::is_empty));
}

#[test]
fn draining_delivers_to_somebody_who_comes_later_b7() {
    let mut pair = Pair::new();
    let a = pair.open(0, 7, fixed(1000));
    pair.send(0, a, b"kept").expect("has credit");
    pair.ends[0].close(a, CloseBehavior::DrainThenClose);
    pair.settle();
    let b = pair.open(1, 7, fixed(1000));
    assert_eq!([pair.read(1, b), pair.read(1, b)], [message(0, b"kept"), Read::End]);
    pair.settle();
    assert!(pair.ends.iter().all(Link::is_empty));
}

#[test]
fn dropping_delivers_nothing_more_b7() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.send(0, a, b"unread").expect("has credit");
    pair.settle();
    pair.send(0, a, b"queued").expect("has credit");
    assert!(pair.ends[0].close(a, CloseBehavior::DropAndClose));
    pair.settle();
    assert_eq!(pair.read(1, b), Read::End);
    assert!(pair.ends.iter().all(Link::is_empty));
}

#[test]
fn both_ends_may_close_at_once_b7() {
    for behaviors in [[CloseBehavior::DrainThenClose; 2], [CloseBehavior::DropAndClose; 2]] {
        let mut pair = Pair::new();
        let keys = pair.both(7, fixed(1000));
        for end in 0..2 {
            pair.send(end, keys[end], b"bye").expect("has credit");
            assert!(pair.ends[end].close(keys[end], behaviors[end]));
        }
        pair.settle();
        assert!(pair.ends.iter().all(Link::is_empty));
        pair.both(7, fixed(1000));
    }
}

#[test]
fn a_reopened_id_gets_no_data_and_no_credit_of_its_former_life_b9() {
    let mut pair = Pair::new();
    let [a, b] = pair.both(7, fixed(1000));
    pair.flood(0, a, 100);
    pair.write(0, 500);
    assert!(pair.ends[0].close(a, CloseBehavior::DropAndClose));
    assert_eq!(pair.ends[0].open(pair.now, StreamId(7), fixed(300)), Err(OpenError::Closing));
    // What is on its way arrives, is read, and makes grants, before the close is known.
    pair.carry(0, 500);
    pair.read_all(1, b);
    pair.settle();
    let late = Frame::Grant { channel: a.channel(), limit: 1100 };
    let [a, b] = pair.both(7, fixed(300));
    let mut wire = BytesMut::new();
    late.encode(&mut wire);
    pair.ends[0].handle_bytes(pair.now, &mut wire).expect("ignored");
    assert_eq!((pair.stats(0, a).credit_left, pair.stats(0, a).grants_received), (300, 0));
    pair.send(0, a, b"new").expect("has credit");
    pair.settle();
    assert_eq!([pair.read(1, b), pair.read(1, b)], [message(0, b"new"), Read::Empty]);
}

#[test]
fn an_old_key_finds_nothing_in_the_next_life_b1_b9() {
    let mut pair = Pair::new();
    let [old, _] = pair.both(7, fixed(1000));
    pair.ends[0].close(old, CloseBehavior::DropAndClose);
    pair.settle();
    let [new, _] = pair.both(7, fixed(1000));
    assert_eq!(old.index(), new.index(), "the same place");
    assert_eq!(pair.send(0, old, b"x"), Err(TrySendError::NotConnected));
    assert_eq!((pair.read(0, old), pair.ends[0].stats(old)), (Read::NotConnected, None));
    assert!(!pair.ends[0].close(old, CloseBehavior::DropAndClose));
    assert_eq!(pair.send(0, new, b"x"), Ok(()));
}

#[test]
fn an_idle_stream_is_evicted_after_300_s_and_a_used_one_is_not_b9() {
    let mut pair = Pair::new();
    let [idle, used] = [pair.both(1, fixed(1000)), pair.both(2, fixed(1000))];
    let start = pair.now;
    for second in (0..300).step_by(50) {
        pair.now = start + Duration::from_secs(second);
        pair.send(0, used[0], b"x").expect("has credit");
        pair.settle();
        pair.read_all(1, used[1]);
        pair.ends.iter_mut().for_each(|end| end.handle_timeout(pair.now));
        pair.settle();
        assert!(pair.ends[0].stats(idle[0]).is_some());
    }
    pair.now = pair.ends[0].poll_timeout().expect("something to watch");
    assert_eq!(pair.now, start + Duration::from_secs(300));
    pair.ends[0].handle_timeout(pair.now);
    pair.settle();
    assert_eq!(pair.send(0, idle[0], b"x"), Err(TrySendError::NotConnected));
    assert_eq!(pair.read(1, idle[1]), Read::End);
    assert_eq!(pair.send(0, used[0], b"x"), Ok(()));
}

#[test]
fn there_are_4096_streams_a_peer_and_not_one_more_b9() {
    let mut pair = Pair::new();
    let keys: Vec<Key> = (0..STREAMS_MAX as u64).map(|id| pair.open(0, id, fixed(100))).collect();
    let more = pair.ends[0].open(pair.now, StreamId(1 << 40), fixed(100));
    assert_eq!(more, Err(OpenError::TooMany));
    for id in 0..STREAMS_MAX as u64 {
        pair.open(1, id, fixed(100));
    }
    pair.settle();
    for key in &keys {
        pair.send(0, *key, b"each").expect("has credit");
    }
    pair.settle();
    assert!(pair.ends[0].close(keys[9], CloseBehavior::DropAndClose));
    pair.settle();
    pair.open(0, 1 << 40, fixed(100));
}

#[test]
fn what_nobody_accepts_is_bounded_and_the_rest_refused_b9() {
    let mut pair = Pair::new();
    let keys: Vec<Key> = (0..=UNACCEPTED_MAX as u64).map(|id| pair.open(0, id, fixed(100))).collect();
    pair.settle();
    assert_eq!(pair.send(0, keys[UNACCEPTED_MAX], b"x"), Err(TrySendError::NotConnected));
    assert_eq!(pair.send(0, keys[0], b"x"), Ok(()));
    let accepted = std::iter::from_fn(|| pair.ends[1].accept(pair.now)).count();
    assert_eq!(accepted, UNACCEPTED_MAX);
    pair.open(0, UNACCEPTED_MAX as u64, fixed(100));
    pair.settle();
    assert!(pair.ends[1].accept(pair.now).is_some(), "there is room again");
}

#[test]
fn answers_that_the_peer_never_reads_are_bounded_b9() {
    let mut link = Link::default();
    let mut wire = BytesMut::new();
    for id in 0..100_000 {
        Frame::Close { id: StreamId(id), drop: true }.encode(&mut wire);
    }
    assert_eq!(link.handle_bytes(Instant::now(), &mut wire), Err(LinkError::TooManyAnswers));
}

#[test]
fn a_close_overtakes_no_data_b7() {
    let mut pair = Pair::new();
    let [a, _] = pair.both(7, fixed(100_000));
    pair.flood(0, a, 40_000);
    pair.ends[0].close(a, CloseBehavior::DrainThenClose);
    pair.write(0, 1 << 20);
    let mut wire = pair.pipes[0].split();
    let mut kinds = Vec::new();
    while let Some(frame) = Frame::decode(&mut wire).expect("frames") {
        if let Frame::Data { length, .. } = frame {
            let _ = wire.split_to(length);
        }
        kinds.push(matches!(frame, Frame::Close { .. }));
    }
    assert_eq!(kinds, [false, false, false, false, true]);
    assert!(frames(wire).is_empty());
}
