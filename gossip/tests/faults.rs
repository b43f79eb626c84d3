//! Faults that hostile, slow, overfull or long parted peers could cause, each as a small scenario.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{
    Applied, Config, Event, Gossip, Input, Keys, LocalPeer, MeshName, Message, Output, PeerId, Presence, Row, RowBody,
    Signed,
    op::{Claim, INCARNATION_MAX, Op, OpId, SignedOp},
    table::Status,
};

struct TestKeys(PeerId);

impl Keys for TestKeys {
    fn sign(&self, message: &Signed<'_>) -> [u8; 64] {
        tag(&self.0, &message.to_bytes())
    }

    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool {
        tag(peer, &message.to_bytes()) == *signature
    }
}

fn tag(peer: &PeerId, message: &[u8]) -> [u8; 64] {
    let mut state = 0xcbf2_9ce4_8422_2325u64;
    for byte in peer.key_bytes().iter().chain(message) {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut signature = [0; 64];
    signature[..8].copy_from_slice(&state.to_be_bytes());
    signature
}

fn peer(index: u16) -> PeerId {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&index.to_be_bytes());
    PeerId::from_key_bytes(key)
}

fn config() -> Config {
    Config::new(MeshName::new("test").expect("valid"))
}

fn machine_with(index: u16, incarnation: u64, config: Config, now: Instant) -> Gossip {
    let me = LocalPeer { peer: peer(index), incarnation };
    let rng = fastrand::Rng::with_seed(u64::from(index));
    let mut gossip = Gossip::new(me, config, Arc::new(TestKeys(me.peer)), rng, now);
    gossip.handle_input(now, Input::Update(RowBody { capacity: 9, free: 1, ..RowBody::default() }));
    gossip
}

fn machine(index: u16, now: Instant) -> Gossip {
    machine_with(index, 1, config(), now)
}

/// What an author with a mind of its own may sign.
fn signed(op: &Op) -> SignedOp {
    let mut bytes = Vec::new();
    ciborium::into_writer(op, &mut bytes).expect("writes");
    SignedOp::new(op.clone(), tag(&op.id().author, &[b"banyan op 1\0test\0", &bytes[..]].concat()))
}

fn row(index: u16, incarnation: u64, version: u64) -> SignedOp {
    signed(&Op::Row(Row {
        peer: peer(index),
        incarnation,
        version,
        presence: Presence::Alive,
        label: None,
        addresses: Vec::new(),
        tags: BTreeMap::new(),
        capacity: 4,
        free: 4,
        tracks: BTreeMap::new(),
        library: None,
    }))
}

fn claim(author: u16, version: u64, suspect: u16, suspect_incarnation: u64) -> Claim {
    let id = OpId { author: peer(author), incarnation: 1, version };
    Claim { id, suspect: peer(suspect), suspect_incarnation }
}

fn death(author: u16, version: u64, suspect: u16, incarnation: u64) -> SignedOp {
    signed(&Op::Death(claim(author, version, suspect, incarnation)))
}

fn outputs(gossip: &mut Gossip) -> Vec<Output> {
    std::iter::from_fn(|| gossip.poll_output()).collect()
}

/// Lets machines that are linked to one another, all of them, run for a while. Says what events
/// there were, and how many ops were sent.
fn run(machines: &mut [&mut Gossip], ids: &[u16], now: &mut Instant, time: Duration) -> (Vec<(u16, Event)>, usize) {
    let end = *now + time;
    let (mut events, mut ops) = (Vec::new(), 0);
    loop {
        let mut under_way = Vec::new();
        for (at, gossip) in machines.iter_mut().enumerate() {
            for output in outputs(gossip) {
                match output {
                    Output::Send { to, message } => under_way.push((ids[at], to, message)),
                    Output::Event(event) => events.push((ids[at], event)),
                    Output::PersistIncarnation(_) => {}
                }
            }
        }
        let quiet = under_way.is_empty();
        for (from, to, message) in under_way {
            if let Message::Ops(sent) = &message {
                ops += sent.len();
            }
            if let Some(at) = ids.iter().position(|index| peer(*index) == to) {
                machines[at].handle_input(*now, Input::Message { from: peer(from), message });
            }
        }
        if !quiet {
            continue;
        }
        let Some(next) = machines.iter().filter_map(|gossip| gossip.poll_timeout()).min().filter(|at| *at <= end)
        else {
            *now = end;
            return (events, ops);
        };
        *now = next.max(*now);
        for gossip in machines.iter_mut() {
            if gossip.poll_timeout().is_some_and(|at| at <= *now) {
                gossip.handle_timeout(*now);
            }
        }
    }
}

