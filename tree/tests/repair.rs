//! Repair: lost, silent and leaving parents, loops, partitions, new publications (A6–A8).

mod mesh;

use banyan_tree::{Config, Event, Input, MoveReason, Output, State, StuckReason};
use mesh::{Delays, World, ms, number, peer, s};

/// An origin and `count` nodes that have joined.
fn joined(seed: u64, delays: Delays, count: u16, capacity: u16) -> World {
    let mut world = World::new(seed, delays);
    world.origin(capacity, Config::default());
    for number in 1..=count {
        world.add(number, capacity, Config::default());
    }
    world.run(s(1));
    for number in 1..=count {
        world.input(number, Input::Subscribe);
    }
    world.settle(s(20));
    world.run(s(3));
    world
}

/// A chain 0 → 1 → 2 → …: each has one slot.
fn chain(seed: u64, length: u16) -> World {
    let mut world = World::new(seed, Delays::LAN);
    world.origin(1, Config::default());
    for number in 1..=length {
        world.add(number, 1, Config::default());
        world.run(ms(200));
        world.input(number, Input::Subscribe);
        world.settle(s(6));
    }
    assert_eq!(
        (1..=length).map(|number| world.parent(number)).collect::<Vec<_>>(),
        (0..length).map(Some).collect::<Vec<_>>()
    );
    world
}

#[test]
fn chain_of_four_whose_head_dies_makes_no_cycle_a7() {
    for seed in 0..20 {
        let mut world = chain(seed, 4);
        world.run(s(2));
        let before = world.elapsed();
        world.kill(1);
        world.settle(s(3));
        // The orphan took its whole subtree along: nobody below it lost its parent.
        assert_eq!((world.parent(2), world.parent(3), world.parent(4)), (Some(0), Some(2), Some(3)));
        assert_eq!(world.depth(4), Some(3), "depths below are corrected (A6)");
        for number in [3, 4] {
            assert_eq!(world.events_of(number, before), Vec::<&Event>::new());
        }
    }
}

#[test]
fn orphan_never_attaches_below_itself_a7() {
    // Only its own subtree has free slots: it waits, and says why.
    let mut world = chain(30, 4);
    world.set_capacity(4, 5);
    world.run(s(1));
    world.cut(&[0], &[1]);
    // Gossip reaches it by others: the origin is alive, and its row shows a free slot.
    world.run(s(20));
    assert_eq!(world.parent(1), None);
    for number in 2..=4 {
        assert_eq!(world.parent(number), Some(number - 1), "the fragment stays together");
        assert_eq!(world.tree(number).state(), State::Stalled);
    }
    world.heal();
    world.settle(s(8));
    assert_eq!(world.parent(1), Some(0));
}

#[test]
fn killing_a_third_of_the_interior_reattaches_all_a6() {
    for (seed, delays) in [(40, Delays::LAN), (41, Delays::LAN), (42, Delays::SLOW)] {
        let mut world = joined(seed, delays, 60, 4);
        let interior: Vec<u16> = (1..=60).filter(|number| world.tree(*number).children().count() > 0).collect();
        for number in interior.iter().step_by(3) {
            world.kill(*number);
        }
        world.settle(s(10));
    }
}

#[test]
fn orphan_is_fed_again_within_milliseconds_a6() {
    let mut slowest = ms(0);
    for seed in 50..60 {
        let mut world = joined(seed, Delays::LAN, 30, 4);
        let victim = (1..=30).max_by_key(|number| world.tree(*number).children().count()).expect("somebody");
        let orphans: Vec<u16> = world.tree(victim).children().map(|(child, _)| number(child)).collect();
        let before = world.elapsed();
        world.kill(victim);
        assert!(world.run_until(s(2), |world| {
            orphans
                .iter()
                .all(|orphan| !world.feeders(peer(*orphan)).is_empty() && world.parent(*orphan) != Some(victim))
        }));
        slowest = slowest.max(world.elapsed() - before);
        world.settle(s(3));
    }
    assert!(slowest < ms(60), "{slowest:?}");
}

