//! Half and half, for an hour; each half thinks the other dead.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{measure::Report, queue::SECOND, world::World};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "split",
    claim: "a mesh that was split in halves for an hour is one again ten seconds after healing",
    nodes: 12,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 8, Mode::Live);
    let sides = (0..world.hosts.len()).map(|host| u8::from(host % 2 == 1)).collect();
    world.net.split(sides);
    for _ in 0..12 {
        world.run(300 * SECOND);
        world.publish_object(0, &track, 100);
    }
    world.heal();
    let took = world.settle(&track, 10 * SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    world.report_depth(report, 8);
}
