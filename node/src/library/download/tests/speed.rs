//! How fast many sources, slow sources and swarms are.

use std::time::Duration;

use super::sim::*;
use crate::library::{
    download::{Config, Why},
    push::{Offers, ahead_bytes},
};

/// A receiver on 4 Gbit/s and sources with these uplinks; all is connected and runs.
fn world(pieces: u32, uplinks: &[f64], seed: u64) -> (Sim, usize) {
    let mut sim = Sim::new(large_file(pieces), seed);
    let receiver = sim.add_empty(4.0 * GBIT, 4.0 * GBIT);
    sim.download(receiver, Config::default());
    for uplink in uplinks {
        let source = sim.add_full(*uplink, 4.0 * GBIT);
        sim.connect(receiver, source);
    }
    (sim, receiver)
}

fn rate(sim: &Sim) -> f64 {
    sim.manifest.bytes() as f64 / sim.since_start().as_secs_f64()
}

fn duplicate_bytes(sim: &Sim, node: usize) -> u64 {
    sim.nodes[node].download.as_ref().expect("it downloads").progress().duplicate_bytes
}

#[test]
fn unequal_sources_add_up_d5() {
    for seed in 0..2 {
        let (mut sim, receiver) = world(2048, &[GBIT, GBIT, GBIT, GBIT / 10.0], seed);
        sim.finish(Duration::from_secs(60));
        println!("{:.2} Gbit/s of 3.1, {} duplicate bytes", rate(&sim) / GBIT, duplicate_bytes(&sim, receiver));
        assert!(rate(&sim) >= 2.9 * GBIT, "{:.2} Gbit/s", rate(&sim) / GBIT);
        assert!(duplicate_bytes(&sim, receiver) <= sim.manifest.bytes() / 100);
    }
}

#[test]
fn one_source_is_never_left_waiting_d5() {
    let (mut sim, _) = world(512, &[GBIT], 1);
    sim.finish(Duration::from_secs(60));
    assert!(rate(&sim) >= 0.97 * GBIT, "{:.2} Gbit/s", rate(&sim) / GBIT);
}

#[test]
fn small_files_cost_no_round_trip_each_d5() {
    let mut sim = Sim::new(small_files(10_000, 16 * 1024), 1);
    let receiver = sim.add_empty(GBIT, 4.0 * GBIT);
    sim.download(receiver, Config::default());
    for _ in 0..2 {
        let source = sim.add_full(GBIT, GBIT);
        sim.connect(receiver, source);
    }
    sim.finish(Duration::from_secs(60));
    println!("{:.2} Gbit/s of 2", rate(&sim) / GBIT);
    assert!(rate(&sim) >= 1.7 * GBIT, "{:.2} Gbit/s", rate(&sim) / GBIT);
}

#[test]
fn a_source_that_is_killed_makes_no_pause_d5() {
    for (silent, seed) in [(false, 1), (true, 2)] {
        let (mut sim, receiver) = world(1024, &[GBIT, GBIT], seed);
        sim.run_to(receiver, 0.5);
        sim.nodes[1].alive = false;
        if !silent {
            sim.disconnect(receiver, 1);
        }
        sim.finish(Duration::from_secs(60));
        let pause = sim.nodes[receiver].longest_pause;
        println!("longest pause {pause:?}, done after {:?}", sim.since_start());
        assert!(pause <= Duration::from_millis(500), "{pause:?}");
        // Half at 2 Gbit/s, half at 1 Gbit/s: 2.15 s and 4.29 s.
        assert!(sim.since_start() <= Duration::from_secs(7), "{:?}", sim.since_start());
    }
}

#[test]
fn a_source_that_becomes_slow_does_not_hold_up_the_end_d5() {
    for (share, seed) in [(0.5, 1), (0.97, 2), (0.985, 3), (0.995, 4)] {
        let (mut sim, receiver) = world(2048, &[GBIT, GBIT, GBIT, GBIT], seed);
        sim.run_to(receiver, share);
        sim.nodes[1].up = 50e3;
        sim.finish(Duration::from_secs(60));
        let end = sim.now - sim.nodes[receiver].nearly.expect("it is done");
        println!(
            "at {share}: last 1 % {end:?} of {:?}, {} duplicate bytes",
            sim.since_start(),
            duplicate_bytes(&sim, receiver)
        );
        assert!(end <= sim.since_start() / 50 + Duration::from_secs(1), "{end:?} of {:?}", sim.since_start());
        assert!(duplicate_bytes(&sim, receiver) <= sim.manifest.bytes() / 100);
    }
}

/// Pushes a package to twenty nodes on 1 Gbit/s. Returns the times of one copy that it took, and the sizes that the
/// source sent.
fn push_to_twenty(pieces: u32, uplink: f64) -> (f64, f64) {
    let mut sim = Sim::new(large_file(pieces), 1);
    let source = sim.add_full(uplink, GBIT);
    let ahead = ahead_bytes(sim.manifest.bytes(), 20);
    let mut offers = Offers::new(sim.manifest.piece_sizes(), ahead, []);
    for node in 1..=20 {
        sim.add_empty(GBIT, GBIT);
        sim.download(node, Config::default());
        offers.handle_up(sim.now, peer(node), sim.nodes[node].have.clone());
    }
    sim.nodes[source].offers = Some(offers);
    for node in 1..=20 {
        (0..=20).filter(|other| *other != node).for_each(|other| sim.connect(node, other));
    }
    sim.offer(source);
    sim.finish(Duration::from_secs(60));
    assert_eq!(sim.nodes[source].offers.as_ref().map(Offers::complete), Some((20, 20)));
    let one_copy = sim.manifest.bytes() as f64 / uplink;
    let time = sim.since_start().as_secs_f64() / one_copy;
    let sent = sim.nodes[source].sent as f64 / sim.manifest.bytes() as f64;
    let twice: u64 = (1..=20).map(|node| duplicate_bytes(&sim, node)).sum();
    println!(
        "last of 20 done after {time:.2} × one copy, the source sent {sent:.2} × the size, {} MiB twice",
        twice / MIB
    );
    (time, sent)
}

#[test]
fn a_pushed_package_reaches_twenty_nodes_in_little_more_than_the_time_of_one_copy_d5() {
    for (pieces, uplink) in [(400, GBIT), (128, GBIT / 12.5)] {
        let (time, sent) = push_to_twenty(pieces, uplink);
        assert!(time <= 1.4, "{time:.2} × one copy");
        assert!(sent <= 1.3, "{sent:.2} × the size");
    }
}

#[test]
fn a_slow_disk_holds_up_the_wire_and_is_named_d12() {
    let (mut sim, receiver) = world(256, &[GBIT, GBIT], 1);
    sim.nodes[receiver].disk = GBIT / 4.0;
    sim.run_to(receiver, 0.5);
    let download = sim.nodes[receiver].download.as_ref().expect("it downloads");
    assert_eq!(download.explain(), Why::Disk);
    sim.finish(Duration::from_secs(60));
    assert!(rate(&sim) >= 0.24 * GBIT, "{:.2} Gbit/s", rate(&sim) / GBIT);
}
