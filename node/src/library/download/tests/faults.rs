//! Sources that lie, stall, send what they should not, or have no time.

use std::time::Duration;

use super::sim::*;
use crate::library::{
    bitfield::PieceSet,
    download::{Config, Fault, Input, SourceState, Why},
    piece::Piece,
};

/// A receiver, an honest source and one with these manners.
fn world(manners: Manners, seed: u64) -> (Sim, usize) {
    let mut sim = Sim::new(large_file(256), seed);
    let receiver = sim.add_empty(GBIT, 4.0 * GBIT);
    sim.download(receiver, Config::default());
    for manners in [Manners::Honest, manners] {
        let source = sim.add_full(GBIT, GBIT);
        sim.nodes[source].manners = manners;
        sim.connect(receiver, source);
    }
    (sim, receiver)
}

#[test]
fn a_liar_is_named_within_two_pieces_and_left_out_d6() {
    for (manners, fault) in [
        (Manners::Lies, Fault::Corrupt),
        (Manners::Oversends, Fault::Oversent),
        (Manners::SendsUnasked, Fault::Unasked),
    ] {
        let (mut sim, receiver) = world(manners, 1);
        sim.finish(Duration::from_secs(20));
        let node = &sim.nodes[receiver];
        assert_eq!(node.quarantined, [(peer(2), fault)].into(), "{manners:?}");
        println!("{manners:?}: {} wrong pieces", node.corrupt.get(&peer(2)).unwrap_or(&0));
        assert!(node.corrupt.get(&peer(2)).is_none_or(|wrong| *wrong <= 2), "{manners:?}: {:?}", node.corrupt);
        // It stays out.
        sim.connect(receiver, 2);
        let progress = sim.nodes[receiver].download.as_ref().expect("it downloads").progress();
        assert_eq!(progress.sources[1].state, SourceState::Quarantined(fault));
        assert_eq!(progress.sources[0].stored_bytes + progress.sources[1].stored_bytes, sim.manifest.bytes());
    }
}

#[test]
fn a_source_that_stalls_or_is_busy_delays_nothing_d5() {
    for manners in [Manners::Stalls, Manners::Busy] {
        let (mut sim, receiver) = world(manners, 1);
        sim.finish(Duration::from_secs(20));
        // 2.15 s at 1 Gbit/s.
        assert!(sim.since_start() <= Duration::from_millis(2_600), "{manners:?}: {:?}", sim.since_start());
        assert!(sim.nodes[receiver].quarantined.is_empty());
    }
}

#[test]
fn a_job_says_what_it_waits_for_d12() {
    let mut sim = Sim::new(large_file(64), 1);
    let receiver = sim.add_empty(GBIT, GBIT);
    sim.download(receiver, Config::default());
    let why = |sim: &Sim| sim.nodes[receiver].download.as_ref().expect("it downloads").explain();
    assert_eq!(why(&sim), Why::NoSource);
    let source = sim.add_full(GBIT, GBIT);
    sim.nodes[source].manners = Manners::Busy;
    sim.connect(receiver, source);
    sim.run_until(sim.start + Duration::from_millis(50));
    assert_eq!(why(&sim), Why::PeersBusy);
    sim.nodes[source].manners = Manners::Stalls;
    sim.run_until(sim.start + Duration::from_millis(3_000));
    assert_eq!(why(&sim), Why::PeersStalled);
    // It works again: it is asked again by itself.
    sim.nodes[source].manners = Manners::Honest;
    sim.run_to(receiver, 0.5);
    assert_eq!(why(&sim), Why::Sources);
    sim.input(receiver, Input::Pause);
    assert_eq!(why(&sim), Why::Paused);
    sim.input(receiver, Input::Resume);
    sim.finish(Duration::from_secs(30));
    assert_eq!(why(&sim), Why::Complete);
}

#[test]
fn a_resumed_job_fetches_only_what_is_missing_d7() {
    let mut sim = Sim::new(large_file(200), 1);
    let mut have = PieceSet::empty(200);
    (0..150).for_each(|piece| assert!(have.insert(Piece(piece))));
    let receiver = sim.add(have, GBIT, GBIT);
    sim.download(receiver, Config::default());
    let source = sim.add_full(GBIT, GBIT);
    sim.connect(receiver, source);
    sim.finish(Duration::from_secs(20));
    assert_eq!(sim.nodes[source].sent, 50 * MIB);
}

#[test]
fn a_full_disk_pauses_the_job_and_loses_nothing_d7() {
    let (mut sim, receiver) = world(Manners::Honest, 1);
    sim.run_to(receiver, 0.3);
    let download = sim.nodes[receiver].download.as_mut().expect("it downloads");
    // Pieces on their way to the disk, all of which fail.
    let unstored = download.progress().unstored_bytes;
    assert!(unstored <= Config::default().window_bytes);
    sim.input(receiver, Input::Pause);
    let download = sim.nodes[receiver].download.as_ref().expect("it downloads");
    assert_eq!(download.progress().sources.iter().map(|source| source.outstanding_bytes).sum::<u64>(), 0);
    sim.run_until(sim.now + Duration::from_secs(1));
    assert!(!sim.nodes[receiver].have.is_full());
    sim.input(receiver, Input::Resume);
    sim.finish(Duration::from_secs(20));
}

#[test]
fn partial_holders_serve_what_they_have_d5() {
    let mut sim = Sim::new(large_file(300), 1);
    let receiver = sim.add_empty(GBIT, 4.0 * GBIT);
    sim.download(receiver, Config::default());
    for part in 0..3 {
        let mut have = PieceSet::empty(300);
        (part * 100..part * 100 + 100).for_each(|piece| assert!(have.insert(Piece(piece))));
        let source = sim.add(have, GBIT, GBIT);
        sim.connect(receiver, source);
    }
    sim.finish(Duration::from_secs(20));
    // 100 pieces at 1 Gbit/s, three at a time.
    assert!(sim.since_start() <= Duration::from_millis(950), "{:?}", sim.since_start());
}
