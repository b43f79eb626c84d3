//! All slots are taken; then there is one more.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "full-mesh",
    claim: "a joiner that finds every slot taken says so, keeps trying, and attaches when one opens",
    nodes: 10,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    let last = params.nodes as u32 - 1;
    for index in 0..params.nodes {
        let host = world.add_host();
        let bootstraps = setup::bootstraps(world, host);
        // The origin alone has slots; two of them are kept for repairs.
        let capacity = if index == 0 { params.nodes as u16 } else { 0 };
        world.start(host, &bootstraps, setup::configure(params, capacity));
    }
    if !world.run_until(30 * SECOND, |world| world.tables_equal().is_ok()) {
        world.violated("no common table");
    }
    assert!(world.publish(0, &track, Mode::Live), "host 0 publishes");
    world.run(100 * MS);
    for host in 1..=last {
        world.subscribe(host, &track);
    }
    world.run(60 * SECOND);
    if world.measure.waiting() != 1 {
        world.violated(&format!("{} hosts wait for the one slot that is lacking", world.measure.waiting()));
    }
    let states = world.running().filter_map(|(_, mesh)| Some(mesh.tree(&track)?.state().to_string()));
    let states: Vec<String> = states.collect();
    if !states.iter().any(|state| state.contains("every slot is taken")) {
        world.violated(&format!("nobody says that every slot is taken: {states:?} (A13)"));
    }
    world.with_mesh(0, |mesh, now| mesh.set_capacity(now, params.nodes as u16 + 1));
    let since = world.now();
    if !world.run_until(8 * SECOND, |world| world.measure.waiting() == 0) {
        world.violated("a slot opened and nobody took it (A13)");
    }
    report.set("took_ms", (world.now() - since) as f64 / MS as f64);
}
