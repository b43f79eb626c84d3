//! What a track holds at most, with the numbers that nodes run with.

use super::*;
use crate::relay::pull::PullError;

/// One chunk.
const OBJECT_BYTES: usize = 50_000;

#[test]
fn a_ring_of_a_live_track_holds_8_mib_and_lets_the_oldest_go_with_one_object_more() {
    let now = Instant::now();
    let mut track = Track::new_origin(TrackConfig::default(), Mode::Live);
    let fitting = RingConfig::default().bytes_max / (HEADER_BYTES + OBJECT_BYTES);
    for id in 0..fitting as u64 {
        track.publish(now, &object(id, OBJECT_BYTES));
    }
    assert_eq!(track.ring().oldest(), 0);
    track.publish(now, &object(0, OBJECT_BYTES));
    assert_eq!(track.ring().oldest(), 1);
    assert!(track.ring().bytes() <= 8 * 1024 * 1024);
}

#[test]
fn a_reliable_track_owes_8_mib_and_takes_no_object_more_until_it_is_consumed() {
    let now = Instant::now();
    let mut track = Track::new_origin(TrackConfig::default(), Mode::Reliable);
    let (reader, _) = track.open_reader(now, ReaderKind::Child, Start::Oldest);
    let mut published = 0;
    while track.may_publish(OBJECT_BYTES) {
        track.publish(now, &object(published, OBJECT_BYTES));
        published += 1;
        assert!(published < 1_000, "no limit");
    }
    assert!((8 * 1024 * 1024 - OBJECT_BYTES..=8 * 1024 * 1024).contains(&(published as usize * OBJECT_BYTES)));
    assert_eq!(track.ring().oldest(), 0, "it is owed");
    assert!(matches!(track.read(reader), Read::Frame(_)));
    track.ack(now, reader, 1);
    assert!(track.may_publish(OBJECT_BYTES));
}

#[test]
fn a_parent_takes_back_sixteen_times_without_a_seal_and_not_once_more() {
    let (now, place) = (Instant::now(), Position { id: 0, chunk: 0 });
    let (mut pull, mut child) = (Pull::new_signed(1), Track::new_signed(TrackConfig::default(), Mode::Live, 0));
    let mut taken = (0..).map(|_| pull.take(now, &mut child, Frame::Retract(place)));
    assert_eq!(taken.by_ref().take_while(Result::is_ok).count(), 16);
    assert_eq!(taken.next(), Some(Err(PullError::Unsealed)));
}
