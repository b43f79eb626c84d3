//! The origin dies, and publishes again after its restart, under a new epoch.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "origin-restart",
    claim: "an origin that comes back with a new epoch is followed by everyone within seconds",
    nodes: 16,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 3, Mode::Live);
    let configure = setup::configure(params, 3);
    for round in 0..3 {
        setup::stream(world, 0, SECOND, 20, 100);
        let before = world.epoch(0, &track);
        world.crash(0);
        // At once, after a second, after everyone has forgotten it.
        world.run([0, SECOND, 20 * SECOND][round]);
        world.revive(0, &track, &configure);
        let took = world.settle(&track, 20 * SECOND);
        report.set(&format!("settled_{round}_s"), took as f64 / SECOND as f64);
        setup::stream(world, 0, SECOND, 20, 100);
        world.run(500 * MS);
        let epoch = world.epoch(0, &track).expect("it publishes again");
        if Some(epoch) <= before {
            world.violated(&format!("epoch {epoch} follows {before:?}"));
        }
        for host in 1..world.hosts.len() as u32 {
            world.demand_complete(host, &track, epoch);
        }
    }
}
