//! Everyone is restarted, one after another, as in an upgrade; the origin last.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-restart",
    claim: "all hosts are restarted one after another and nobody misses a thing while it runs",
    nodes: 24,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 4, Mode::Live);
    let configure = setup::configure(params, 4);
    let count = world.hosts.len() as u32;
    for host in (1..count).chain([0]) {
        world.leave(host);
        setup::stream(world, 0, 2_500 * MS, 20, 100);
        if world.mesh(host).is_some() {
            world.violated(&format!("host {host} has not left after 2.5 s"));
        }
        world.revive(host, &track, &configure);
        setup::stream(world, 0, 300 * MS, 20, 100);
    }
    let took = world.settle(&track, 30 * SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    report.set("missed", world.ledger().missed as f64);
    report.set("false_deaths", world.false_deaths() as f64);
    if world.ledger().missed + world.false_deaths() > 0 {
        world.violated("a restart was not clean");
    }
}
