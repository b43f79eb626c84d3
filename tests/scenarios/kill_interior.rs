//! A share of the interior dies within a second, in the midst of a stream.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{measure::Report, queue::SECOND, world::World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kill-interior",
    claim: "whatever share of the relays dies at once, all others are fed again and lose nothing that a ring held",
    nodes: 60,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, super::flash_crowd::CAPACITY, Mode::Live);
    // Long enough that everyone has seen objects, so that each gap shows.
    setup::stream(world, 0, SECOND, 50, 200);
    let mut victims = setup::relays(world);
    world.rng.shuffle(&mut victims);
    victims.truncate((victims.len() * params.kill as usize).div_ceil(100));
    report.set("killed", victims.len() as f64);
    let (since, before) = (world.now(), world.traffic());
    let pause = SECOND / victims.len().max(1) as u64;
    for victim in victims {
        world.crash(victim);
        setup::stream(world, 0, pause, 50, 200);
    }
    setup::stream(world, 0, SECOND, 50, 200);
    world.report_traffic(report, "busy", before, since);
    let took = world.settle(&track, 60 * SECOND);
    setup::stream(world, 0, SECOND, 50, 200);
    world.run(SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    world.report_repairs(report, since);
    world.report_depth(report, super::flash_crowd::CAPACITY);
    report.set("missed", world.ledger().missed as f64);
    let (received, twice) = world.received(&track);
    report.set("duplicates_factor", received as f64 / (received - twice).max(1) as f64);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    for host in 1..world.hosts.len() as u32 {
        if world.mesh(host).is_some() {
            world.demand_complete(host, &track, epoch);
        }
    }
    if world.ledger().missed > 0 {
        world.violated(&format!("{} objects were lost while rings held them", world.ledger().missed));
    }
}
