//! A relay stands still for two seconds, alive but without a word.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "frozen-parent",
    claim: "a relay that stands still is replaced at once, is not declared dead for it, and comes back",
    nodes: 12,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 2, Mode::Reliable);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    setup::stream(world, 0, SECOND, 50, 200);
    let relay = setup::relays(world)[0];
    let children: Vec<u32> =
        (1..world.hosts.len() as u32).filter(|host| setup::parent(world, *host) == Some(relay)).collect();
    let since = world.now();
    world.stall(relay, 2 * SECOND);
    setup::stream(world, 0, 600 * MS, 50, 200);
    for child in &children {
        if setup::parent(world, *child).is_none_or(|parent| parent == relay) {
            world.violated(&format!("host {child} still hangs on a parent that is silent for 0.6 s"));
        }
    }
    world.report_repairs(report, since);
    setup::stream(world, 0, 3 * SECOND, 50, 200);
    world.settle(&track, 10 * SECOND);
    world.run(SECOND);
    for host in 1..world.hosts.len() as u32 {
        world.demand_complete(host, &track, epoch);
    }
    report.set("false_deaths", world.false_deaths() as f64);
    if world.ledger().missed + world.false_deaths() > 0 {
        world.violated(&format!(
            "{} objects missed, {} times thought dead",
            world.ledger().missed,
            world.false_deaths()
        ));
    }
}
