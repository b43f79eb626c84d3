//! What the table promises, over random ops and random small meshes in virtual time.

use std::time::{Duration, Instant};

use banyan_gossip::{Applied, Event, Gossip, Input, Message, Output, PeerId, op::SignedOp, table::Status};
use proptest::prelude::*;

use crate::world::{World, body, encode, machine, peer, picture};

#[test]
fn a_row_change_reaches_everyone_and_the_last_one_always_goes_out_b10() {
    let mut world = World::linked(20);
    world.run(Duration::from_secs(1));
    assert!(world.nodes.values().all(|node| node.table().live_len() == 20));
    for free in 2..9 {
        world.input(4, Input::Update(body(free)));
        world.run(Duration::from_millis(10));
    }
    world.run(Duration::from_secs(1));
    assert!(world.nodes.values().all(|node| node.table().row(&peer(4)).is_some_and(|row| row.free == 8)));
    // Seven changes in 70 ms, of which at most the first and the last went out.
    let version = world.nodes[&4].table().row(&peer(4)).expect("own row").version;
    assert!(version <= 3, "{version} versions");
}

#[test]
fn full_to_free_goes_out_at_once() {
    let mut world = World::linked(3);
    world.run(Duration::from_secs(1));
    world.input(0, Input::Update(body(0)));
    world.run(Duration::from_millis(30));
    world.input(0, Input::Update(body(1)));
    world.run(Duration::from_millis(30));
    assert!(world.nodes.values().all(|node| node.table().row(&peer(0)).is_some_and(|row| row.free == 1)));
}

#[test]
fn a_healthy_idle_peer_survives_ten_times_the_timeout_a9() {
    let mut world = World::linked(8);
    world.run(Duration::from_secs(60));
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Suspected { .. } | Event::Died { .. })));
    assert!(world.nodes.values().all(|node| node.table().live_len() == 8));
}

#[test]
fn an_idle_mesh_is_nearly_silent_e4() {
    let mut world = World::linked(20);
    world.run(Duration::from_secs(5));
    let before = world.sent;
    world.run(Duration::from_secs(60));
    // One digest each 10 to 30 s a node: no heartbeat is in it.
    assert!(world.sent - before <= 20 * 6 + 20, "{} messages", world.sent - before);
}

#[test]
fn a_crashed_peer_is_dead_for_everyone_in_two_seconds_b12() {
    let mut world = World::linked(20);
    world.run(Duration::from_secs(1));
    assert!(world.links_of(7).len() >= 3);
    world.crash(7);
    world.run(Duration::from_secs(2));
    assert!(world.all_see(7, Status::Dead));
    assert!(world.tables_are_equal());
}

#[test]
fn a_live_suspect_refutes_and_never_dies_c8() {
    let mut world = World::linked(20);
    world.run(Duration::from_secs(1));
    // All of its links but one break.
    for other in world.links_of(7).into_iter().skip(1) {
        world.unlink(7, other);
    }
    world.run(Duration::from_secs(10));
    assert!(!world.events.iter().any(|(_, event)| matches!(event, Event::Died { .. })));
    assert!(world.nodes.values().all(|node| node.table().status(&peer(7)) == Some(Status::Alive)));
    assert_eq!(world.persisted.get(&7), Some(&world.nodes[&7].incarnation()));
    assert!(world.nodes[&7].incarnation() > 1);
}

#[test]
fn a_restarted_peer_supersedes_its_tombstone_b11() {
    let mut world = World::linked(10);
    world.run(Duration::from_secs(1));
    world.crash(3);
    world.run(Duration::from_secs(10));
    assert!(world.all_see(3, Status::Dead));
    world.nodes.insert(3, machine(3, 2, world.now));
    world.link(3, 4);
    world.run(Duration::from_secs(1));
    assert!(world.nodes.values().all(|node| node.table().status(&peer(3)) == Some(Status::Alive)));
}

#[test]
fn a_peer_that_lost_its_disk_rises_above_its_former_life_c8() {
    let mut world = World::linked(10);
    world.run(Duration::from_secs(1));
    world.crash(3);
    world.nodes.insert(3, machine(3, 0, world.now));
    world.link(3, 4);
    world.run(Duration::from_secs(10));
    assert!(world.nodes[&3].incarnation() > 1);
    assert!(world.nodes.values().all(|node| node.table().status(&peer(3)) == Some(Status::Alive)));
}

#[test]
fn a_goodbye_is_believed_at_once_and_nobody_is_suspected() {
    let mut world = World::linked(10);
    world.run(Duration::from_secs(1));
    world.input(3, Input::Leave);
    world.run(Duration::from_millis(100));
    assert!(world.all_see(3, Status::Left));
    world.crash(3);
    world.run(Duration::from_secs(10));
    assert!(world.all_see(3, Status::Left));
}

#[test]
fn a_partition_heals_into_equal_tables() {
    let mut world = World::linked(20);
    world.run(Duration::from_secs(1));
    let across: Vec<_> = world.links.iter().copied().filter(|(a, b)| (*a < 10) != (*b < 10)).collect();
    for (a, b) in &across {
        world.unlink(*a, *b);
    }
    // Who had no link across is noticed by a failed dial.
    for index in 10..20 {
        world.input(0, Input::Unreachable { peer: peer(index) });
        world.input(10, Input::Unreachable { peer: peer(index - 10) });
    }
    world.run(Duration::from_secs(30));
    assert!((10..20).all(|index| world.nodes[&0].table().status(&peer(index)) == Some(Status::Dead)));
    world.input(2, Input::Update(body(5)));
    world.input(12, Input::Update(body(6)));
    world.run(Duration::from_secs(5));
    let (a, b) = across[0];
    world.link(a, b);
    world.run(Duration::from_secs(3));
    assert!(world.nodes.values().all(|node| node.table().live_len() == 20));
    assert!(world.tables_are_equal());
}

