//! A table that is full, and any messages whatever.

use std::time::{Duration, Instant};

use banyan_gossip::{
    Applied, Config, Gossip, Input, Message, Output, Role, RowBody, TrackEntry, TrackName,
    message::{BUCKETS, Digest, DigestEntry},
    op::{Op, SignedOp},
};
use proptest::prelude::*;

use crate::kit::{
    claim, config, death, link, machine, machine_with, outputs, peer, row, row_with, run, sent_to, signed, suspicion,
};

const ROWS_MAX: usize = 20;
/// Of them those that are kept for peers that could feed this one.
const FEEDERS: usize = ROWS_MAX / 4;

fn small(index: u16, now: Instant) -> Gossip {
    machine_with(index, 1, Config { table_rows_max: ROWS_MAX, ..config() }, now)
}

/// A machine whose table is full of peers from 100 on.
fn full(now: Instant) -> Gossip {
    let mut a = small(1, now);
    for index in 100..150 {
        a.apply(now, None, row(index, 1, 1));
    }
    assert_eq!(a.table().live_len(), ROWS_MAX + 1);
    a
}

fn track() -> TrackName {
    TrackName::new("film").expect("valid")
}

fn entry(role: Role, depth: Option<u8>, free: u16) -> TrackEntry {
    TrackEntry { role, origin: Some(peer(9)), epoch: 1, depth, parent: None, children: 0, free, volunteer: false }
}

/// The row of one that could feed others on the track.
fn feeder(index: u16) -> SignedOp {
    row_with(index, 1, 1, [(track(), entry(Role::Member, Some(2), 3))].into())
}

fn subscribe(a: &mut Gossip, now: Instant) {
    let tracks = [(track(), entry(Role::Member, None, 0))].into();
    a.handle_input(now, Input::Update(RowBody { capacity: 9, free: 1, tracks, ..RowBody::default() }));
}

fn held(a: &Gossip, range: std::ops::Range<u16>) -> usize {
    range.filter(|index| a.table().live(&peer(*index)).is_some()).count()
}

#[test]
fn who_is_of_use_has_a_place_in_a_full_table() {
    let now = Instant::now();
    let mut a = full(now);
    subscribe(&mut a, now);
    for index in 200..210 {
        a.apply(now, None, feeder(index));
    }
    assert!(held(&a, 200..210) >= FEEDERS);
    for index in 300..600 {
        a.apply(now, None, row(index, 1, 1));
    }
    // One of more than enough may go, and the next that comes gets its place.
    assert!(held(&a, 200..210) >= FEEDERS - 1);
    assert!(held(&a, 300..600) > 0, "a sample of the others");
    // More of use than there are places: the table keeps its bound, and room for others.
    for index in 700..800 {
        a.apply(now, None, feeder(index));
    }
    assert_eq!(a.table().live_len(), ROWS_MAX + 1);
    assert!((FEEDERS..ROWS_MAX).contains(&(held(&a, 700..800) + held(&a, 200..210))));
}

#[test]
fn who_was_turned_away_gets_a_place_once_it_is_of_use_and_is_not_told_of_again_c4() {
    let now = Instant::now();
    let mut a = full(now);
    a.handle_input(now, Input::LinkUp { peer: peer(2) });
    let away = (200..300).find(|index| {
        a.apply(now, None, feeder(*index));
        a.table().live(&peer(*index)).is_none()
    });
    let away = away.expect("most are turned away");
    assert_eq!(a.apply(now, None, feeder(away)), Applied::AlreadySeen);
    a.handle_timeout(now + Duration::from_secs(1));
    subscribe(&mut a, now + Duration::from_secs(2));
    outputs(&mut a);
    assert_eq!(a.apply(now + Duration::from_secs(3), None, feeder(away)), Applied::Applied);
    assert!(a.table().live(&peer(away)).is_some());
    a.handle_timeout(now + Duration::from_secs(4));
    assert_eq!(sent_to(&outputs(&mut a), 2, &feeder(away)), 0);
}

