//! What publishers and subscribers promise when nodes, tracks or callers go away.

use std::{pin::pin, task::Poll, time::Duration};

use banyan_node::{
    From, Item, Mode, Node, NodeError, PublishOptions, Publisher, SubscribeOptions, Subscriber, TrackName,
};
use bytes::Bytes;
use futures::poll;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(30);

fn track() -> TrackName {
    TrackName::new("feed").expect("valid")
}

async fn node(bootstrap: Option<String>) -> Node {
    let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0");
    bootstrap.into_iter().fold(builder, |builder, address| builder.bootstrap(address)).start().await.expect("it starts")
}

async fn publish(node: &Node) -> Result<Publisher, NodeError> {
    node.publish(track(), PublishOptions { mode: Mode::Reliable, ..PublishOptions::default() }).await
}

async fn subscribe(node: &Node) -> Subscriber {
    node.subscribe(track(), SubscribeOptions { from: From::Oldest }).await.expect("it subscribes")
}

#[tokio::test]
async fn a_publisher_that_nobody_waits_for_any_more_leaves_no_track_behind() {
    let node = node(None).await;
    tokio::select! {
        biased;
        _ = publish(&node) => panic!("the node answers at once"),
        () = std::future::ready(()) => {}
    }
    let again = async {
        while publish(&node).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, again).await.expect("the track is free again");
}

#[tokio::test]
async fn a_publisher_that_waits_is_told_that_the_node_shuts_down() {
    let node = node(None).await;
    let mut publisher = publish(&node).await.expect("it publishes");
    let _stuck = subscribe(&node).await;
    let (waits, waiting) = oneshot::channel();
    let sending = tokio::spawn(async move {
        let mut waits = Some(waits);
        loop {
            let mut send = pin!(publisher.send(Bytes::from(vec![0; 1 << 20])));
            let sent = match poll!(&mut send) {
                Poll::Ready(sent) => sent,
                Poll::Pending => {
                    if let Some(waits) = waits.take() {
                        waits.send(()).expect("it is waited for");
                    }
                    send.await
                }
            };
            if let Err(error) = sent {
                return error;
            }
        }
    });
    timeout(LIMIT, waiting).await.expect("the window fills").expect("it sends");
    node.shutdown().await;
    let error = timeout(LIMIT, sending).await.expect("it is told").expect("it does not panic");
    assert_eq!(error, NodeError::Shutdown);
}

#[tokio::test]
async fn of_two_origins_one_is_told_and_follows_the_other() {
    let first = node(None).await;
    let mut lesser = publish(&first).await.expect("it publishes");
    let mut subscriber = subscribe(&first).await;
    let address = timeout(LIMIT, async {
        loop {
            if let Some(address) = first.status().await.expect("it runs").addresses.into_iter().next() {
                return address;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    // It publishes before it has heard of anybody.
    let second = node(Some(address.await.expect("it listens"))).await;
    let mut greater = publish(&second).await.expect("it knows of no other origin yet");
    assert!(greater.epoch() > lesser.epoch());
    let told = async {
        loop {
            match lesser.send(Bytes::from_static(b"first")).await {
                Ok(_) => sleep(Duration::from_millis(10)).await,
                Err(error) => return error,
            }
        }
    };
    assert_eq!(timeout(LIMIT, told).await.expect("it is told"), NodeError::TakenOver(track()));
    drop(lesser);
    greater.send(Bytes::from_static(b"second")).await.expect("it publishes on");
    let followed = async {
        let mut epoch = None;
        loop {
            match subscriber.next().await {
                Item::Epoch { epoch: next } => epoch = Some(next),
                Item::Object { payload, .. } if payload == "second" => return epoch,
                Item::End(end) => panic!("the track goes on, but ended: {end:?}"),
                _ => {}
            }
        }
    };
    assert_eq!(timeout(LIMIT, followed).await.expect("it is followed"), Some(greater.epoch()));
}
