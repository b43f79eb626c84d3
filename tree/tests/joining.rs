//! Joining: caps, depth, full meshes, capacities (A1–A5, A10, A13).

mod mesh;

use banyan_tree::{Config, Event, Input, State, StuckReason};
use mesh::{Delays, World, ms, s};

fn join_at_once(seed: u64, delays: Delays, count: u16, capacity: u16, config: &Config) -> World {
    let mut world = World::new(seed, delays);
    world.origin(capacity, config.clone());
    for number in 1..=count {
        world.add(number, capacity, config.clone());
    }
    world.run(s(1));
    for number in 1..=count {
        world.input(number, Input::Subscribe);
    }
    world
}

#[test]
fn hundred_that_join_at_once_keep_every_cap_a3() {
    for (seed, delays) in [(1, Delays::INSTANT), (2, Delays::LAN), (3, Delays::SLOW)] {
        let mut world = join_at_once(seed, delays, 100, 4, &Config::default());
        let before = world.elapsed();
        world.run_until(s(20), |world| world.one_tree().is_ok());
        eprintln!("seed {seed}: one tree after {:?}, depth {}", world.elapsed() - before, world.greatest_depth());
        world.settle(s(1));
    }
}
