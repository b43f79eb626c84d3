//! A small mesh under aggressive faults; then they end, and all must be well soon.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    faults::Faults,
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "random",
    claim: "no schedule of faults makes a loop, strands a subtree, exceeds a capacity, or shows anybody an object twice",
    nodes: 8,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    let capacity = world.rng.u16(1..4);
    let rows = params.table_rows;
    let configure = move |config: &mut banyan_node::mesh::Config| {
        config.capacity = Some(capacity);
        // Deep trees in small meshes, close to the limit at times.
        config.tree.max_depth = 8;
        if let Some(rows) = rows {
            config.gossip.table_rows_max = rows;
        }
    };
    setup::start_all(world, params.nodes, 20 * MS, configure);
    world.run(300 * MS);
    setup::follow_all(world, Mode::Live, 100 * MS);
    let faults = Faults { every: 120 * MS, spare_origin: true };
    world.suffer(4 * SECOND, faults, &track, &configure);
    world.end_faults(&track, &configure);
    // Whoever was leaving has left by now.
    world.run(2_500 * MS);
    world.end_faults(&track, &configure);
    let capacities = world.hosts.len() as u32;
    for host in 0..capacities {
        // Enough for everyone.
        world.with_mesh(host, |mesh, now| mesh.set_capacity(now, capacity.max(2)));
    }
    let took = world.settle(&track, 40 * SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    // A tree that moves no bytes is none.
    world.publish_object(0, &track, 100);
    world.run(SECOND);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    let followers: Vec<u32> = world.running().map(|(host, _)| host).filter(|host| *host != 0).collect();
    for host in followers {
        world.demand_complete(host, &track, epoch);
    }
    let (loops, longest) = world.loops();
    report.set("loops", loops as f64);
    report.set("longest_loop_ms", longest as f64 / MS as f64);
    report.set("false_deaths", world.false_deaths() as f64);
    report.set("missed", world.ledger().missed as f64);
    report.set("repairs", world.measure.repaired as f64);
}
