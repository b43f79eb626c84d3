//! Origin, one, two, three in a chain; then one dies. A planner that looks for the shallowest free slot without looking at subtrees hangs two below three.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "chain-of-four",
    claim: "the orphans of a chain whose head dies re-attach without ever hanging below themselves",
    nodes: 4,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::track();
    let configure = setup::configure(params, 1);
    for _ in 0..params.nodes.max(4) {
        let host = world.add_host();
        let bootstraps = setup::bootstraps(world, host);
        world.start(host, &bootstraps, &configure);
    }
    assert!(world.run_until(20 * SECOND, |world| world.tables_equal().is_ok()), "a common table");
    setup::follow_all(world, Mode::Live, 100 * MS);
    world.settle(&track, 30 * SECOND);
    for _ in 0..10 {
        setup::stream(world, 0, SECOND, 20, 100);
        let head = (1..world.hosts.len() as u32).find(|host| setup::parent(world, *host) == Some(0));
        let head = head.expect("somebody is fed by the origin");
        let since = world.now();
        world.crash(head);
        setup::stream(world, 0, SECOND, 20, 100);
        world.report_repairs(report, since);
        world.one_tree(&track).unwrap_or_else(|what| world.violated(&what));
        world.revive(head, &track, &configure);
        world.settle(&track, 20 * SECOND);
    }
    let (loops, _) = world.loops();
    report.set("loops", loops as f64);
    report.set("missed", world.ledger().missed as f64);
    if loops + world.ledger().missed > 0 {
        world.violated(&format!("{loops} loops, {} objects missed", world.ledger().missed));
    }
}
