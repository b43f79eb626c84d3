//! Real nodes on loopback within the test process.

#![allow(dead_code, missing_docs, reason = "each test binary uses some of it")]

use std::{future::Future, time::Duration};

use banyan_node::{
    Builder, From, Item, Mode, Node, PublishOptions, Publisher, SubscribeOptions, Subscriber, TrackName,
};

/// A node that finds others by bootstrap alone.
pub(crate) fn builder() -> Builder {
    // `RUST_LOG=banyan_node=debug` shows what the nodes do.
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0")
}

/// Its first address, once it listens.
pub(crate) async fn address(node: &Node) -> String {
    eventually("a listening address", async || node.status().await.expect("runs").addresses.first().cloned()).await
}

/// Nodes that join through the first.
pub(crate) async fn mesh(count: usize, configure: impl Fn(usize, Builder) -> Builder) -> Vec<Node> {
    let first = configure(0, builder()).start().await.expect("starts");
    let bootstrap = address(&first).await;
    let mut nodes = vec![first];
    for index in 1..count {
        nodes.push(configure(index, builder().bootstrap(bootstrap.clone())).start().await.expect("starts"));
    }
    nodes
}

/// Polls until there is an answer; fails after half a minute.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..3000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

pub(crate) fn track(name: &str) -> TrackName {
    name.parse().expect("valid")
}

pub(crate) async fn publish(node: &Node, name: &str) -> Publisher {
    node.publish(track(name), PublishOptions { mode: Mode::Reliable, ..PublishOptions::default() })
        .await
        .expect("publishes")
}

pub(crate) async fn subscribe(node: &Node, name: &str) -> Subscriber {
    node.subscribe(track(name), SubscribeOptions { from: From::Oldest }).await.expect("subscribes")
}

/// Waits until this many are attached to the track, as `node` sees it.
pub(crate) async fn attached(node: &Node, name: &str, count: usize) {
    eventually(&format!("{count} attached to {name}"), async || {
        let tree = node.tree(&track(name)).await.ok()?;
        (tree.nodes.iter().filter(|node| node.attached).count() == count).then_some(())
    })
    .await;
}

/// Receives objects until the end; every one must follow the one before.
pub(crate) async fn receive_all(subscriber: &mut Subscriber) -> Vec<bytes::Bytes> {
    let mut objects = Vec::new();
    loop {
        match within("the next object", subscriber.next()).await {
            Item::Object { id, payload } => {
                assert_eq!(id, objects.len() as u64, "objects come in order, none missing, none twice");
                objects.push(payload);
            }
            Item::End(end) => {
                assert_eq!(end, banyan_node::End::Complete);
                return objects;
            }
            Item::OriginLost(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
