//! A crowd without capacity joins beside a few that have some.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "capacity-zero",
    claim: "nodes that feed nobody are fed, as far as the others have slots, and nobody is ever fed through them",
    nodes: 24,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    // A third has four slots each: enough for everyone.
    for index in 0..params.nodes {
        let host = world.add_host();
        let bootstraps = setup::bootstraps(world, host);
        let capacity = if index % 3 == 0 { 4 } else { 0 };
        world.start(host, &bootstraps, setup::configure(params, capacity));
        world.run(5 * MS);
    }
    if !world.run_until(30 * SECOND, |world| world.tables_equal().is_ok()) {
        world.violated("no common table");
    }
    setup::follow_all(world, Mode::Live, 50 * MS);
    let took = world.settle(&track, 20 * SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    world.report_attach(report, 4);
    for (host, mesh) in world.running() {
        let fed = mesh.trees().map(|(_, tree)| tree.children().count()).sum::<usize>();
        if fed > 0 && mesh.slots().capacity() == 0 {
            world.violated(&format!("host {host} offers nothing and feeds {fed}"));
        }
    }
}
