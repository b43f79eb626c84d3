//! A hundred thousand nodes come and go, each with an identity of its own; memory is back where it was.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "churn",
    claim: "unique nodes that come and go leave nothing behind: tables are back where they were",
    nodes: 8,
    run,
};

/// Visitors of one run of a test, and of a long run (`--nodes` above 16).
const VISITORS: (u32, u32) = (400, 100_000);

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let stay = params.nodes.min(16);
    let visitors = if params.nodes > 16 { VISITORS.1 } else { VISITORS.0 };
    let track = setup::tree(world, &Params { nodes: stay, ..params.clone() }, 8, Mode::Live);
    let held = |world: &World| world.running().map(|(_, mesh)| mesh.table().len()).max().unwrap_or(0);
    let before = held(world);
    let mut most = 0;
    let configure = setup::configure(params, 2);
    for visitor in 0..visitors {
        let host = world.add_host();
        let bootstraps = (0..2).map(|_| world.rng.u32(..stay as u32)).collect::<Vec<_>>();
        world.start(host, &bootstraps, &configure);
        world.run(30 * MS);
        if visitor % 2 == 0 {
            world.leave(host);
        } else {
            world.crash(host);
        }
        world.run(10 * MS);
        if visitor % 100 == 0 {
            world.check_bounds();
            most = most.max(held(world));
        }
    }
    // Suspicions run out, then tombstones: the last are learnt from others when half their life is over.
    world.run(24 * 60 * SECOND);
    report.set("visitors", f64::from(visitors));
    report.set("entries_before", before as f64);
    report.set("entries_most", most as f64);
    report.set("entries_after", held(world) as f64);
    if held(world) > before {
        world.violated(&format!("tables held {before} entries and hold {} after all visitors are gone", held(world)));
    }
    world.settle(&track, 10 * SECOND);
}
