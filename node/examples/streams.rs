//! How fast one typed stream carries messages between two nodes on this machine, each with its own sockets
//! and its own runtime of one thread.
//!
//! `cargo run --release -p banyan-node --example streams -- [message bytes] [messages a batch] [seconds]`
//!
//! Without arguments: 1 KiB messages one by one, then 64 B messages in batches of 100; both reliable, with
//! default settings.

use std::{
    collections::VecDeque,
    thread,
    time::{Duration, Instant},
};

use banyan_node::{
    Node, PeerId,
    streams::{CloseBehavior, StreamConfig, StreamId},
};
use bytes::Bytes;
use tokio::sync::oneshot;

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let seconds = arguments.get(2).copied().unwrap_or(5);
    match arguments[..] {
        [size] => measure(size, 1, seconds),
        [size, batch, ..] => measure(size, batch, seconds),
        [] => {
            measure(1024, 1, seconds);
            measure(1024, 100, seconds);
            measure(64, 100, seconds);
        }
    }
}

fn measure(size: usize, batch: usize, seconds: usize) {
    let (joined, ready) = oneshot::channel();
    let (counted, count) = oneshot::channel();
    runtime().block_on(async {
        let source = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").start().await.expect("starts");
        let address = loop {
            if let Some(address) = source.status().await.expect("runs").addresses.first() {
                break address.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        thread::spawn(move || runtime().block_on(receive(address, joined, counted)));
        let peer = source.peer(ready.await.expect("it joins"));
        let stream = loop {
            match peer.open_stream(StreamId(1), StreamConfig::default()).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let message = Bytes::from(vec![7; size]);
        let (start, mut sent) = (Instant::now(), 0u64);
        while start.elapsed() < Duration::from_secs(seconds as u64) {
            if batch == 1 {
                stream.send(message.clone()).await.expect("sends");
            } else {
                let mut messages: VecDeque<Bytes> = (0..batch).map(|_| message.clone()).collect();
                stream.send_all(&mut messages).await.expect("sends");
            }
            sent += batch as u64;
        }
        let stats = stream.stats().expect("is open");
        stream.close(CloseBehavior::DrainThenClose).await.expect("everything arrives");
        let took = start.elapsed().as_secs_f64();
        let received = count.await.expect("it counts");
        println!(
            "{size} B in batches of {batch}: {:.0} MB/s, {:.0} messages/s; {received} of {sent} received; \
             backpressure {} times, {} grants",
            (received * size as u64) as f64 / took / 1e6,
            received as f64 / took,
            stats.backpressure_events,
            stats.grants_received,
        );
    });
}

async fn receive(address: String, joined: oneshot::Sender<PeerId>, counted: oneshot::Sender<u64>) {
    let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").bootstrap(address);
    let node = builder.start().await.expect("starts");
    while node.status().await.expect("runs").links == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    joined.send(node.peer_id()).expect("somebody waits");
    let stream = node.accept_stream().await.expect("one comes");
    let (mut messages, mut received) = (Vec::new(), 0);
    while let Ok(1..) = stream.recv_many(&mut messages, 1024).await {
        received += messages.len() as u64;
        messages.clear();
    }
    counted.send(received).expect("somebody waits");
    node.shutdown().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
