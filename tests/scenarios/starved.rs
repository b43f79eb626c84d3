//! Every tenth node stands still again and again, for up to three seconds.

use banyan_node::relay::Mode;

use super::{Params, Scenario, setup};
use crate::{
    measure::Report,
    queue::{MS, SECOND},
    world::World,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "starved",
    claim: "nobody is declared dead for being slow: an hour in which every tenth node gets no time for seconds",
    nodes: 20,
    run,
};

fn run(world: &mut World, params: &Params, report: &mut Report) {
    let track = setup::tree(world, params, 8, Mode::Live);
    let count = world.hosts.len() as u32;
    let starved: Vec<u32> = (0..count).filter(|host| host % 10 == 5).collect();
    let minutes = if params.nodes >= 100 { 60 } else { 10 };
    let end = world.now() + minutes * 60 * SECOND;
    while world.now() < end {
        let host = starved[world.rng.usize(..starved.len())];
        let time = world.rng.u64(100 * MS..3_000 * MS);
        if world.is_awake(host) {
            world.stall(host, time);
        }
        let pause = world.rng.u64(..4 * SECOND / starved.len() as u64);
        world.run(pause);
    }
    report.set("false_deaths", world.false_deaths() as f64);
    report.set("suspected", world.measure.suspected as f64);
    if world.false_deaths() > 0 {
        world.violated(&format!("{} times somebody thought a starved node dead", world.false_deaths()));
    }
    world.settle(&track, 30 * SECOND);
}