#[test]
fn a_large_table_syncs_by_buckets_c5() {
    let mut world = World::new(2);
    world.run(Duration::from_secs(1));
    let now = world.now;
    // 600 rows of machines that both could know, a third known to the one, a third to the other.
    for index in 100..700 {
        let mut author = machine(index, 1, now);
        for (_, op) in rows_of(&mut author, now) {
            for (node, skip) in [(0, 0), (1, 1)] {
                if index % 3 != skip {
                    assert_eq!(
                        world.nodes.get_mut(&node).expect("there").apply(now, None, op.clone()),
                        Applied::Applied
                    );
                }
            }
        }
    }
    world.collect();
    let before = world.sent;
    world.link(0, 1);
    world.run(Duration::from_secs(1));
    assert!(world.tables_are_equal());
    assert_eq!(world.nodes[&0].table().live_len(), 602);
    assert!(world.sent - before < 40, "{} messages", world.sent - before);
}

/// What a fresh machine says of itself.
fn rows_of(author: &mut Gossip, now: Instant) -> Vec<(usize, SignedOp)> {
    author.handle_input(now, Input::LinkUp { peer: peer(9_999) });
    author.handle_input(now + Duration::from_secs(1), Input::Update(body(3)));
    author.handle_timeout(now + Duration::from_secs(2));
    let mut ops = Vec::new();
    while let Some(output) = author.poll_output() {
        if let Output::Send { message: Message::Ops(sent), .. } = output {
            ops.extend(sent.into_iter().enumerate());
        }
    }
    assert!(!ops.is_empty());
    // The last one wins.
    ops.split_off(ops.len() - 1)
}

/// Random ops of a few authors: rows of several incarnations, suspicions, deaths, goodbyes.
fn random_ops(seed: u64) -> Vec<SignedOp> {
    let mut world = World::linked(6);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ops = Vec::new();
    for _ in 0..30 {
        match rng.u8(..5) {
            0 => world.input(rng.usize(..6), Input::Update(body(rng.u16(..9)))),
            1 => {
                let (a, b) = (rng.usize(..6), rng.usize(..6));
                world.unlink(a, b);
            }
            2 => {
                let (a, b) = (rng.usize(..6), rng.usize(..6));
                world.link(a, b);
            }
            3 => world.run(Duration::from_millis(rng.u64(..3000))),
            _ if rng.u8(..8) == 0 => world.input(rng.usize(..6), Input::Leave),
            _ => {}
        }
        for (_, _, _, message) in &world.under_way {
            if let Message::Ops(sent) = message {
                ops.extend(sent.iter().cloned());
            }
        }
    }
    ops
}

fn table_after(ops: &[SignedOp]) -> Vec<(PeerId, bool, u64, u64, u16)> {
    let now = Instant::now();
    let mut judge = machine(500, 1, now);
    for op in ops {
        judge.apply(now, None, op.clone());
    }
    picture(judge.table())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_commutes_associates_and_is_idempotent_c4(seed in any::<u64>()) {
        let mut ops = random_ops(seed);
        let expected = table_after(&ops);
        let mut rng = fastrand::Rng::with_seed(seed ^ 1);
        for _ in 0..3 {
            rng.shuffle(&mut ops);
            let twice: Vec<_> = ops.iter().chain(&ops).cloned().collect();
            prop_assert_eq!(&table_after(&ops), &expected);
            prop_assert_eq!(&table_after(&twice), &expected);
        }
    }

    #[test]
    fn any_two_tables_that_exchange_become_equal_c5(seed in any::<u64>(), split in 0usize..100) {
        let ops = random_ops(seed);
        let mut world = World::new(0);
        let now = world.now;
        // None of them is an author: a node outbids what is said of it, and might call its row what
        // another life of it called another.
        let (a, b) = (500, 501);
        world.nodes.extend([a, b].map(|index| (index, machine(index, 1, now))));
        for (index, op) in ops.into_iter().enumerate() {
            let node = if (index * 7 + split) % 3 == 0 { a } else { b };
            world.nodes.get_mut(&node).expect("there").apply(now, None, op);
        }
        world.collect();
        world.under_way.clear();
        world.link(a, b);
        world.run(Duration::from_secs(40));
        prop_assert!(world.tables_are_equal());
    }

    #[test]
    fn hostile_bytes_never_panic_and_forged_ops_change_nothing(seed in any::<u64>(), noise in prop::collection::vec((any::<usize>(), any::<u8>()), 1..20)) {
        let now = Instant::now();
        let ops = random_ops(seed);
        let mut judge = machine(500, 1, now);
        for op in &ops {
            let mut bytes = encode(&Message::Ops(vec![op.clone()]));
            for (at, byte) in &noise {
                let at = at % bytes.len();
                bytes[at] ^= byte;
            }
            let changed = noise.iter().any(|(_, byte)| *byte != 0);
            let Ok(Message::Ops(forged)) = ciborium::from_reader::<Message, _>(&bytes[..]) else { continue };
            let before = picture(judge.table());
            for forged in forged {
                if changed && forged != *op {
                    judge.apply(now, Some(peer(1)), forged);
                    prop_assert_eq!(&picture(judge.table()), &before);
                }
            }
            judge.apply(now, None, op.clone());
        }
    }
}