#[test]
fn silent_parent_gets_a_backup_beside_it_before_it_is_closed_a8() {
    for seed in 70..80 {
        let mut world = joined(seed, Delays::LAN, 20, 4);
        let child =
            (1..=20).find(|number| world.parent(*number) != Some(0) && !world.tree(*number).backups().is_empty());
        let child = child.expect("a node at depth 2");
        let parent = world.parent(child).expect("attached");
        let before = world.elapsed();
        // The old stream is there until the new one works: it is never unfed.
        world.never_starving.insert(peer(child));
        world.input(child, Input::Silent { peer: peer(parent) });
        world.run(ms(100));
        assert_eq!(world.parent(child), Some(parent), "the other is on trial");
        let backup = world.feeders(peer(child)).into_iter().find(|feeder| *feeder != peer(parent)).expect("on trial");
        world.input(child, Input::Lost { peer: peer(parent) });
        assert_eq!(world.parent(child).map(peer), Some(backup), "at once");
        let events = world.events_of(child, before);
        let [Event::Detached { .. }, Event::Attached { reason: MoveReason::ParentLost, .. }] = events[..] else {
            panic!("{events:?}");
        };
        world.settle(s(1));
    }
}

#[test]
fn trial_ends_without_a_move_when_the_parent_is_heard_again() {
    for seed in 70..80 {
        let mut world = joined(seed, Delays::LAN, 20, 4);
        let child =
            (1..=20).find(|number| world.parent(*number) != Some(0) && !world.tree(*number).backups().is_empty());
        let child = child.expect("a node at depth 2");
        let (parent, before) = (world.parent(child).map(peer).expect("attached"), world.elapsed());
        world.never_starving.insert(peer(child));
        world.input(child, Input::Silent { peer: parent });
        world.run(ms(100));
        assert_eq!(world.feeders(peer(child)).len(), 2, "one is on trial");
        world.input(child, Input::Heard { peer: parent });
        world.run(ms(100));
        assert_eq!(world.feeders(peer(child)), [parent], "the slot is given back");
        assert!(world.events_of(child, before).is_empty());
        world.settle(s(1));
    }
}

#[test]
fn parent_that_is_heard_again_is_kept() {
    let mut world = joined(80, Delays::LAN, 20, 4);
    let child = (1..=20).find(|number| world.parent(*number) != Some(0)).expect("a node at depth 2");
    let parent = world.parent(child).expect("attached");
    world.never_starving.insert(peer(child));
    for _ in 0..10 {
        world.input(child, Input::Silent { peer: peer(parent) });
        world.input(child, Input::Heard { peer: peer(parent) });
        world.run(ms(300));
        assert_eq!(world.parent(child), Some(parent));
    }
    world.settle(s(3));
}

#[test]
fn parent_that_stalls_is_left_and_asked_again_once_it_is_heard() {
    // There is nobody else.
    let mut world = joined(81, Delays::LAN, 1, 4);
    world.input(1, Input::Silent { peer: peer(0) });
    world.run(ms(150));
    world.input(1, Input::Lost { peer: peer(0) });
    world.run(s(3));
    assert_eq!(world.parent(1), None, "it is not asked while it is silent");
    world.input(1, Input::Heard { peer: peer(0) });
    world.run(ms(100));
    assert_eq!(world.parent(1), Some(0));
    world.settle(s(1));
}

#[test]
fn parent_that_is_cut_off_is_replaced_before_its_link_is_declared_lost() {
    for seed in 90..95 {
        let mut world = joined(seed, Delays::LAN, 30, 4);
        let victim = (1..=30).max_by_key(|number| world.tree(*number).children().count()).expect("somebody");
        let orphans: Vec<u16> = world.tree(victim).children().map(|(child, _)| number(child)).collect();
        let before = world.elapsed();
        world.kill_silently(victim);
        world.settle(s(7));
        for orphan in orphans {
            let took = world.events.iter().find_map(|(at, node, event)| match event {
                Event::Attached { .. } if *node == orphan && *at > before => Some(*at - before),
                _ => None,
            });
            // It was fed by another since the silence began, on trial until the parent was given up.
            assert!(took.is_some_and(|took| took <= ms(300)), "{took:?}");
        }
    }
}

#[test]
fn two_orphans_that_choose_each_other_find_the_tree_a7() {
    for seed in 100..120 {
        let mut world = joined(seed, Delays::INSTANT, 12, 2);
        // Both lose their parents at the same instant, and each sees the other as the best candidate.
        let pairs: Vec<u16> = (1..=12).filter(|number| world.tree(*number).children().count() > 0).collect();
        for number in &pairs {
            let parent = world.parent(*number).expect("attached");
            world.input(*number, Input::LinkDown { peer: peer(parent) });
        }
        world.settle(s(10));
    }
}

