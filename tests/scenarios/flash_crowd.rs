//! A thousand nodes want a track within a tenth of a second, and all have it within a second.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "flash-crowd",
    claim: "a crowd that wants a track at once is attached within a second, in few tries, in a flat tree",
    nodes: 60,
    run,
};

/// Slots of each node.
pub(super) const CAPACITY: u16 = 8;

fn run(world: &mut World, params: &Params, report: &mut Report) {
    setup::mesh(world, params, CAPACITY);
    let (before, since) = (world.traffic(), world.now());
    setup::follow_all(world, Mode::Live, 100 * MS);
    let track = setup::track();
    let waited = world.run_until(20 * SECOND, |world| world.measure.waiting() == 0);
    if !waited {
        world.violated(&format!("{} of the crowd have no parent after 20 s", world.measure.waiting()));
    }
    world.report_attach(report, CAPACITY);
    world.report_traffic(report, "busy", before, since);
    world.settle(&track, 30 * SECOND);
    world.report_depth(report, CAPACITY);
    // Whoever sees a part of the mesh asks more often, and sees less of its top.
    let in_part = params.table_rows.is_some_and(|rows| rows < params.nodes);
    let (tries, levels) = if in_part { (8.0, 2.0) } else { (4.0, 1.0) };
    super::demand(world, report, "attach_p99_ms", 1_000.0);
    super::demand(world, report, "tries_mean", tries);
    let optimum = report.get("depth_optimum").unwrap_or(0.0);
    super::demand(world, report, "depth_max", optimum + levels);
}
