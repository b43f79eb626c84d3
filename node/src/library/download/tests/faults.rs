//! Sources that lie, stall, send what they should not, or have no time.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

use super::sim::*;
use crate::library::{
    bitfield::PieceSet,
    download::{Config, Download, Fault, Input, Output, RequestId, SourceState, Why},
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
        (Manners::SendsShort, Fault::Protocol),
    ] {
        let (mut sim, receiver) = world(manners, 1);
        sim.finish(Duration::from_secs(20));
        let node = &sim.nodes[receiver];
        assert_eq!(node.quarantined, [(peer(2), fault)].into(), "{manners:?}");
        println!("{manners:?}: {} wrong pieces", node.corrupt.get(&peer(2)).unwrap_or(&0));
        assert!(node.corrupt.get(&peer(2)).is_none_or(|wrong| *wrong <= 2), "{manners:?}: {:?}", node.corrupt);
        assert!(sim.nodes[2].sent <= 2 * MIB, "{manners:?}: {} bytes", sim.nodes[2].sent);
        // It stays out.
        sim.connect(receiver, 2);
        let progress = sim.nodes[receiver].download.as_ref().expect("it downloads").progress();
        assert_eq!(progress.sources[1].state, SourceState::Quarantined(fault));
        assert_eq!(progress.sources[0].stored_bytes + progress.sources[1].stored_bytes, sim.manifest.bytes());
    }
}

/// Whatever the machine says next.
fn outputs(download: &mut Download, now: Instant) -> Vec<Output> {
    std::iter::from_fn(|| download.poll_output(now)).collect()
}

#[test]
fn a_liar_that_comes_and_goes_is_left_out_after_two_pieces_d6() {
    let now = Instant::now();
    let rng = fastrand::Rng::with_seed(1);
    let mut download = Download::new([1000; 9], PieceSet::empty(9), Config::default(), rng, now);
    let mut sent = 0;
    let mut send = |download: &mut Download| {
        download.handle_input(now, Input::SourceUp { source: peer(1), have: PieceSet::full(9) });
        let (source, request, pieces) = requests(download, now).remove(0);
        let piece = Piece(pieces.start);
        download.handle_input(now, Input::Received { source, request, piece, bytes: 1000 });
        assert!(outputs(download, now).contains(&Output::Store { source, request, piece }));
        sent += 1;
        Input::Corrupt { source, piece }
    };
    // It is gone before, or after, its piece is looked at.
    let corrupt = send(&mut download);
    download.handle_input(now, Input::SourceDown { source: peer(1) });
    download.handle_input(now, corrupt);
    let corrupt = send(&mut download);
    download.handle_input(now, Input::SourceDown { source: peer(1) });
    download.handle_input(now, corrupt);
    let left_out = Output::Quarantine { source: peer(1), fault: Fault::Corrupt };
    assert!(outputs(&mut download, now).contains(&left_out));
    download.handle_input(now, Input::SourceUp { source: peer(1), have: PieceSet::full(9) });
    assert_eq!((requests(&mut download, now).len(), sent), (0, 2));
    assert_eq!(download.progress().sources[0].state, SourceState::Quarantined(Fault::Corrupt));
}

#[test]
fn who_breaks_the_protocol_before_it_says_what_it_has_is_named_and_left_out_d6() {
    let now = Instant::now();
    let rng = fastrand::Rng::with_seed(1);
    let mut download = Download::new([1000; 4], PieceSet::empty(4), Config::default(), rng, now);
    download.handle_input(now, Input::Misbehaved { source: peer(1) });
    let left_out = Output::Quarantine { source: peer(1), fault: Fault::Protocol };
    assert_eq!(outputs(&mut download, now), [left_out]);
    download.handle_input(now, Input::SourceUp { source: peer(1), have: PieceSet::full(4) });
    assert_eq!(requests(&mut download, now), []);
    assert_eq!(download.progress().sources[0].state, SourceState::Quarantined(Fault::Protocol));
}

