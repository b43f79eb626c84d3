//! Two nodes in one program: one publishes the seconds, the other prints them.
//!
//! `cargo run -p banyan-node --example clock`

use std::time::Duration;

use banyan_node::{Item, Mode, Node, PublishOptions, SubscribeOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = || Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0");
    let source = builder().start().await?;
    // In real life the second node runs elsewhere and finds the first by mDNS or a host name.
    let address = loop {
        if let Some(address) = source.status().await?.addresses.first() {
            break address.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let sink = builder().bootstrap(address).start().await?;

    let track: banyan_node::TrackName = "demo/clock".parse()?;
    let mut subscriber = sink.subscribe(track.clone(), SubscribeOptions::default()).await?;
    let mut publisher =
        source.publish(track, PublishOptions { mode: Mode::Reliable, ..PublishOptions::default() }).await?;
    tokio::spawn(async move {
        for second in 0..5 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if publisher.send(format!("{second} s").into()).await.is_err() {
                return;
            }
        }
        // Dropping the publisher ends the track.
    });
    loop {
        match subscriber.next().await {
            Item::Object { id, payload } => println!("object {id}: {}", String::from_utf8_lossy(&payload)),
            Item::End(end) => {
                println!("the end: {end:?}");
                break;
            }
            other => println!("{other:?}"),
        }
    }
    sink.shutdown().await;
    source.shutdown().await;
    Ok(())
}
