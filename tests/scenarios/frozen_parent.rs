//! A relay stands still for two seconds, alive but without a word.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::{Report, percentile},
    queue::{MS, Nanos, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "frozen-parent",
    claim: "a relay that stands still costs nobody more than 90 ms of the stream, is not declared dead for it, and comes back",
    nodes: 12,
    run,
};

/// Objects a second.
const RATE: u64 = 200;
/// Longest time without an object.
const PAUSE_MAX: Nanos = 90 * MS;

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 2, Mode::Reliable);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    setup::stream(world, 0, SECOND, RATE, 200);
    let relay = setup::relays(world)[0];
    let children: Vec<u32> =
        (1..world.hosts.len() as u32).filter(|host| setup::parent(world, *host) == Some(relay)).collect();
    let (since, mut pauses) = (world.now(), Vec::new());
    world.measure.forget_pauses();
    let twice = world.received(&track).1;
    world.stall(relay, 2 * SECOND);
    setup::stream(world, 0, 600 * MS, RATE, 200);
    for host in (1..world.hosts.len() as u32).filter(|host| *host != relay) {
        let pause = world.measure.longest_pause(host);
        if pause > PAUSE_MAX {
            world.violated(&format!("host {host} got nothing for {} ms", pause / MS));
        }
        pauses.push(pause);
    }
    report.set_some("pause_max_ms", percentile(&pauses, 1.0, MS));
    report.set("came_twice", (world.received(&track).1 - twice) as f64);
    for child in &children {
        if setup::parent(world, *child).is_none_or(|parent| parent == relay) {
            world.violated(&format!("host {child} still hangs on a parent that is silent for 0.6 s"));
        }
    }
    world.report_repairs(report, since);
    setup::stream(world, 0, 3 * SECOND, RATE, 200);
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
