//! How often an op comes in, and whether it comes at all.

use std::{collections::BTreeSet, time::Duration};

use banyan_gossip::{Config, Event, Gossip, Input, table::Status};

use crate::world::{World, body, config, peer};

const NODES: usize = 200;

/// A mesh that has chosen its feeds.
fn settled(seed: u64) -> World {
    let mut world = World::random(NODES, &config(), seed);
    world.run(Duration::from_secs(2));
    assert!(world.nodes.values().all(|node| node.table().live_len() == NODES));
    world
}

/// Changes the row of a node. Says what it is now.
fn change(world: &mut World, author: usize) -> u16 {
    let free = world.nodes[&author].table().row(&peer(author)).expect("own row").free;
    let news = if free == 7 { 8 } else { 7 };
    world.input(author, Input::Update(body(news)));
    news
}

fn has_seen(world: &World, author: usize, free: u16) -> BTreeSet<usize> {
    let saw = |node: &Gossip| node.table().row(&peer(author)).is_some_and(|row| row.free == free);
    world.nodes.iter().filter(|(_, node)| saw(node)).map(|(index, _)| *index).collect()
}

/// Everyone whom a path of links joins to a node that is there.
fn reachable(world: &World, from: usize) -> BTreeSet<usize> {
    let (mut reached, mut edge) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = edge.pop() {
        let next = world.links_of(at).into_iter().filter(|next| world.nodes.contains_key(next));
        edge.extend(next.filter(|next| reached.insert(*next)));
    }
    reached
}

/// A third of the nodes, spread over the mesh.
fn victims() -> Vec<usize> {
    (0..NODES).filter(|index| index % 10 >= 7).collect()
}

#[test]
fn an_op_comes_in_a_few_times_only_and_reaches_everyone_c4() {
    for seed in 0..2 {
        let mut world = settled(seed);
        let (before, changes) = (world.copies, 20);
        for author in 0..changes {
            let free = change(&mut world, author * 7);
            world.run(Duration::from_millis(500));
            assert_eq!(has_seen(&world, author * 7, free).len(), NODES, "seed {seed}, author {}", author * 7);
        }
        let mean = (world.copies - before) as f64 / (changes * NODES) as f64;
        assert!(mean <= config().feeds as f64 + 1.0, "{mean} copies");
    }
}

#[test]
fn everyone_is_reached_when_a_third_crashes_at_once() {
    let mut world = settled(4);
    victims().into_iter().for_each(|index| world.crash(index));
    for author in [0, 51] {
        let free = change(&mut world, author);
        world.run(Duration::from_millis(700));
        assert_eq!(has_seen(&world, author, free), reachable(&world, author), "author {author}");
    }
}

#[test]
fn everyone_is_reached_once_the_links_to_the_vanished_are_given_up() {
    let mut world = settled(5);
    victims().into_iter().for_each(|index| world.vanish(index));
    let free = change(&mut world, 0);
    world.run(Duration::from_millis(3_500));
    victims().into_iter().for_each(|index| world.crash(index));
    world.run(Duration::from_millis(500));
    assert_eq!(has_seen(&world, 0, free), reachable(&world, 0));
}

#[test]
fn a_crash_is_told_by_few_and_known_to_all_in_two_seconds_b12() {
    let mut world = settled(1);
    // Whoever has most neighbours has most accusers.
    let victim = (0..NODES).max_by_key(|index| world.links_of(*index).len()).expect("there are nodes");
    let (accusers, before) = (world.links_of(victim).len(), world.copies);
    world.crash(victim);
    world.run(Duration::from_secs(2));
    assert!(world.all_see(victim, Status::Dead));
    assert_eq!(world.events.iter().filter(|(_, event)| matches!(event, Event::Died { .. })).count(), NODES - 1);
    // Three suspicions and one certificate, and what their authors tell their own neighbours.
    let copies = (world.copies - before) as f64 / NODES as f64;
    assert!(accusers > 8 && copies < 4.0 * config().feeds as f64 + 2.0, "{accusers} accusers: {copies} ops a node");
}

#[test]
fn a_mesh_beyond_the_table_reaches_whoever_holds_a_row_and_keeps_quiet_c4() {
    let config = Config { table_rows_max: 40, full_digest_max: 20, ..config() };
    let mut world = World::random(NODES, &config, 6);
    world.run(Duration::from_secs(2));
    let holds = |node: &&Gossip, author| node.table().row(&peer(author)).is_some();
    for author in [3, 77, 140] {
        let free = change(&mut world, author);
        world.run(Duration::from_millis(500));
        let holders = world.nodes.values().filter(|node| holds(node, author)).count();
        assert!(holders > 6 && has_seen(&world, author, free).len() == holders, "{holders} hold {author}");
    }
    assert!(world.nodes.values().all(|node| node.table().live_len() <= 41 + 20));
    // Samples that differ are no news: nothing is sent again and again.
    let before = world.copies;
    world.run(Duration::from_secs(60));
    assert!(world.copies - before < NODES, "{} ops", world.copies - before);
    // A crash is told of and settled although few know the victim.
    world.crash(77);
    world.run(Duration::from_secs(2));
    assert!(world.nodes.values().all(|node| node.table().live(&peer(77)).is_none()));
}