#[test]
fn who_is_linked_has_a_place_in_the_fullest_table_and_keeps_it() {
    let mut now = Instant::now();
    let (mut a, mut b) = (full(now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    for index in 300..600 {
        a.apply(now, None, row(index, 1, 1));
    }
    assert!(a.table().live(&peer(2)).is_some());
}

#[test]
fn a_table_that_grew_with_its_links_shrinks_with_them_e3() {
    let now = Instant::now();
    let mut a = full(now);
    let linked = 300..300 + 2 * ROWS_MAX as u16;
    for index in linked.clone() {
        a.handle_input(now, Input::LinkUp { peer: peer(index) });
        a.apply(now, Some(peer(index)), row(index, 1, 1));
    }
    assert!(held(&a, linked.clone()) > ROWS_MAX + 1);
    for (left, index) in linked.clone().rev().enumerate().map(|(gone, index)| (linked.len() - gone - 1, index)) {
        a.handle_input(now, Input::LinkDown { peer: peer(index), graceful: true });
        assert!(a.table().live_len() <= ROWS_MAX + 1 + left);
    }
}

#[test]
fn what_is_said_of_those_outside_is_passed_on_once_and_leaves_no_tombstone_c4() {
    let now = Instant::now();
    let mut a = full(now);
    let (ops, before) = ([suspicion(10, 900, 1), death(10, 2, 900, 1), death(11, 1, 900, 1)], a.table().len());
    let applied = ops.each_ref().map(|op| a.apply(now, None, op.clone()));
    assert_eq!(applied, [Applied::Applied, Applied::Applied, Applied::AlreadySeen]);
    let again = ops.each_ref().map(|op| a.apply(now, None, op.clone()));
    assert_eq!(again, [Applied::AlreadySeen; 3]);
    assert_eq!(a.table().len(), before);
}

#[test]
fn who_missed_the_row_of_an_origin_asks_for_it_and_is_told_who_could_feed_it_c4() {
    let now = Instant::now();
    let (mut a, mut b) = (full(now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    let origin = entry(Role::Origin, Some(0), 3);
    b.apply(now, None, row_with(9, 1, 1, [(track(), TrackEntry { origin: None, ..origin })].into()));
    b.apply(now, None, feeder(200));
    outputs(&mut b);
    subscribe(&mut a, now);
    let asked = |gossip: &mut Gossip| {
        let mut wants = Vec::new();
        for (at, output) in until(gossip, now + Duration::from_secs(60)) {
            if let Output::Send { to, message: message @ Message::Want(_) } = output {
                wants.push((at, to, message));
            }
        }
        wants
    };
    let wants = asked(&mut a);
    assert!(wants.iter().all(|(_, to, want)| *to == peer(2) && *want == Message::Want(vec![track()])));
    assert!((5..20).contains(&wants.len()), "again and again, ever more seldom: {}", wants.len());
    let (at, _, message) = wants[0].clone();
    b.handle_input(at, Input::Message { from: peer(1), message });
    for output in outputs(&mut b) {
        if let Output::Send { message, .. } = output {
            a.handle_input(at, Input::Message { from: peer(2), message });
        }
    }
    assert!(a.table().live(&peer(9)).is_some() && a.table().live(&peer(200)).is_some());
    assert_eq!(asked(&mut a), []);
}

#[test]
fn the_origin_of_a_track_that_is_followed_keeps_its_place_in_a_full_table() {
    let now = Instant::now();
    let mut a = full(now);
    subscribe(&mut a, now);
    let origin = TrackEntry { origin: None, ..entry(Role::Origin, Some(0), 0) };
    a.apply(now, None, row_with(9, 1, 1, [(track(), origin)].into()));
    for index in 200..900 {
        a.apply(now, None, feeder(index));
        assert!(a.table().live(&peer(9)).is_some(), "gone when {index} came");
    }
    assert_eq!(a.table().live_len(), ROWS_MAX + 1);
}

#[test]
fn a_table_with_room_asks_nobody_for_it_hears_of_everybody() {
    let now = Instant::now();
    let (mut a, mut b) = (small(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    subscribe(&mut a, now);
    let sent = until(&mut a, now + Duration::from_secs(60));
    assert!(!sent.iter().any(|(_, output)| matches!(output, Output::Send { message: Message::Want(_), .. })));
}

/// What comes out of a machine until then, with the time.
fn until(gossip: &mut Gossip, end: Instant) -> Vec<(Instant, Output)> {
    let mut seen = Vec::new();
    while let Some(at) = gossip.poll_timeout().filter(|at| *at <= end) {
        gossip.handle_timeout(at);
        seen.extend(outputs(gossip).into_iter().map(|output| (at, output)));
    }
    seen
}

/// Any message of any peer.
fn anything(rng: &mut fastrand::Rng) -> Message {
    let (who, whom, number) = (rng.u16(2..40), rng.u16(1..60), rng.u64(1..4));
    match rng.u8(..10) {
        7 => Message::Want((0..rng.u8(..12)).map(|_| track()).collect()),
        0 => Message::Prune,
        1 => Message::Graft,
        2 => Message::Buckets((0..BUCKETS).map(|_| rng.u64(..2)).collect()),
        3 => Message::Digest(Digest {
            buckets: rng.bool().then(|| (0..rng.u8(..9)).collect()),
            entries: (0..rng.u16(..9)).map(|i| DigestEntry(peer(whom + i), (number, 1), Some(number))).collect(),
            reply: rng.bool(),
            full: rng.bool(),
        }),
        4 => Message::Ops(vec![suspicion(who, whom, number)]),
        5 => Message::Ops(vec![death(who, number, whom, number)]),
        6 => Message::Ops(vec![signed(&Op::Death(claim(who, number, who, number)))]),
        _ => Message::Ops((0..rng.u16(..5)).map(|index| row(whom + index, number, rng.u64(1..9))).collect()),
    }
}

proptest! {
    #[test]
    fn no_messages_whatever_panic_or_fill_memory_e10(seed in any::<u64>()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut now = Instant::now();
        let mut a = small(1, now);
        for _ in 0..400 {
            let from = peer(rng.u16(2..12));
            let input = match rng.u8(..10) {
                0 => Input::LinkUp { peer: from },
                1 => Input::LinkDown { peer: from, graceful: rng.bool() },
                2 => Input::Unreachable { peer: peer(rng.u16(2..60)) },
                _ => Input::Message { from, message: anything(&mut rng) },
            };
            a.handle_input(now, input);
            if rng.u8(..4) == 0 {
                now = a.poll_timeout().expect("there is always a timer").max(now);
                a.handle_timeout(now);
                prop_assert!(a.poll_timeout() > Some(now));
            }
            outputs(&mut a);
            // This node, its links, and tombstones.
            prop_assert!(a.table().live_len() <= ROWS_MAX + 1 + 10);
            prop_assert!(a.table().len() <= 3 * (ROWS_MAX + 1 + 10) + 64);
        }
    }
}
