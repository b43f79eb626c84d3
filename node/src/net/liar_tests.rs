//! Real nodes, of which one changes what it passes on.

use std::sync::atomic::Ordering;

use banyan_gossip::TrackName;
use bytes::Bytes;
use tokio::time::sleep;

use super::*;
use crate::relay::frame::HEADER_BYTES;
use crate::{From, Integrity, Item, Mode, Node, PublishOptions, SubscribeOptions, Subscriber, views::Event};

/// What a node sends in place of a frame.
pub(crate) fn change(line: &Line, frame: Frame) -> Frame {
    match frame {
        Frame::Chunk(mut chunk) if line.lies.load(Ordering::Relaxed) && chunk.wire.len() > HEADER_BYTES => {
            let mut wire = chunk.wire.to_vec();
            *wire.last_mut().expect("it has a payload") ^= 1;
            chunk.wire = wire.into();
            Frame::Chunk(chunk)
        }
        frame => frame,
    }
}

const NODES: usize = 7;
const OBJECTS: u64 = 400;
/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn payload(id: u64) -> Bytes {
    vec![id as u8; 500 + (id as usize * 37) % 3_000].into()
}

async fn until<T>(what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = poll().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("{what}"))
}

/// Reads all there is, and checks that it is what was published.
async fn read_all(mut subscriber: Subscriber) -> u64 {
    let mut expected = 0;
    loop {
        match subscriber.next().await {
            Item::Object { id, payload: got } => {
                assert_eq!((id, got), (expected, payload(expected)));
                expected += 1;
            }
            Item::End(_) => return expected,
            other => panic!("{other:?} after {expected} objects"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_changes_objects_is_named_and_left_and_everyone_gets_everything_unaltered() {
    let builder = || Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").capacity(4).root_slots(2);
    let track: TrackName = "signed/1".parse().expect("valid");
    let origin = builder().start().await.expect("starts");
    let address = until("the origin listens", async || origin.status().await.ok()?.addresses.first().cloned()).await;
    let options = PublishOptions { mode: Mode::Reliable, integrity: Integrity::Signed };
    let mut publisher = origin.publish(track.clone(), options).await.expect("publishes");
    // The first two are fed by the origin and feed the others.
    let (mut nodes, mut subscribers) = (Vec::new(), Vec::new());
    for number in 1..NODES {
        let node = builder().bootstrap(address.clone()).start().await.expect("starts");
        let options = SubscribeOptions { from: From::Oldest };
        subscribers.push(node.subscribe(track.clone(), options).await.expect("subscribes"));
        nodes.push(node);
        if number == 2 || number == NODES - 1 {
            until("all are attached", async || {
                let tree = origin.tree(&track).await.ok()?;
                (tree.nodes.iter().filter(|node| node.attached).count() == number + 1).then_some(())
            })
            .await;
        }
    }
    let children = async |node: &Node| {
        let tracks = node.tracks().await.expect("runs").tracks;
        tracks.into_iter().find_map(|track| track.here).map_or(0, |here| here.children.len())
    };
    let (mut liar, mut most) = (0, 0);
    for (number, node) in nodes.iter().enumerate() {
        let fed = children(node).await;
        if fed > most {
            (liar, most) = (number, fed);
        }
    }
    assert!(most >= 1, "somebody relays");
    for id in 0..OBJECTS / 4 {
        publisher.send(payload(id)).await.expect("sends");
    }
    let line = until("the relay has received something", async || subscribers[liar].line()).await;
    line.lies.store(true, Ordering::Relaxed);
    let name = nodes[liar].peer_id().to_string();
    let mut events: Vec<_> = nodes.iter().map(Node::events).collect();
    let readers: Vec<_> = subscribers.into_iter().map(|subscriber| tokio::spawn(read_all(subscriber))).collect();
    for id in OBJECTS / 4..OBJECTS {
        publisher.send(payload(id)).await.expect("sends");
        if id % 10 == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    }
    publisher.finish().await.expect("ends");
    for reader in readers {
        let got = timeout(DEADLINE, reader).await.expect("the end comes").expect("nothing was changed");
        assert_eq!(got, OBJECTS);
    }
    // Whoever was fed by the liar has named it, and nobody has named anybody else.
    let mut named = 0;
    for (number, stream) in events.iter_mut().enumerate() {
        while let Ok(Some(view)) = timeout(Duration::ZERO, stream.next()).await {
            if let Event::PeerLied { peer_id, .. } = view.event {
                assert_eq!((peer_id == name, number == liar), (true, false));
                named += 1;
            }
        }
    }
    assert!(named >= most, "{named} of {most} children named the liar");
    until("the liar feeds nobody", async || (children(&nodes[liar]).await == 0).then_some(())).await;
}