fn link(a: &mut Gossip, ia: u16, b: &mut Gossip, ib: u16, now: Instant) {
    a.handle_input(now, Input::LinkUp { peer: peer(ib) });
    b.handle_input(now, Input::LinkUp { peer: peer(ia) });
}

#[test]
fn every_death_that_is_accepted_can_be_refuted_c8() {
    let mut now = Instant::now();
    let (mut a, mut b) = (machine(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    for (version, incarnation) in [INCARNATION_MAX, INCARNATION_MAX - 1, INCARNATION_MAX / 2].into_iter().enumerate() {
        a.apply(now, Some(peer(3)), death(3, version as u64 + 1, 2, incarnation));
        run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(3));
        assert_eq!(a.table().status(&peer(2)), Some(Status::Alive), "{incarnation}");
    }
}

#[test]
fn one_certificate_of_a_death_is_enough_c4() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    let applied = (10..20).filter(|author| a.apply(now, None, death(*author, 1, 50, 1)) == Applied::Applied);
    assert_eq!(applied.count(), 1);
}

#[test]
fn a_death_that_was_refuted_is_stale() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 2, 1));
    assert_eq!(a.apply(now, None, death(10, 1, 50, 1)), Applied::Stale);
}

#[test]
fn deaths_of_the_unknown_do_not_fill_memory_e10() {
    let now = Instant::now();
    let mut a = machine(1, now);
    for author in 100..200 {
        for version in 1..=100 {
            a.apply(now, Some(peer(2)), death(author, version, 1_000 + author * 100 + version as u16, 1));
        }
    }
    assert!(a.table().len() <= 100, "{} entries", a.table().len());
}

#[test]
fn tombstones_do_not_push_out_the_living() {
    let now = Instant::now();
    let mut a = machine_with(1, 1, Config { table_rows_max: 60, ..config() }, now);
    for index in 100..150 {
        a.apply(now, None, row(index, 1, 1));
    }
    for index in 100..140 {
        a.apply(now, None, death(10, u64::from(index), index, 1));
    }
    for index in 200..240 {
        a.apply(now, None, row(index, 1, 1));
    }
    assert_eq!(a.table().live_len(), 1 + 10 + 40);
}

#[test]
fn a_full_table_does_not_pass_on_the_same_row_again_and_again_c4() {
    let now = Instant::now();
    let mut a = machine_with(1, 1, Config { table_rows_max: 20, ..config() }, now);
    let ops: Vec<SignedOp> = (100..200).map(|index| row(index, 1, 1)).collect();
    let mut applied = 0;
    for _ in 0..5 {
        applied += ops.iter().filter(|op| a.apply(now, None, (*op).clone()) == Applied::Applied).count();
    }
    assert_eq!(applied, 100);
    assert!(a.table().live_len() <= 21);
}

#[test]
fn a_silent_tombstone_still_contradicts_c8() {
    for others in [0, 150] {
        let mut now = Instant::now();
        let (mut a, mut b) = (machine(1, now), machine(2, now));
        for gossip in [&mut a, &mut b] {
            for index in (300..300 + others).chain([50]) {
                gossip.apply(now, None, row(index, 1, 1));
            }
        }
        a.apply(now, None, death(10, 1, 50, 1));
        // Both live on, apart, until the tombstone is no longer shared.
        run(&mut [&mut a], &[1], &mut now, Duration::from_secs(8 * 60));
        link(&mut a, 1, &mut b, 2, now);
        run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(2));
        assert_eq!(b.table().status(&peer(50)), Some(Status::Dead), "among {others} others");
    }
}

