//! All processes start within a tenth of a second, knowing one or two others, and want the track at once.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cold-crowd",
    claim: "a mesh whose processes all start at once finds together and is fed",
    nodes: 60,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    let configure = setup::configure(params, super::flash_crowd::CAPACITY);
    let host = world.add_host();
    world.start(host, &[], &configure);
    world.publish(host, &track, Mode::Live);
    for index in 1..params.nodes {
        let host = world.add_host();
        let bootstraps = setup::bootstraps(world, host);
        world.start(host, &bootstraps, &configure);
        world.subscribe(host, &track);
        if index % 10 == 0 {
            world.run((100 * MS / params.nodes as u64).max(1) * 10);
        }
    }
    let done = world.run_until(60 * SECOND, |world| world.measure.waiting() == 0);
    if !done {
        world.violated(&format!("{} have no parent a minute after the start", world.measure.waiting()));
    }
    world.report_attach(report, super::flash_crowd::CAPACITY);
    let took = world.settle(&track, 60 * SECOND);
    report.set("settled_s", took as f64 / SECOND as f64);
    world.report_depth(report, super::flash_crowd::CAPACITY);
}
