//! The way between a relay and its parent comes and goes once a second, for a minute.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "flapping-link",
    claim: "a link that comes and goes does not make the tree restless",
    nodes: 12,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 3, Mode::Reliable);
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    let relay = setup::relays(world)[0];
    let parent = setup::parent(world, relay).expect("it is fed");
    let before = world.measure.repaired;
    for _ in 0..60 {
        world.net.cut(relay, parent);
        world.net.cut(parent, relay);
        setup::stream(world, 0, 700 * MS, 20, 100);
        world.heal();
        setup::stream(world, 0, 300 * MS, 20, 100);
    }
    let repairs = world.measure.repaired - before;
    report.set("repairs", repairs as f64);
    world.settle(&track, 20 * SECOND);
    setup::stream(world, 0, SECOND, 20, 100);
    world.run(SECOND);
    for host in 1..world.hosts.len() as u32 {
        world.demand_complete(host, &track, epoch);
    }
    // Whoever was repaired once hangs elsewhere: the link does not matter to it any more.
    if repairs > 20 || world.ledger().missed > 0 {
        world.violated(&format!("{repairs} repairs for one bad link, {} objects missed", world.ledger().missed));
    }
}
