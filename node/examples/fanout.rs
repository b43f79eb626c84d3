//! How fast one publisher reaches N subscribers on this machine, every node with its own sockets
//! and its own runtime of one thread.
//!
//! `cargo run --release -p banyan-node --example fanout -- [nodes] [object bytes] [seconds] [capacity] [1: unsigned]`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use banyan_node::{Builder, From, Integrity, Item, Mode, Node, PublishOptions, SubscribeOptions, TrackName};
use bytes::Bytes;

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let argument = |index: usize, default| arguments.get(index).copied().unwrap_or(default);
    let (nodes, size, seconds, capacity) = (argument(0, 8), argument(1, 16 * 1024), argument(2, 5), argument(3, 3));
    let unsigned = argument(4, 0);
    let track: TrackName = "bench/fanout".parse().expect("valid");
    let builder = move || {
        let capacity = u16::try_from(capacity).expect("small");
        Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").capacity(capacity).root_slots(capacity)
    };
    let delivered = Arc::new(AtomicU64::new(0));

    runtime().block_on(async {
        let source = builder().start().await.expect("starts");
        let address = loop {
            if let Some(address) = source.status().await.expect("runs").addresses.first() {
                break address.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let integrity = if unsigned > 0 { Integrity::None } else { Integrity::Signed };
        let options = PublishOptions { mode: Mode::Reliable, integrity };
        let mut publisher =
            source.publish(track.clone(), options).await.expect("publishes");
        for _ in 0..nodes {
            receiver(builder().bootstrap(address.clone()), track.clone(), Arc::clone(&delivered));
        }
        while source.tree(&track).await.map_or(0, |tree| tree.nodes.iter().filter(|node| node.attached).count()) <= nodes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let object = Bytes::from(vec![7; size]);
        let (start, mut sent) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_secs(seconds as u64) {
            publisher.send(object.clone()).await.expect("sends");
            sent += 1;
        }
        while delivered.load(Ordering::Relaxed) < sent * nodes as u64 && start.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = start.elapsed().as_secs_f64();
        let delivered = delivered.load(Ordering::Relaxed);
        let mebibytes = (delivered * size as u64) as f64 / 1024.0 / 1024.0;
        println!(
            "{nodes} receivers, {size} B objects: {:.0} objects/s each, {:.0} MiB/s in all, {delivered} of {} delivered",
            sent as f64 / took,
            mebibytes / took,
            sent * nodes as u64,
        );
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn receiver(builder: Builder, track: TrackName, delivered: Arc<AtomicU64>) {
    let (subscribed, ready) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            let node = builder.start().await.expect("starts");
            let mut subscriber =
                node.subscribe(track, SubscribeOptions { from: From::Oldest }).await.expect("subscribes");
            subscribed.send(()).expect("somebody waits");
            loop {
                match subscriber.next().await {
                    Item::Object { .. } => drop(delivered.fetch_add(1, Ordering::Relaxed)),
                    Item::End(_) => return,
                    Item::Gap { from, to } => eprintln!("gap {from}..{to}"),
                    _ => {}
                }
            }
        });
    });
    ready.recv().expect("it starts");
}
