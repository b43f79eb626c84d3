//! Three nodes in one program: a relay leaves, and the node below it says what happened and why.
//!
//! `cargo run -p banyan-node --example watch`

use std::time::Duration;

use banyan_node::{
    Node, PublishOptions, Since, SubscribeOptions, TrackName,
    views::{Event, why::Why},
};
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = |label: &str| {
        Ok::<_, Box<dyn std::error::Error>>(
            Node::builder().label(label.parse()?).mdns(false).listen("/ip4/127.0.0.1/tcp/0"),
        )
    };
    // It feeds one node only, so that the other is fed by that one.
    let origin = builder("origin")?.root_slots(1).start().await?;
    let address = loop {
        if let Some(address) = origin.status().await?.addresses.first() {
            break address.clone();
        }
        sleep(Duration::from_millis(10)).await;
    };
    let track: TrackName = "demo/ticks".parse()?;
    let mut publisher = origin.publish(track.clone(), PublishOptions::default()).await?;
    tokio::spawn(async move {
        while publisher.send("tick".into()).await.is_ok() {
            sleep(Duration::from_millis(20)).await
        }
    });

    let mut nodes = Vec::new();
    for label in ["relay", "leaf"] {
        let node = builder(label)?.bootstrap(&address).start().await?;
        let mut subscriber = node.subscribe(track.clone(), SubscribeOptions::default()).await?;
        subscriber.next().await;
        tokio::spawn(async move { while !matches!(subscriber.next().await, banyan_node::Item::End(_)) {} });
        nodes.push(node);
    }
    let leaf = nodes.pop().expect("it was pushed last");
    let relay = nodes.pop().expect("and this one before");

    if let Why::Track(why) = leaf.why(track.as_str()).await? {
        let parent = why.parent.and_then(|parent| parent.label).unwrap_or_default();
        println!("the leaf is fed by {parent} at depth {:?}; it could also be by:", why.depth);
        for candidate in why.candidates.iter().filter(|candidate| candidate.verdict != "parent") {
            println!("  {}: {}", candidate.peer.label.as_deref().unwrap_or("?"), candidate.reason);
        }
    }

    // From now on; what happened before could be had with `Since::Oldest` or `Since::Ago`.
    let mut events = leaf.events_since(Since::Now);
    relay.shutdown().await;
    let repaired = async {
        while let Some(event) = events.next().await {
            println!("{:>6} ms  {}", event.at_ms, event.event.kind());
            if matches!(event.event, Event::ParentChanged { .. }) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(10), repaired).await?;
    for repair in leaf.repairs().await?.repairs {
        println!("repair of {}: {}, attached again after {:?} ms", repair.track, repair.cause, repair.attach_ms);
    }
    leaf.shutdown().await;
    origin.shutdown().await;
    Ok(())
}
