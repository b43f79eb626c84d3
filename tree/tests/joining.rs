//! Joining: caps, depth, full meshes (A1–A3, A5, A13).

mod mesh;

use std::time::Duration;

use banyan_tree::{Config, Event, Input, State, StuckReason};
use mesh::{Delays, World, ms, s};

/// An origin and `count` nodes that know each other; nobody has joined yet.
fn gathered(seed: u64, delays: Delays, count: u16, capacity: u16, config: &Config) -> World {
    let mut world = World::new(seed, delays);
    world.origin(capacity, config.clone());
    for number in 1..=count {
        world.add(number, capacity, config.clone());
    }
    world.run(s(1));
    world
}

fn join_all(world: &mut World, count: u16) {
    for number in 1..=count {
        world.input(number, Input::Subscribe);
    }
}

#[test]
fn hundred_that_join_at_once_keep_every_cap_a3() {
    // The checkers look at every cap after every step.
    let cases = [(Delays::INSTANT, ms(50)), (Delays::LAN, ms(500)), (Delays::SLOW, s(6))];
    for (seed, (delays, limit)) in (1..).zip(cases) {
        let mut world = gathered(seed, delays, 100, 4, &Config::default());
        join_all(&mut world, 100);
        world.settle(limit);
        // Capacity 4 leaves 3 for joins: 1 + 3 + 9 + 27 + 81 ≥ 101 is the flattest tree there is.
        assert!(world.greatest_depth() <= 7, "depth {}", world.greatest_depth());
    }
}

#[test]
fn joiners_of_one_slot_trees_form_a_chain() {
    let mut world = gathered(4, Delays::LAN, 8, 1, &Config::default());
    join_all(&mut world, 8);
    world.settle(s(15));
    assert_eq!(world.greatest_depth(), 8);
}

#[test]
fn origin_feeds_its_root_slots_and_no_more_a2() {
    let config = Config { root_slots: 5, ..Config::default() };
    let mut world = gathered(5, Delays::LAN, 12, 16, &config);
    join_all(&mut world, 12);
    world.settle(s(3));
    assert_eq!(world.tree(0).children().count(), 5);
    assert_eq!(world.greatest_depth(), 2);
}

#[test]
fn depth_limit_is_reached_and_not_passed_a5() {
    // A chain of one-slot nodes: the limit is met exactly, and the one too many is told why.
    let config = Config { max_depth: 4, ..Config::default() };
    let mut world = gathered(6, Delays::LAN, 5, 1, &config);
    join_all(&mut world, 5);
    world.run(s(20));
    assert_eq!(world.greatest_depth(), 4);
    let stuck: Vec<u16> = (1..=5).filter(|number| world.depth(*number).is_none()).collect();
    assert_eq!(stuck.len(), 1);
    assert_eq!(world.tree(stuck[0]).state(), State::Seeking { reason: Some(StuckReason::DepthLimit) });
}

#[test]
fn full_mesh_tells_why_and_takes_the_joiner_when_a_slot_opens_a13() {
    let mut world = gathered(7, Delays::LAN, 3, 2, &Config::default());
    for number in 1..=3 {
        world.set_capacity(number, 0);
    }
    join_all(&mut world, 3);
    world.run(s(3));
    let stuck = (1..=3).find(|number| world.depth(*number).is_none()).expect("one too many");
    assert_eq!(world.tree(stuck).state(), State::Seeking { reason: Some(StuckReason::AllFull) });
    let told = |world: &World| {
        let events = world.events_of(stuck, Duration::ZERO);
        events.into_iter().filter(|event| **event == Event::Stuck { reason: StuckReason::AllFull }).count()
    };
    assert_eq!(told(&world), 1);
    world.run(s(30));
    assert_eq!(told(&world), 1, "a reason is told once");

    world.set_capacity(0, 3);
    let before = world.elapsed();
    world.settle(s(1));
    let attached = world.events_of(stuck, before);
    assert!(attached.iter().any(|event| matches!(event, Event::Attached { .. })), "{attached:?}");
}

#[test]
fn joiner_before_the_origin_waits_and_attaches_a13() {
    let mut world = World::new(8, Delays::LAN);
    world.add(1, 4, Config::default());
    world.input(1, Input::Subscribe);
    world.run(s(10));
    assert_eq!(world.tree(1).state(), State::Seeking { reason: Some(StuckReason::NoOrigin) });
    world.origin(4, Config::default());
    world.settle(ms(500));
}

#[test]
fn node_without_capacity_consumes_and_never_hosts_a4() {
    let mut world = gathered(9, Delays::LAN, 6, 3, &Config::default());
    for number in [2, 4] {
        world.set_capacity(number, 0);
    }
    join_all(&mut world, 6);
    world.settle(s(3));
    for number in [2, 4] {
        assert_eq!(world.tree(number).children().count(), 0);
        assert_eq!(world.tree(number).state(), State::Attached);
    }
}

#[test]
fn restarted_child_supersedes_its_old_session_b11() {
    let mut world = gathered(10, Delays::LAN, 2, 2, &Config::default());
    world.set_capacity(2, 0);
    join_all(&mut world, 2);
    world.settle(s(2));
    for _ in 0..5 {
        // Only the slot of its former life is free.
        world.restart(1);
        world.input(1, Input::Subscribe);
        world.settle(s(3));
    }
    assert_eq!(world.greatest_depth(), 1);
}

#[test]
fn ended_publication_still_takes_and_feeds_late_joiners() {
    let mut world = gathered(11, Delays::LAN, 4, 2, &Config::default());
    world.input(1, Input::Subscribe);
    world.settle(s(1));
    world.input(0, Input::EndPublish);
    join_all(&mut world, 4);
    world.settle(s(3));
    assert_eq!(world.tree(0).entry().expect("it has a part").role, banyan_gossip::Role::Ended);
}
