//! Two branches lose their tops at the same instant, and all that is left for either is the other.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-orphans",
    claim: "two orphans that choose each other at once do not end below each other",
    nodes: 8,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 2, Mode::Live);
    for _ in 0..20 {
        // The origin's children die together: their children are orphans at the same moment, and most
        // of what each of them knows with a free slot is below the other.
        let tops: Vec<u32> =
            (1..world.hosts.len() as u32).filter(|host| setup::parent(world, *host) == Some(0)).collect();
        for top in &tops {
            world.crash(*top);
        }
        setup::stream(world, 0, 500 * MS, 20, 100);
        for top in tops {
            world.revive(top, &track, &setup::configure(params, 2));
        }
        world.settle(&track, 20 * SECOND);
    }
    let (loops, longest) = world.loops();
    report.set("loops", loops as f64);
    report.set("longest_loop_ms", longest as f64 / MS as f64);
    report.set("missed", world.ledger().missed as f64);
}
