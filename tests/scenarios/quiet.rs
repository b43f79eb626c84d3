//! What an idle node sends, how long a change of a row takes to be known, and how long a crash.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "quiet",
    claim: "an idle mesh is quiet, and hears at once of a change and of a crash",
    nodes: 30,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, super::flash_crowd::CAPACITY, Mode::Live);
    // After a crowd, nodes move up for a while; the more there are, the longer.
    let (calm, minute) = if params.nodes > 2_000 { (90 * SECOND, 20 * SECOND) } else { (60 * SECOND, 60 * SECOND) };
    world.run(calm);
    let (before, since) = (world.traffic(), world.now());
    world.run(minute);
    world.report_traffic(report, "idle", before, since);

    // A change of a row: a leaf offers another number of slots.
    let leaf = (1..world.hosts.len() as u32).rev().find(|host| !setup::relays(world).contains(host));
    let leaf = leaf.expect("a tree has leaves");
    let peer = world.peer(leaf);
    let version = |world: &World, host: u32| {
        let row = world.mesh(host)?.table().live(&peer)?;
        Some((row.incarnation, row.version))
    };
    let old = version(world, leaf);
    let since = world.now();
    world.with_mesh(leaf, |mesh, now| mesh.set_capacity(now, 5));
    let holders: Vec<u32> =
        world.running().filter(|(_, mesh)| mesh.table().live(&peer).is_some()).map(|(host, _)| host).collect();
    let share = |world: &World| {
        holders.iter().filter(|host| version(world, **host) > old).count() as f64 / holders.len() as f64
    };
    if !world.run_until(20 * SECOND, |world| share(world) >= 0.999) {
        world.violated(&format!("{:.2} % know of a change after 20 s", share(world) * 100.0));
    }
    report.set("row_change_ms", (world.now() - since) as f64 / MS as f64);

    // A crash.
    let since = world.now();
    world.crash(leaf);
    let holders: Vec<u32> = holders.into_iter().filter(|host| *host != leaf).collect();
    let known = |world: &World| {
        holders.iter().filter(|host| version(world, **host).is_none()).count() as f64 / holders.len() as f64
    };
    if !world.run_until(30 * SECOND, |world| known(world) >= 0.999) {
        world.violated(&format!("{:.2} % know of a crash after 30 s", known(world) * 100.0));
    }
    report.set("crash_known_ms", (world.now() - since) as f64 / MS as f64);
    world.settle(&track, 30 * SECOND);
}
