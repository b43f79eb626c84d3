//! The slots among those who follow a track do not suffice; others have some.

use banyan_gossip::RelayPolicy;
use banyan_node::{mesh::Mesh, relay::Mode};

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "volunteers",
    claim: "nodes without capacity are served by members that do not follow the track, as far as the mesh has slots, \
            and those go when nobody needs them",
    nodes: 24,
    run,
};

/// What a host is: the origin, a bystander with slots, or a subscriber without.
fn capacity_of(host: u32) -> u16 {
    match host {
        0 => 2,
        _ if host % 3 == 1 => 4,
        _ => 0,
    }
}

/// This bystander relays nothing that it does not follow.
const UNWILLING: u32 = 1;

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    for index in 0..params.nodes {
        let host = world.add_host();
        let bootstraps = setup::bootstraps(world, host);
        world.start(host, &bootstraps, |config| {
            setup::configure(params, capacity_of(index as u32))(config);
            if host == UNWILLING {
                config.relay = RelayPolicy::Never;
            }
        });
        world.run(5 * MS);
    }
    if !world.run_until(30 * SECOND, |world| world.tables_equal().is_ok()) {
        world.violated("no common table");
    }
    assert!(world.publish(0, &track, Mode::Reliable), "host 0 publishes");
    world.run(100 * MS);
    let subscribers: Vec<u32> = (1..params.nodes as u32).filter(|host| capacity_of(*host) == 0).collect();
    for host in &subscribers {
        world.subscribe(*host, &track);
    }
    let began = world.now();
    while world.measure.waiting() > 0 {
        setup::stream(world, 0, 100 * MS, 40, 100);
        if world.now() - began > 60 * SECOND {
            world.violated(&format!("{} hosts are not served after a minute", world.measure.waiting()));
        }
    }
    report.set("served_s", (world.now() - began) as f64 / SECOND as f64);
    // For longer than a volunteer stays that nobody needs: the others stay.
    setup::stream(world, 0, 40 * SECOND, 10, 100);
    if world.measure.waiting() > 0 {
        world.violated("somebody is no longer served");
    }
    // Children may have moved away from one just now.
    let idle = |mesh: &Mesh| mesh.is_volunteer(&track) && mesh.slots().used() == 0;
    if !world.run_until(60 * SECOND, |world| !world.running().any(|(_, mesh)| idle(mesh))) {
        world.violated("somebody relays for nobody");
    }
    let needed = volunteers(world);
    report.set("volunteers", needed as f64);
    if world.mesh(UNWILLING).is_some_and(|mesh| mesh.tree(&track).is_some()) {
        world.violated("a host relays against its settings");
    }
    if world.ledger().missed > 0 {
        world.violated(&format!("{} objects were missed", world.ledger().missed));
    }
    for host in subscribers {
        world.unsubscribe(host, &track);
    }
    // They may feed one another: then the lowest goes first.
    let began = world.now();
    if !world.run_until((needed as u64 + 1) * 32 * SECOND, |world| volunteers(world) == 0) {
        world.violated(&format!("{} of {needed} volunteers are still there", volunteers(world)));
    }
    report.set("gone_s", (world.now() - began) as f64 / SECOND as f64);
}

fn volunteers(world: &World) -> usize {
    let track = setup::track();
    world.running().filter(|(_, mesh)| mesh.is_volunteer(&track)).count()
}
