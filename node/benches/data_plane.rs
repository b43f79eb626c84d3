//! What an object costs in each pure part that it passes: the frame, the ring and its readers, the scheduler
//! of typed streams; and what a row of the table costs to encode and to decode.
//!
//! `cargo bench -p banyan-node`

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use banyan_gossip::{PeerId, Presence, RelayPolicy, Row};
use banyan_node::{
    Mode,
    relay::{
        Decoder, Pull, Start, Track, TrackConfig, frame,
        track::{Read, ReaderKind},
    },
    streams::drr::Drr,
};
use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};

const SIZES: [usize; 3] = [64, 1024, 64 * 1024];
/// Children of a relay.
const CHILDREN: usize = 3;

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for size in SIZES {
        let payload = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("encode", size), &payload, |bench, payload| {
            bench.iter(|| frame::chunks(1, black_box(payload)).map(|chunk| chunk.wire.len()).sum::<usize>());
        });
        let wire: Vec<u8> = frame::chunks(1, &payload).flat_map(|chunk| chunk.wire.to_vec()).collect();
        group.bench_with_input(BenchmarkId::new("decode", size), &wire, |bench, wire| {
            bench.iter_batched_ref(
                || BytesMut::from(&wire[..]),
                |buffer| Decoder::default().decode(buffer).expect("a frame"),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A block of 64 small objects is read, goes into a full ring and out to each child, which acknowledges it: in runs, and
/// object by object.
fn runs(criterion: &mut Criterion) {
    const OBJECTS: u64 = 64;
    let mut group = criterion.benchmark_group("block");
    for size in [64, 1024] {
        for (name, runs) in [("runs", true), ("singles", false)] {
            let (now, payload) = (Instant::now(), vec![7; size]);
            let mut track = Track::new(TrackConfig::default(), Mode::Reliable, 0);
            let readers: Vec<_> =
                (0..CHILDREN).map(|_| track.open_reader(now, ReaderKind::Child, Start::Oldest).0).collect();
            let (mut next, mut pull) = (0, Pull::new(1));
            group.throughput(Throughput::Elements(OBJECTS));
            group.bench_function(BenchmarkId::new(name, size), |bench| {
                let block = || {
                    let mut block = BytesMut::with_capacity(OBJECTS as usize * (size + frame::HEADER_BYTES));
                    (next..next + OBJECTS).for_each(|id| {
                        frame::chunks(id, &payload).for_each(|chunk| block.extend_from_slice(&chunk.wire));
                    });
                    next += OBJECTS;
                    block
                };
                let pass = |mut block: BytesMut| {
                    let mut decoder = if runs { Decoder::with_runs() } else { Decoder::default() };
                    while let Some(frame) = decoder.decode(&mut block).expect("frames") {
                        pull.take(now, &mut track, frame).expect("it follows");
                    }
                    for reader in &readers {
                        while let Read::Frame(frame) = track.read(*reader) {
                            black_box(frame);
                        }
                        track.ack(now, *reader, track.newest());
                    }
                };
                bench.iter_batched(block, pass, criterion::BatchSize::NumIterations(1));
            });
        }
    }
    group.finish();
}

/// An object goes into a full ring and out to each child, which acknowledges it.
fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    for size in SIZES {
        let (now, payload) = (Instant::now(), vec![7; size]);
        let mut track = Track::new_origin(TrackConfig::default(), Mode::Reliable);
        let readers: Vec<_> =
            (0..CHILDREN).map(|_| track.open_reader(now, ReaderKind::Child, Start::Oldest).0).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("pass", size), |bench| {
            bench.iter(|| {
                let id = track.publish(now, &payload);
                for reader in &readers {
                    while let Read::Frame(frame) = track.read(*reader) {
                        black_box(frame);
                    }
                    track.ack(now, *reader, id + 1);
                }
            });
        });
    }
    group.finish();
}

fn scheduler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    for streams in [1usize, 16, 256] {
        let mut drr = Drr::default();
        for (stream, weight) in (0..streams).zip([1, 2, 4].into_iter().cycle()) {
            drr.push(stream, weight);
        }
        group.bench_function(BenchmarkId::new("next", streams), |bench| {
            bench.iter(|| drr.next(|_| Some(black_box(1024))));
        });
    }
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let row = Row {
        peer: PeerId::from_key_bytes([7; 32]),
        incarnation: 1,
        version: 2,
        presence: Presence::Alive,
        label: None,
        addresses: vec!["/ip4/10.0.0.1/udp/4711/quic-v1".to_owned()],
        tags: BTreeMap::from([("site".to_owned(), "north".to_owned())]),
        capacity: 8,
        free: 3,
        relay: RelayPolicy::default(),
        tracks: BTreeMap::new(),
        library: None,
    };
    let encode = |row: &Row| {
        let mut cbor = Vec::with_capacity(256);
        ciborium::into_writer(row, &mut cbor).expect("writing to memory does not fail");
        cbor
    };
    let cbor = encode(&row);
    let mut group = criterion.benchmark_group("row");
    group.throughput(Throughput::Bytes(cbor.len() as u64));
    group.bench_function("encode", |bench| bench.iter(|| encode(black_box(&row))));
    group.bench_function("decode", |bench| {
        bench.iter(|| ciborium::from_reader::<Row, _>(black_box(&cbor[..])).expect("a row"));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    frames(&mut criterion);
    ring(&mut criterion);
    runs(&mut criterion);
    scheduler(&mut criterion);
    rows(&mut criterion);
    criterion.final_summary();
}
