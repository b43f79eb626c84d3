//! iroh-gossip.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    address_lookup::memory::MemoryLookup,
    endpoint::{QuicTransportConfig, presets},
    protocol::Router,
};
use iroh_gossip::{
    ALPN, TopicId,
    api::{Event, GossipReceiver, GossipSender, JoinOptions},
    net::Gossip,
};

use crate::system::{Failure, Member, Receiver, Seat, System};

const TOPIC: TopicId = TopicId::from_bytes([7; 32]);
/// Silence after which a connection is given up: the default of 30 s makes failures last as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an idle connection says that it lives.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Objects that a subscriber may be behind before it is cut off.
const SUBSCRIPTION: usize = 1 << 16;
/// Bytes of a message beside its payload, at most.
const OVERHEAD: usize = 1024;

/// iroh-gossip.
#[derive(Debug)]
pub(super) struct Iroh;

struct Publisher {
    card: String,
    sender: GossipSender,
    _router: Router,
}

impl Member for Publisher {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.sender.broadcast(object).await?) })
    }
}

impl System for Iroh {
    fn name(&self) -> &'static str {
        "iroh-gossip"
    }

    fn settings(&self) -> &'static str {
        "direct addresses, no relay, no discovery; joined by the publisher; idle timeout 2 s with a keep-alive of 500 ms \
         (the defaults take up to 30 s to notice a loss); largest message as large as the object; subscriptions of \
         65,536 objects"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["iroh", "iroh-gossip"]
    }

    fn has_pressure(&self) -> bool {
        false
    }

    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>> {
        Box::pin(async move {
            let known: Vec<EndpointAddr> =
                seat.cards.iter().map(|card| serde_json::from_str(card)).collect::<Result<_, _>>()?;
            let bootstrap = known.first().map(|address| address.id);
            let endpoint = endpoint(known).await?;
            let card = serde_json::to_string(&endpoint.addr())?;
            let gossip = Gossip::builder().max_message_size(seat.size + OVERHEAD).spawn(endpoint.clone());
            let router = Router::builder(endpoint).accept(ALPN, gossip.clone()).spawn();
            let options =
                JoinOptions { bootstrap: bootstrap.into_iter().collect(), subscription_capacity: SUBSCRIPTION };
            let (sender, receiver) = gossip.subscribe_with_opts(TOPIC, options).await?.split();
            let publishes = seat.publishes();
            tokio::spawn(receive(receiver, seat));
            Ok(if publishes {
                Box::new(Publisher { card, sender, _router: router }) as Box<dyn Member>
            } else {
                Box::new(Receiver::new(card, (sender, router)))
            })
        })
    }
}

async fn endpoint(known: Vec<EndpointAddr>) -> Result<Endpoint, Failure> {
    let transport = QuicTransportConfig::builder()
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into()?))
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(IDLE_TIMEOUT)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .build();
    let builder = Endpoint::builder(presets::Empty)
        .crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .address_lookup(MemoryLookup::from_endpoint_info(known))
        .transport_config(transport);
    Ok(builder.bind().await?)
}

async fn receive(mut receiver: GossipReceiver, seat: Seat) {
    while let Some(Ok(event)) = receiver.next().await {
        if let Event::Received(message) = event {
            seat.inbox.take(&message.content);
        }
    }
}
