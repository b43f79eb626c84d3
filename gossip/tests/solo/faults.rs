//! Faults that hostile, slow, overfull or long parted peers could cause, each as a small scenario.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use banyan_gossip::{
    Applied, Config, Event, Input, Message, Offence, Output, Reason, RowBody,
    op::{INCARNATION_MAX, Op, OpId, SignedOp, UserEvent},
    table::Status,
};

use crate::kit::{
    config, death, forged, link, machine, machine_with, outputs, peer, row, row_op, run, sent_to, signed, suspicion,
};

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

/// To verify is what a flood costs.
#[test]
fn beyond_its_rate_nothing_of_an_author_is_verified_e3() {
    let now = Instant::now();
    let event = |version| {
        let id = OpId { author: peer(50), incarnation: 1, version };
        Op::UserEvent(UserEvent { id, name: "again".to_owned(), payload: String::new() })
    };
    let row = |version| row_op(50, 1, version, BTreeMap::new());
    let kinds: [(&dyn Fn(u64) -> Op, u32); 2] = [(&row, config().author_rate.1), (&event, 64)];
    for (op, burst) in kinds {
        let mut a = machine(1, now);
        let mut apply = |from, op| a.apply(now, Some(peer(from)), op);
        assert_eq!(apply(2, forged(&op(1))), Applied::Rejected(Reason::BadSignature));
        let taken =
            (1..1_000).take_while(|version| apply(50, signed(&op(*version))) == Applied::Applied).count() as u64;
        assert_eq!(taken, u64::from(burst), "what is forged takes nothing from whom it names");
        for from in [2, 50] {
            assert_eq!(apply(from, signed(&op(taken + 1))), Applied::Rejected(Reason::RateLimited));
            assert_eq!(apply(from, forged(&op(taken + 2))), Applied::Rejected(Reason::RateLimited));
        }
    }
}

/// Else whoever can reach a node could have anybody accused.
#[test]
fn only_the_authors_own_link_accuses_it_of_a_flood_e3() {
    let now = Instant::now();
    for (from, accused) in [(2, 0), (50, 1)] {
        let mut a = machine(1, now);
        for version in 1..=601 {
            let message = Message::Ops(vec![row(50, 1, version)]);
            a.handle_input(now, Input::Message { from: peer(from), message });
        }
        let misbehaved = Event::Misbehaved { peer: peer(50), offence: Offence::OpFlood };
        let told = std::iter::from_fn(|| a.poll_output());
        assert_eq!(told.filter(|output| *output == Output::Event(misbehaved)).count(), accused);
    }
}

#[test]
fn who_was_dead_for_so_long_that_it_was_forgotten_may_come_back_with_its_old_row_c8() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.handle_input(now, Input::LinkUp { peer: peer(2) });
    assert_eq!(a.apply(now, Some(peer(2)), row(50, 1, 1)), Applied::Applied);
    assert_eq!(a.apply(now, Some(peer(2)), death(2, 1, 50, 1)), Applied::Applied);
    let later = now + 2 * config().tombstone_life;
    a.handle_timeout(later);
    assert_eq!(a.table().status(&peer(50)), None);
    assert_eq!(a.apply(later, Some(peer(2)), row(50, 1, 1)), Applied::Applied);
}
