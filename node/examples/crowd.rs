//! Many nodes in one program, all of which follow one track, and the socket of one of them to look at.
//!
//! `cargo run --release -p banyan-node --example crowd -- 200 /tmp/crowd.sock`, then in another terminal
//! `banyan status --socket /tmp/crowd.sock`, `banyan tree demo/crowd --socket /tmp/crowd.sock`, … Ctrl-C ends it.

use std::{
    env,
    time::{Duration, Instant},
};

use banyan_node::{
    Item, Node, PublishOptions, SubscribeOptions, TrackName,
    api::{self, socket::Socket},
};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args().skip(1);
    let count: usize = words.next().unwrap_or_else(|| "200".to_owned()).parse()?;
    let path = words.next().unwrap_or_else(|| "/tmp/crowd.sock".to_owned());
    let builder = |nth: usize| {
        let label = format!("n{nth}").parse().expect("letters and digits");
        Node::builder().label(label).mdns(false).listen("/ip4/127.0.0.1/tcp/0").capacity(4).root_slots(4).max_links(3)
    };
    let first = builder(0).start().await?;
    let server = tokio::spawn(api::serve(first.clone(), Socket::bind(path.as_ref())?, std::future::pending()));
    let address = loop {
        if let Some(address) = first.status().await?.addresses.first() {
            break address.clone();
        }
        sleep(Duration::from_millis(10)).await;
    };
    let track: TrackName = "demo/crowd".parse()?;
    let mut publisher = first.publish(track.clone(), PublishOptions::default()).await?;
    tokio::spawn(async move {
        while publisher.send("tick".into()).await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    });
    let began = Instant::now();
    let mut nodes = Vec::with_capacity(count);
    for nth in 1..count {
        let node = builder(nth).bootstrap(&address).start().await?;
        let mut subscriber = node.subscribe(track.clone(), SubscribeOptions::default()).await?;
        tokio::spawn(async move { while !matches!(subscriber.next().await, Item::End(_)) {} });
        nodes.push(node);
        sleep(Duration::from_millis(20)).await;
    }
    println!("{count} nodes, started within {:.1} s", began.elapsed().as_secs_f64());
    let attached = async || first.tree(&track).await.map(|tree| tree.nodes.iter().filter(|node| node.attached).count());
    while attached().await? < count {
        sleep(Duration::from_millis(50)).await;
    }
    println!("all attached after {:.1} s; one of them answers on {path}", began.elapsed().as_secs_f64());
    server.await?;
    Ok(())
}
