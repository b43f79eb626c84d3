//! Capacities go down and up while objects flow.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "capacity-changes",
    claim: "capacity that is lowered sheds children gently, capacity that is raised is used, and nobody misses a thing",
    nodes: 16,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 4, Mode::Reliable);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    for round in 0..10 {
        for host in 0..world.hosts.len() as u32 {
            // The origin keeps a slot, and all together keep enough.
            let capacity = if (host + round) % 4 == 0 { u16::from(host == 0) } else { 4 };
            world.with_mesh(host, |mesh, now| mesh.set_capacity(now, capacity));
            setup::stream(world, 0, 50 * MS, 40, 100);
        }
        world.run(12 * SECOND);
        let over = |world: &World| {
            world.running().find(|(_, mesh)| mesh.slots().used() > mesh.slots().capacity()).map(|(host, _)| host)
        };
        if let Some(host) = over(world) {
            world.violated(&format!("host {host} has not shed its children after 12 s (A4)"));
        }
        world.settle(&track, 30 * SECOND);
    }
    world.run(SECOND);
    report.set("missed", world.ledger().missed as f64);
    for host in 1..world.hosts.len() as u32 {
        world.demand_complete(host, &track, epoch);
    }
    if world.ledger().missed > 0 {
        world.violated(&format!("{} objects were missed", world.ledger().missed));
    }
}