#[test]
fn a_source_that_stalls_or_is_busy_delays_nothing_d5() {
    for manners in [Manners::Stalls, Manners::Busy, Manners::SendsNothing] {
        let (mut sim, receiver) = world(manners, 1);
        sim.finish(Duration::from_secs(20));
        // 2.15 s at 1 Gbit/s.
        assert!(sim.since_start() <= Duration::from_millis(2_600), "{manners:?}: {:?}", sim.since_start());
        assert!(sim.nodes[receiver].quarantined.is_empty());
    }
}

/// What the machine asks for, as (source, request, pieces).
fn requests(download: &mut Download, now: Instant) -> Vec<(PeerId, RequestId, Range<u32>)> {
    let outputs = std::iter::from_fn(|| download.poll_output(now));
    let requests = outputs.filter_map(|output| match output {
        Output::Request { source, request, pieces } => Some((source, request, pieces)),
        _ => None,
    });
    requests.collect()
}

#[test]
fn what_comes_from_an_earlier_life_of_a_source_is_not_held_against_it_b11() {
    let now = Instant::now();
    let rng = fastrand::Rng::with_seed(1);
    let mut download = Download::new([1000; 4], PieceSet::empty(4), Config::default(), rng, now);
    let up = || Input::SourceUp { source: peer(1), have: PieceSet::full(4) };
    download.handle_input(now, up());
    let before = requests(&mut download, now);
    download.handle_input(now, up());
    let after = requests(&mut download, now);
    let pieces = |requests: &[(_, _, Range<u32>)]| requests.iter().map(|(.., pieces)| pieces.len()).sum::<usize>();
    assert_eq!((pieces(&before), pieces(&after)), (2, 2));
    let received = |request, bytes| Input::Received { source: peer(1), request, piece: Piece(0), bytes };
    download.handle_input(now, received(before[0].1, 500));
    assert_eq!(download.progress().sources[0].outstanding_bytes, 2000);
    // What it never was asked for is.
    download.handle_input(now, received(RequestId(99), 500));
    let outputs: Vec<_> = std::iter::from_fn(|| download.poll_output(now)).collect();
    assert!(outputs.contains(&Output::Quarantine { source: peer(1), fault: Fault::Unasked }), "{outputs:?}");
}

#[test]
fn a_source_that_sends_no_bytes_is_stalled_whatever_it_says_d5() {
    let start = Instant::now();
    let rng = fastrand::Rng::with_seed(1);
    let mut download = Download::new([1000; 4], PieceSet::empty(4), Config::default(), rng, start);
    download.handle_input(start, Input::SourceUp { source: peer(1), have: PieceSet::full(4) });
    let asked = requests(&mut download, start);
    while download.progress().sources[0].state == SourceState::Sending {
        let now = download.poll_timeout().expect("it waits for something");
        assert!(now < start + Duration::from_secs(2), "it is noticed");
        let (_, request, pieces) = asked[0].clone();
        download.handle_input(now, Input::Received { source: peer(1), request, piece: Piece(pieces.start), bytes: 0 });
        download.handle_timeout(now);
    }
    assert_eq!(download.explain(), Why::PeersStalled);
    // Nobody else has it, and it may be on its way: it is not asked for again at once, but soon.
    assert_eq!(download.in_flight_bytes(), 2000);
    while download.in_flight_bytes() > 0 {
        let now = download.poll_timeout().expect("it waits for something");
        assert!(now < start + Duration::from_secs(8), "it is given up");
        download.handle_timeout(now);
    }
}

#[test]
fn a_node_that_was_held_up_itself_blames_nobody_c8() {
    let start = Instant::now();
    let rng = fastrand::Rng::with_seed(1);
    let mut download = Download::new([1000; 4], PieceSet::empty(4), Config::default(), rng, start);
    download.handle_input(start, Input::SourceUp { source: peer(1), have: PieceSet::full(4) });
    requests(&mut download, start);
    download.handle_timeout(start + Duration::from_secs(5));
    assert_eq!(download.progress().sources[0].state, SourceState::Sending);
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
