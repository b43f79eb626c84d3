//! Voluntary moves: better places, lowered and raised capacities (A4, A8).

mod mesh;

use banyan_tree::{Config, Event, Input, MoveReason};
use mesh::{Delays, World, ms, peer, s};

/// A chain 0 → 1 → 2 → … of nodes with one slot each.
fn chain(seed: u64, length: u16) -> World {
    let mut world = World::new(seed, Delays::LAN);
    world.origin(1, Config::default());
    for number in 1..=length {
        world.add(number, 1, Config::default());
        world.run(ms(200));
        world.input(number, Input::Subscribe);
        world.settle(s(6));
    }
    assert_eq!(world.greatest_depth(), u8::try_from(length).expect("a short chain"));
    world
}

fn moves_up(world: &World) -> usize {
    let is_move = |event: &Event| matches!(event, Event::Attached { reason: MoveReason::MovedUp, .. });
    world.events.iter().filter(|(.., event)| is_move(event)).count()
}

fn detached(world: &World) -> usize {
    world.events.iter().filter(|(.., event)| matches!(event, Event::Detached { .. })).count()
}

#[test]
fn node_moves_up_two_levels_without_an_interruption_a8() {
    for seed in 0..10 {
        let mut world = chain(seed, 4);
        world.never_starving.extend((1..=4).map(peer));
        // A place at depth 1: a gain of 2 levels for node 3, of 3 for node 4.
        world.set_capacity(0, 2);
        world.run(s(8));
        assert_eq!(moves_up(&world), 1);
        assert_eq!(detached(&world), 0);
        world.settle(s(1));
        assert!(world.greatest_depth() <= 3);
    }
}

#[test]
fn gain_of_one_level_has_to_last() {
    let mut world = chain(20, 2);
    world.set_capacity(0, 2);
    world.run(s(28));
    assert_eq!((world.depth(2), moves_up(&world)), (Some(2), 0));
    // Gone in between: patience begins anew.
    world.set_capacity(0, 1);
    world.run(s(3));
    world.set_capacity(0, 2);
    world.run(s(28));
    assert_eq!((world.depth(2), moves_up(&world)), (Some(2), 0));
    world.run(s(22));
    assert_eq!((world.depth(2), moves_up(&world)), (Some(1), 1));
    assert_eq!(detached(&world), 0);
}

#[test]
fn moves_end_a8() {
    // A deep tree gets many slots at once: it becomes flat, and then stays as it is.
    let mut world = chain(30, 10);
    world.never_starving.extend((1..=10).map(peer));
    for number in 0..=10 {
        world.set_capacity(number, 4);
    }
    world.run(s(300));
    let moves = moves_up(&world);
    assert!(world.greatest_depth() <= 3, "depth {}", world.greatest_depth());
    assert!(moves <= 30, "{moves} moves");
    world.run(s(600));
    assert_eq!(moves_up(&world), moves, "nobody flaps");
    assert_eq!(detached(&world), 0);
}

#[test]
fn nobody_moves_more_often_than_every_ten_seconds() {
    let mut world = chain(40, 12);
    for number in 0..=12 {
        world.set_capacity(number, 2);
    }
    world.run(s(200));
    for number in 1..=12 {
        let is_move = |event: &Event| matches!(event, Event::Attached { reason: MoveReason::MovedUp, .. });
        let moves: Vec<_> = world.events.iter().filter(|(_, node, event)| *node == number && is_move(event)).collect();
        assert!(moves.windows(2).all(|two| two[1].0 - two[0].0 >= s(10)), "{moves:?}");
    }
}

#[test]
fn lowered_capacity_sheds_gently_and_raised_opens_slots_a4() {
    for seed in 50..55 {
        let mut world = World::new(seed, Delays::LAN);
        world.origin(6, Config::default());
        for number in 1..=8 {
            world.add(number, 6, Config::default());
        }
        world.run(s(1));
        for number in 1..=8 {
            world.input(number, Input::Subscribe);
        }
        world.settle(s(5));
        assert!(world.tree(0).children().count() >= 5);
        world.never_starving.extend((1..=8).map(peer));
        world.set_capacity(0, 2);
        world.run(s(9));
        assert_eq!(world.tree(0).children().count(), 2, "shed before they are forced to go");
        assert_eq!(detached(&world), 0);
        world.settle(s(1));

        assert_eq!(world.tree(0).entry().expect("it publishes").free, 0);
        world.set_capacity(0, 6);
        assert_eq!(world.tree(0).entry().expect("it publishes").free, 3, "and one is kept for repairs");
    }
}

#[test]
fn child_that_finds_no_other_parent_is_dropped_after_its_time_a4() {
    let mut world = World::new(60, Delays::LAN);
    world.origin(2, Config::default());
    for number in 1..=2 {
        world.add(number, 0, Config::default());
    }
    world.run(ms(200));
    for number in 1..=2 {
        world.input(number, Input::Subscribe);
    }
    world.settle(s(3));
    world.set_capacity(0, 1);
    world.run(s(9));
    assert_eq!(world.tree(0).children().count(), 2, "it may look for 10 s");
    world.run(s(2));
    assert_eq!(world.tree(0).children().count(), 1);
    assert_eq!(world.nodes[&peer(0)].slots.used(), 1);
    world.set_capacity(0, 2);
    world.settle(s(1));
}

#[test]
fn capacity_raised_in_time_keeps_the_shed_child() {
    let mut world = World::new(61, Delays::LAN);
    world.origin(2, Config::default());
    for number in 1..=2 {
        world.add(number, 0, Config::default());
    }
    world.run(ms(200));
    for number in 1..=2 {
        world.input(number, Input::Subscribe);
    }
    world.settle(s(3));
    world.set_capacity(0, 1);
    world.run(s(5));
    world.set_capacity(0, 2);
    world.run(s(20));
    assert_eq!(detached(&world), 0);
    world.settle(s(1));
}