#[test]
fn flapping_never_swallows_the_last_change_b10_e5() {
    let mut now = Instant::now();
    let (mut a, mut b) = (machine(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    for step in 0..4_000u16 {
        a.handle_input(now, Input::Update(RowBody { capacity: 9, free: step % 2, ..RowBody::default() }));
        run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_millis(5));
    }
    a.handle_input(now, Input::Update(RowBody { capacity: 9, free: 0, ..RowBody::default() }));
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    assert_eq!(b.table().row(&peer(1)).expect("known").free, 0);
}

#[test]
fn an_own_row_that_is_too_large_still_reaches_the_others() {
    let mut now = Instant::now();
    let (mut a, mut b) = (machine(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    let text = |index: usize, length: usize| format!("{index:02}{}", "x".repeat(length - 2));
    let body = RowBody {
        addresses: (0..12).map(|index| text(index, 120)).collect(),
        tags: (0..12).map(|index| (text(index, 64), text(index, 64))).collect(),
        capacity: 9,
        free: 7,
        ..RowBody::default()
    };
    a.handle_input(now, Input::Update(body));
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    let row = b.table().row(&peer(1)).expect("known");
    assert_eq!((row.free, row.addresses.first()), (7, Some(&text(0, 120))));
}

#[test]
fn a_certificate_from_beyond_a_partition_does_not_kill_a_linked_peer() {
    let mut now = Instant::now();
    let (mut a, mut b) = (machine(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    a.apply(now, Some(peer(3)), death(3, 1, 2, 1));
    assert!(a.table().live(&peer(2)).is_some());
    let (events, _) = run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    assert!(!events.iter().any(|(_, event)| matches!(event, Event::Died { .. })));
    assert_eq!(a.table().status(&peer(2)), Some(Status::Alive));
}

#[test]
fn a_certified_death_counts_once_the_link_is_gone() {
    let mut now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    a.handle_input(now, Input::LinkUp { peer: peer(50) });
    a.apply(now, None, death(3, 1, 50, 1));
    a.handle_input(now, Input::LinkDown { peer: peer(50), graceful: false });
    let (events, _) = run(&mut [&mut a], &[1], &mut now, Duration::from_millis(1));
    assert_eq!(a.table().status(&peer(50)), Some(Status::Dead));
    assert_eq!(events.iter().filter(|(_, event)| matches!(event, Event::Died { .. })).count(), 1);
}

fn suspicion(author: u16, suspect: u16, incarnation: u64) -> SignedOp {
    signed(&Op::Suspicion(claim(author, 1, suspect, incarnation)))
}

/// How often an op was sent to a peer.
fn sent_to(outputs: &[Output], index: u16, op: &SignedOp) -> usize {
    let ops = |output: &Output| match output {
        Output::Send { to, message: Message::Ops(ops) } if *to == peer(index) => ops.clone(),
        _ => Vec::new(),
    };
    outputs.iter().flat_map(ops).filter(|sent| sent == op).count()
}

#[test]
fn enough_accusers_are_enough() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    a.handle_input(now, Input::LinkUp { peer: peer(2) });
    let applied = (10..20).filter(|author| a.apply(now, None, suspicion(*author, 50, 1)) == Applied::Applied);
    assert_eq!(applied.count() as u32, config().suspicion.confirmations + 1);
    // Its own voice would say nothing new, yet it acts on what it saw itself.
    outputs(&mut a);
    a.handle_input(now + Duration::from_millis(30), Input::Unreachable { peer: peer(50) });
    let own = |op: &SignedOp| (10..20).all(|author| *op != suspicion(author, 50, 1)) && *op != row(50, 1, 1);
    let said = outputs(&mut a).into_iter().filter_map(|output| match output {
        Output::Send { message: Message::Ops(ops), .. } => Some(ops),
        _ => None,
    });
    assert_eq!(said.flatten().filter(own).count(), 0);
    a.handle_timeout(now + config().suspicion.min + Duration::from_millis(30));
    assert_eq!(a.table().status(&peer(50)), Some(Status::Dead));
}

#[test]
fn a_suspect_hears_of_it_from_whoever_is_linked_to_it_c8() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    a.apply(now, None, suspicion(3, 50, 1));
    let later = now + Duration::from_secs(1);
    a.handle_timeout(later);
    outputs(&mut a);
    a.handle_input(later, Input::LinkUp { peer: peer(50) });
    assert_eq!(sent_to(&outputs(&mut a), 50, &suspicion(3, 50, 1)), 1);
    assert_eq!(a.table().status(&peer(50)), Some(Status::Alive));
    // Once is enough.
    a.handle_input(later, Input::Message { from: peer(50), message: Message::Ops(Vec::new()) });
    assert_eq!(sent_to(&outputs(&mut a), 50, &suspicion(3, 50, 1)), 0);
}

#[test]
fn a_starved_node_gives_suspects_more_time() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    a.handle_timeout(a.poll_timeout().expect("there is a timer") + 2 * config().starved);
    let late = now + Duration::from_secs(60);
    a.handle_timeout(late);
    a.handle_input(late, Input::Unreachable { peer: peer(50) });
    a.handle_timeout(late + config().suspicion.max);
    assert_eq!(a.table().status(&peer(50)), Some(Status::Suspect));
}

#[test]
fn nobody_is_silenced_by_one_who_repeats_itself() {
    let now = Instant::now();
    let mut a = machine(1, now);
    for index in 2..5 {
        a.handle_input(now, Input::LinkUp { peer: peer(index) });
    }
    outputs(&mut a);
    let message = |from| Input::Message { from: peer(from), message: Message::Ops(vec![row(50, 1, 1)]) };
    let prunes = |a: &mut Gossip| -> Vec<PeerId> {
        let prune = |output| match output {
            Output::Send { to, message: Message::Prune } => Some(to),
            _ => None,
        };
        outputs(a).into_iter().filter_map(prune).collect()
    };
    for from in [2, 2, 2, 3, 3] {
        a.handle_input(now, message(from));
    }
    assert!(prunes(&mut a).is_empty());
    // The third to bring it is one too many, and is told so once.
    a.handle_input(now, message(4));
    a.handle_input(now, message(4));
    assert_eq!(prunes(&mut a), [peer(4)]);
    // When one of the others is gone, it is asked again.
    a.handle_input(now, Input::LinkDown { peer: peer(2), graceful: true });
    let graft = Output::Send { to: peer(4), message: Message::Graft };
    assert!(outputs(&mut a).contains(&graft));
}

#[test]
fn the_silenced_still_hear_what_is_ones_own() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.handle_input(now, Input::LinkUp { peer: peer(2) });
    a.handle_input(now, Input::Message { from: peer(2), message: Message::Prune });
    outputs(&mut a);
    let news = Input::Message { from: peer(3), message: Message::Ops(vec![row(50, 1, 1)]) };
    a.handle_input(now + Duration::from_secs(1), news);
    assert_eq!(sent_to(&outputs(&mut a), 2, &row(50, 1, 1)), 0);
    a.handle_input(now + Duration::from_secs(2), Input::Update(RowBody { capacity: 9, free: 0, ..RowBody::default() }));
    let to_2 = |output: &Output| matches!(output, Output::Send { to, message: Message::Ops(_) } if *to == peer(2));
    assert!(outputs(&mut a).iter().any(to_2));
    // Asked again, it compares tables and pushes.
    a.handle_input(now + Duration::from_secs(3), Input::Message { from: peer(2), message: Message::Graft });
    assert!(outputs(&mut a).iter().any(|output| matches!(output, Output::Send { message: Message::Digest(_), .. })));
    let news = Input::Message { from: peer(3), message: Message::Ops(vec![row(51, 1, 1)]) };
    a.handle_input(now + Duration::from_secs(4), news);
    assert_eq!(sent_to(&outputs(&mut a), 2, &row(51, 1, 1)), 1);
}

#[test]
fn who_has_left_accuses_nobody() {
    let mut now = Instant::now();
    let (mut a, mut b) = (machine(1, now), machine(2, now));
    link(&mut a, 1, &mut b, 2, now);
    run(&mut [&mut a, &mut b], &[1, 2], &mut now, Duration::from_secs(1));
    a.handle_input(now, Input::Leave);
    a.handle_input(now, Input::LinkDown { peer: peer(2), graceful: false });
    assert_eq!(a.table().status(&peer(2)), Some(Status::Alive));
}

#[test]
fn late_words_of_a_broken_link_clear_nobody_b11() {
    let mut now = Instant::now();
    let mut a = machine(1, now);
    a.apply(now, None, row(50, 1, 1));
    a.handle_input(now, Input::LinkUp { peer: peer(50) });
    a.handle_input(now, Input::LinkDown { peer: peer(50), graceful: false });
    a.handle_input(now, Input::Message { from: peer(50), message: Message::Ops(Vec::new()) });
    assert_eq!(a.table().status(&peer(50)), Some(Status::Suspect));
    run(&mut [&mut a], &[1], &mut now, Duration::from_secs(10));
    assert_eq!(a.table().status(&peer(50)), Some(Status::Dead));
}

#[test]
fn one_author_cannot_flood_the_mesh_and_the_others_still_get_through_e3() {
    let now = Instant::now();
    let mut a = machine(1, now);
    let (_, burst) = config().author_rate;
    let mut apply = |author: u16, version: u32| a.apply(now, Some(peer(2)), row(author, 1, u64::from(version)));
    assert!((1..=burst).all(|version| apply(50, version) == Applied::Applied));
    assert!(matches!(apply(50, burst + 1), Applied::Rejected(_)));
    assert_eq!(apply(51, 1), Applied::Applied);
}
