//! Whatever one member says of its depth, its capacity, its path or its incarnation, the others are fed.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    liar::LIES,
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "liar",
    claim: "a member that lies about depth, capacity, path or incarnation delays others, and keeps nobody from the stream",
    nodes: 16,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    setup::mesh(world, params, 3);
    let track = setup::track();
    let liar = params.nodes as u32 - 1;
    let lie = LIES[params.seed as usize % LIES.len()];
    assert!(world.publish(0, &track, Mode::Live), "host 0 publishes");
    world.run(100 * MS);
    world.corrupt(liar, lie, &track);
    for host in 1..liar {
        world.subscribe(host, &track);
    }
    for _ in 0..100 {
        setup::stream(world, 0, 100 * MS, 20, 100);
        world.lie(liar);
    }
    world.report_attach(report, 3);
    // A relay dies while the liar offers itself.
    let relay = setup::relays(world)[0];
    world.crash(relay);
    for _ in 0..100 {
        setup::stream(world, 0, 100 * MS, 20, 100);
        world.lie(liar);
    }
    if let Err(what) = world.one_tree(&track) {
        world.violated(&format!("ten seconds after a crash, beside a liar about {lie:?}: {what}"));
    }
    let epoch = world.epoch(0, &track).expect("host 0 publishes");
    world.run(SECOND);
    for host in (1..liar).filter(|host| *host != relay) {
        world.demand_complete(host, &track, epoch);
    }
    report.set("missed", world.ledger().missed as f64);
    if world.false_deaths() > 0 {
        report.set("false_deaths", world.false_deaths() as f64);
    }
}
