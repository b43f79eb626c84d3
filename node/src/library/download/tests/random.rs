//! Anything may happen, as long as one honest source stays.

use std::time::Duration;

use proptest::prelude::*;

use super::sim::*;
use crate::library::{bitfield::PieceSet, download::Config, piece::Piece};

const MANNERS: [Manners; 8] = [
    Manners::Honest,
    Manners::Lies,
    Manners::Oversends,
    Manners::SendsUnasked,
    Manners::SendsShort,
    Manners::Stalls,
    Manners::Busy,
    Manners::SendsNothing,
];

/// What is checked at each step is in the simulation: bounds, and that each piece is stored once.
fn any_schedule(seed: u64) {
    let rng = &mut fastrand::Rng::with_seed(seed);
    let pieces = rng.u32(2..80);
    let manifest = if rng.bool() { large_file(pieces) } else { small_files(pieces, rng.u64(1..=MIB)) };
    let mut sim = Sim::new(manifest, seed);
    let rate = |rng: &mut fastrand::Rng| GBIT * 10f64.powf(-3.0 * rng.f64());
    let receivers = rng.usize(1..4);
    for node in 0..receivers {
        let have = (0..pieces).filter(|_| rng.u8(0..4) == 0);
        let mut set = PieceSet::empty(pieces);
        have.for_each(|piece| assert!(set.insert(Piece(piece))));
        sim.add(set, rate(rng), rate(rng));
        sim.nodes[node].disk = rate(rng);
        let window_bytes = rng.u64(1..64) * MIB;
        sim.download(node, Config { window_bytes, ..Config::default() });
    }
    let honest = sim.add_full(rate(rng), GBIT);
    for _ in 0..rng.usize(0..5) {
        let source = sim.add_full(rate(rng), GBIT);
        sim.nodes[source].manners = MANNERS[rng.usize(0..MANNERS.len())];
    }
    let nodes = sim.nodes.len();
    for node in 0..receivers {
        (0..nodes).filter(|other| *other != node).for_each(|other| sim.connect(node, other));
    }
    for _ in 0..rng.usize(0..20) {
        let other = rng.usize(0..nodes);
        let receiver = rng.usize(0..receivers);
        match rng.u8(0..4) {
            _ if other == honest || other == receiver => {}
            0 => sim.nodes[other].up = rate(rng),
            1 => sim.disconnect(receiver, other),
            2 => sim.connect(receiver, other),
            _ if other >= receivers => sim.nodes[other].manners = MANNERS[rng.usize(0..MANNERS.len())],
            _ => {}
        }
        let wait = Duration::from_secs_f64(rng.f64() * 2.0);
        sim.run_until(sim.now + wait);
    }
    sim.finish(Duration::from_secs(7_200));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_job_always_ends_while_one_honest_source_stays_d5(seed in any::<u64>()) {
        any_schedule(seed);
    }
}
