//! Banyan itself: the node as the program runs it, with its default settings.

use banyan_node::{From, Item, Mode, Node, PublishOptions, Publisher, SubscribeOptions, TrackName};
use bytes::Bytes;
use futures::future::BoxFuture;

use crate::system::{ARITY, Failure, Member, Receiver, Seat, System};

/// The name of the track.
const TRACK: &str = "bench";

/// Banyan.
#[derive(Debug)]
pub(super) struct Banyan;

struct Origin {
    card: String,
    node: Node,
    track: TrackName,
    publisher: Publisher,
}

impl Member for Origin {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.publisher.send(object).await.map(drop)?) })
    }

    /// The child of the publisher that feeds most.
    fn interior(&mut self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let tree = self.node.tree(&self.track).await.ok()?;
            let relays = tree.nodes.into_iter().filter(|node| node.depth == Some(1));
            relays.max_by_key(|node| node.children).map(|node| node.peer_id)
        })
    }
}

impl System for Banyan {
    fn name(&self) -> &'static str {
        "banyan"
    }

    fn settings(&self) -> &'static str {
        "a reliable track; every node with capacity 3, the publisher with 3 root slots, so that the tree is about 3-ary; \
         joined by the publisher's address, no multicast DNS; all else default (TCP, TLS 1.3, AES-GCM, both ends \
         authenticated, signed gossip)"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["banyan-node", "libp2p"]
    }

    fn has_pressure(&self) -> bool {
        true
    }

    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>> {
        Box::pin(async move {
            let slots = u16::try_from(ARITY)?;
            let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").capacity(slots).root_slots(slots);
            let bootstrap = seat.cards.first().and_then(|card| card.split(' ').next());
            let builder = bootstrap.into_iter().fold(builder, banyan_node::Builder::bootstrap);
            let node = builder.start().await?;
            let card = format!("{} {}", address(&node).await?, node.peer_id());
            let track: TrackName = TRACK.parse()?;
            if seat.publishes() {
                let publisher = node
                    .publish(track.clone(), PublishOptions { mode: Mode::Reliable, ..PublishOptions::default() })
                    .await?;
                return Ok(Box::new(Origin { card, node, track, publisher }) as Box<dyn Member>);
            }
            let mut subscriber = node.subscribe(track, SubscribeOptions { from: From::Latest }).await?;
            tokio::spawn(async move {
                loop {
                    match subscriber.next().await {
                        Item::Object { payload, .. } => seat.inbox.take(&payload),
                        Item::End(_) => return,
                        _ => {}
                    }
                }
            });
            Ok(Box::new(Receiver::new(card, node)) as Box<dyn Member>)
        })
    }
}

async fn address(node: &Node) -> Result<String, Failure> {
    loop {
        if let Some(address) = node.status().await?.addresses.first() {
            return Ok(address.clone());
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
