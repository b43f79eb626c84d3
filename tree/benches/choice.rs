//! What a choice of a parent and a change of a row cost in tables of 1,000 to 100,000 peers, beside
//! the plain way: to read all rows, and to keep none of them in order.
//!
//! `cargo bench -p banyan-tree`

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use banyan_gossip::{
    PeerId, Presence, RelayPolicy, Role, Row, TrackEntry, TrackName,
    op::{Op, SignedOp},
    table::PeerTable,
};
use banyan_tree::{Config, Context, Input, Links, Output, SlotPool, Tree};
use criterion::{BatchSize, BenchmarkId, Criterion};

const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// Children of every inner node.
const FANOUT: u16 = 8;

struct NoLinks;

impl Links for NoLinks {
    fn linked(&self, _: &PeerId) -> bool {
        false
    }

    fn rtt(&self, _: &PeerId) -> Option<Duration> {
        None
    }
}

fn peer(number: u32) -> PeerId {
    let mut key = [0; 32];
    fastrand::Rng::with_seed(u64::from(number)).fill(&mut key);
    PeerId::from_key_bytes(key)
}

fn track() -> TrackName {
    TrackName::new("cam/1").expect("a valid name")
}

/// The row of one of `size` peers that make a tree, full but for its last level.
fn row(number: u32, size: u32, version: u64) -> Row {
    let (mut above, mut depth) = (number, 0);
    while above > 0 {
        (above, depth) = ((above - 1) / u32::from(FANOUT), depth + 1);
    }
    let first_child = number * u32::from(FANOUT) + 1;
    let children = size.saturating_sub(first_child).min(u32::from(FANOUT)) as u16;
    let entry = TrackEntry {
        role: if number == 0 { Role::Origin } else { Role::Member },
        origin: Some(peer(0)),
        epoch: 1,
        depth: Some(depth),
        parent: number.checked_sub(1).map(|before| peer(before / u32::from(FANOUT))),
        children,
        free: FANOUT - children,
        volunteer: false,
    };
    Row {
        peer: peer(number),
        incarnation: 1,
        version,
        presence: Presence::Alive,
        label: None,
        addresses: vec!["/ip4/10.0.0.1/udp/4711/quic-v1".to_owned()],
        tags: BTreeMap::new(),
        capacity: FANOUT,
        free: FANOUT - children,
        relay: RelayPolicy::default(),
        tracks: [(track(), entry)].into(),
        library: None,
    }
}

fn signed(row: Row) -> SignedOp {
    SignedOp::new(Op::Row(row), [0; 64])
}

fn table(size: u32, now: Instant) -> PeerTable {
    let mut table = PeerTable::new(7);
    for number in 0..size {
        table.merge_row(now, signed(row(number, size, 1)));
    }
    table
}

/// The least depth, then the fewest children, of all rows.
fn scan(table: &PeerTable, track: &TrackName) -> Option<PeerId> {
    let followers = table.iter_live().filter_map(|row| Some((row, row.tracks.get(track)?)));
    let able = followers.filter(|(row, entry)| entry.free > 0 && row.free > 0 && entry.depth.is_some());
    able.min_by_key(|(row, entry)| (entry.depth, entry.children, row.peer)).map(|(row, _)| row.peer)
}

/// A node subscribes: it looks for the publication, chooses, and dials.
fn subscribe(tree: &mut Tree, table: &PeerTable, now: Instant) -> PeerId {
    let mut slots = SlotPool::new(FANOUT);
    let mut cx = Context { peers: table, slots: &mut slots, links: &NoLinks };
    tree.handle_input(now, &mut cx, Input::Subscribe);
    let dialled = std::iter::from_fn(|| tree.poll_output()).find_map(|output| match output {
        Output::Connect { peer } => Some(peer),
        _ => None,
    });
    dialled.expect("somebody has a slot")
}

fn choice(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("choice");
    for size in SIZES {
        let table = table(size, now);
        let tree = || Tree::new(peer(u32::MAX), track(), Config::default(), fastrand::Rng::with_seed(1), now);
        group.bench_function(BenchmarkId::new("index", size), |b| {
            b.iter_batched_ref(tree, |tree| subscribe(tree, &table, now), BatchSize::SmallInput);
        });
        let track = track();
        group.bench_function(BenchmarkId::new("scan", size), |b| b.iter(|| scan(black_box(&table), &track)));
    }
}

fn update(c: &mut Criterion) {
    let now = Instant::now();
    let mut group = c.benchmark_group("update");
    for size in SIZES {
        let (mut rng, mut version) = (fastrand::Rng::with_seed(1), 1);
        let mut change = || {
            version += 1;
            let mut row = row(rng.u32(1..size), size, version);
            row.free = rng.u16(..=FANOUT);
            (row.peer, signed(row))
        };
        let mut table = table(size, now);
        group.bench_function(BenchmarkId::new("index", size), |b| {
            b.iter_batched(&mut change, |(_, row)| table.merge_row(now, row), BatchSize::SmallInput);
        });
        let mut plain: BTreeMap<PeerId, SignedOp> = (0..size).map(|n| (peer(n), signed(row(n, size, 1)))).collect();
        group.bench_function(BenchmarkId::new("plain", size), |b| {
            b.iter_batched(&mut change, |(peer, row)| plain.insert(peer, row), BatchSize::SmallInput);
        });
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    choice(&mut criterion);
    update(&mut criterion);
    criterion.final_summary();
}