#[test]
fn broken_data_stream_is_repaired_though_the_link_works() {
    let mut world = joined(130, Delays::LAN, 6, 3);
    for number in 1..=6 {
        world.break_stream(peer(number));
    }
    world.settle(s(3));
    // Even if there is nobody else.
    let mut world = joined(131, Delays::LAN, 1, 3);
    world.break_stream(peer(1));
    world.settle(ms(500));
}

#[test]
fn fragment_of_a_dead_origin_stays_together_until_a_new_publication_comes() {
    let mut world = joined(140, Delays::LAN, 20, 3);
    let inner: Vec<(u16, Option<u16>)> =
        (1..=20).map(|number| (number, world.parent(number))).filter(|(_, parent)| *parent != Some(0)).collect();
    world.kill(0);
    world.run(s(10));
    for (number, parent) in inner {
        assert_eq!(world.parent(number), parent);
        assert_eq!((world.tree(number).state(), world.depth(number)), (State::Stalled, None));
    }
    for number in (1..=20).filter(|number| world.parent(*number).is_none()) {
        assert_eq!(world.tree(number).state(), State::Seeking { reason: Some(StuckReason::NoOrigin) });
    }
    world.add(0, 3, Config::default());
    world.input(0, Input::Publish { epoch: 2 });
    world.settle(s(8));
    assert!((1..=20).all(|number| world.tree(number).source().expect("it follows one").epoch == 2));
}

#[test]
fn everyone_follows_a_newer_publication_of_another_origin() {
    let mut world = joined(150, Delays::LAN, 20, 3);
    world.add(90, 3, Config::default());
    world.input(90, Input::Publish { epoch: 7 });
    world.settle(s(5));
    assert!((1..=20).all(|number| world.tree(number).source().expect("it follows one").origin == peer(90)));
    // The older one has nobody left, and goes on.
    assert_eq!((world.tree(0).state(), world.tree(0).children().count()), (State::Origin, 0));
}

#[test]
fn smaller_publication_is_followed_once_the_greater_one_is_silent() {
    let mut world = joined(155, Delays::LAN, 12, 3);
    let before = world.elapsed();
    world.add(90, 3, Config::default());
    world.input(90, Input::Publish { epoch: 0 });
    world.run(s(5));
    assert!((1..=12).all(|number| world.events_of(number, before).is_empty()), "nobody moves while it lives");
    world.kill(0);
    world.settle(s(8));
    assert!((1..=12).all(|number| world.tree(number).source().expect("it follows one").origin == peer(90)));
}

#[test]
fn leaving_node_hands_its_children_to_their_backups_without_a_gap() {
    for seed in 160..170 {
        let mut world = joined(seed, Delays::LAN, 20, 4);
        let leaver = (1..=20).max_by_key(|number| world.tree(*number).children().count()).expect("somebody");
        let children: Vec<u16> = world.tree(leaver).children().map(|(child, _)| number(child)).collect();
        let before = world.elapsed();
        world.never_starving.extend(children.iter().map(|child| peer(*child)));
        world.input(leaver, if seed % 2 == 0 { Input::Unsubscribe } else { Input::Leave });
        assert!(world.run_until(s(2), |world| world.tree(leaver).state() == State::Idle), "it leaves within 2 s");
        world.settle(s(2));
        for child in children {
            let events = world.events_of(child, before);
            assert!(!events.iter().any(|event| matches!(event, Event::Detached { .. })), "{events:?}");
        }
    }
}

#[test]
fn partition_heals_into_one_tree_and_only_tops_move() {
    let mut world = joined(180, Delays::LAN, 16, 3);
    let these: Vec<u16> = (0..=8).collect();
    let those: Vec<u16> = (9..=16).collect();
    world.cut(&these, &those);
    world.run(s(8));
    let inner: Vec<u16> = those.iter().copied().filter(|number| world.parent(*number).is_some()).collect();
    let before = world.elapsed();
    world.heal();
    world.settle(s(8));
    for number in inner {
        let moved = world.events_of(number, before).into_iter().find(|event| matches!(event, Event::Detached { .. }));
        assert_eq!(moved, None);
    }
}

#[test]
fn nothing_comes_after_left() {
    let mut world = joined(190, Delays::LAN, 2, 4);
    world.input(1, Input::Unsubscribe);
    world.run(s(3));
    assert_eq!(world.tree(1).entry(), None);
    assert_eq!(world.tree(1).poll_timeout(), None);
    let node = world.nodes.get_mut(&peer(1)).expect("a living node");
    assert_eq!(node.tree.poll_output(), None::<Output>);
    assert_eq!(node.slots.used(), 0);
}
