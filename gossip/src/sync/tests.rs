use std::time::{Duration, Instant};

use super::*;
use crate::{
    Presence, RowBody,
    op::{Op, OpId},
};

const FULL_MAX: usize = 100;

fn peer(index: u16) -> PeerId {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&index.to_be_bytes());
    PeerId::from_key_bytes(key)
}

fn merge(table: &mut PeerTable, now: Instant, index: u16, version: u64, presence: Presence) {
    let id = OpId { author: peer(index), incarnation: 1, version };
    table.merge_row(now, SignedOp::new(Op::Row(RowBody::default().to_row(id, presence)), [0; 64]));
}

fn table(size: u16, now: Instant) -> PeerTable {
    let mut table = PeerTable::default();
    (0..size).for_each(|index| merge(&mut table, now, index, 1, Presence::Alive));
    table
}

#[test]
fn tables_that_agree_say_so_in_tens_of_bytes_e4() {
    let now = Instant::now();
    for size in [3, 1_000] {
        let (a, b) = (table(size, now), table(size, now));
        let opening = Shared::new(&a, FULL_MAX).root();
        let mut bytes = Vec::new();
        ciborium::into_writer(&opening, &mut bytes).expect("writes");
        assert!(bytes.len() <= 16, "{} bytes", bytes.len());
        let Message::Root(sum) = opening else { panic!("{opening:?}") };
        assert_eq!(Shared::new(&b, FULL_MAX).answer_root(sum), None);
    }
}

#[test]
fn a_sum_that_differs_is_answered_by_as_much_as_the_size_calls_for_c5() {
    let now = Instant::now();
    let answer = |size| Shared::new(&table(size, now), FULL_MAX).answer_root(1);
    assert!(matches!(answer(100), Some(Message::Digest(Digest { buckets: None, reply: true, .. }))));
    assert!(matches!(answer(101), Some(Message::Buckets(sums)) if sums.len() == 256));
}

#[test]
fn only_buckets_that_differ_are_described_c5() {
    let now = Instant::now();
    let (a, mut b) = (table(1_000, now), table(1_000, now));
    merge(&mut b, now, 7, 2, Presence::Alive);
    let digests = Shared::new(&b, FULL_MAX).answer_buckets(a.bucket_sums());
    let [Message::Digest(Digest { buckets: Some(buckets), entries, .. })] = &digests[..] else { panic!("{digests:?}") };
    assert_eq!(buckets, &[bucket(&peer(7))]);
    assert!(entries.len() < 20 && entries.contains(&DigestEntry(peer(7), (1, 2), None)), "{entries:?}");
}

#[test]
fn tombstones_leave_the_sum_when_they_fall_silent() {
    let start = Instant::now();
    let (without, mut with) = (table(9, start), table(9, start));
    merge(&mut with, start, 9, 1, Presence::Left);
    with.hush(start + Duration::from_secs(9), Duration::from_secs(10));
    assert_ne!(with.root(), without.root());
    with.hush(start + Duration::from_secs(10), Duration::from_secs(10));
    assert_eq!(with.root(), without.root());
    // It is remembered, and a later word of it is still a tombstone's.
    merge(&mut with, start + Duration::from_secs(11), 9, 2, Presence::Left);
    assert_eq!((with.root(), with.len()), (without.root(), 10));
    with.forget(start + Duration::from_secs(20), Duration::from_secs(20));
    assert_eq!(with.len(), 9);
}

#[test]
fn full_tables_exchange_only_what_is_newer_of_whom_both_hold_c5() {
    let now = Instant::now();
    let (mut a, mut b) = (table(600, now), table(300, now));
    for index in 1_000..1_300 {
        merge(&mut b, now, index, 1, Presence::Alive);
    }
    merge(&mut a, now, 1, 2, Presence::Alive);
    merge(&mut b, now, 2, 2, Presence::Alive);
    let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
    for first in (0..=u8::MAX).step_by(SLICE.0) {
        let (a, b) = (Shared::new(&a, FULL_MAX).sliced(Some(first)), Shared::new(&b, FULL_MAX).sliced(Some(first)));
        let Message::Digest(opening) = a.root() else { panic!("not a digest") };
        assert!(opening.entries.len() < 200, "{} entries", opening.entries.len());
        for message in b.answer_digest(&opening) {
            match message {
                Message::Ops(ops) => to_a.extend(ops),
                Message::Digest(answer) => to_b.extend(a.answer_digest(&answer)),
                _ => panic!("{message:?}"),
            }
        }
    }
    assert_eq!(to_a, [b.entry(&peer(2)).and_then(Entry::signed_row).expect("held").clone()]);
    assert_eq!(to_b, [Message::Ops(vec![a.entry(&peer(1)).and_then(Entry::signed_row).expect("held").clone()])]);
}
