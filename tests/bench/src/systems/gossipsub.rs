//! gossipsub of rust-libp2p.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    gossipsub::{
        Behaviour, ConfigBuilder, Event, IdentTopic, Message, MessageAuthenticity, MessageId, PublishError,
        ValidationMode,
    },
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    object::STAMP_BYTES,
    system::{Failure, Member, Receiver, Seat, System},
};

/// Objects handed over and not yet published.
const QUEUE: usize = 16;
/// Pause after all queues were full.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Room in a transmission beside the payload: lists of message ids grow with the rate, and a transmission that is too
/// large ends the stream. The default allows 64 KiB in all.
const OVERHEAD: usize = 256 * 1024;

/// Gossipsub.
#[derive(Debug)]
pub(super) struct Gossipsub;

struct Publisher {
    card: String,
    objects: mpsc::Sender<Bytes>,
}

impl Member for Publisher {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.objects.send(object).await?) })
    }
}

impl System for Gossipsub {
    fn name(&self) -> &'static str {
        "gossipsub"
    }

    fn settings(&self) -> &'static str {
        "TCP with TCP_NODELAY, Noise, Yamux; every node connected to every other; anonymous messages, identified by the \
         object's number; default mesh (6), no flood-publish; transmissions as large as the object and 256 KiB more"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["libp2p", "libp2p-gossipsub", "libp2p-noise", "libp2p-yamux"]
    }

    fn has_pressure(&self) -> bool {
        false
    }

    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>> {
        Box::pin(async move {
            let topic = IdentTopic::new("bench");
            let mut swarm = swarm(seat.size)?;
            swarm.behaviour_mut().subscribe(&topic)?;
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
            let card = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address.to_string();
                }
            };
            for card in &seat.cards {
                swarm.dial(card.parse::<Multiaddr>()?)?;
            }
            let publishes = seat.publishes();
            let (objects, queue) = mpsc::channel(QUEUE);
            tokio::spawn(drive(swarm, topic, queue, seat));
            Ok(if publishes {
                Box::new(Publisher { card, objects }) as Box<dyn Member>
            } else {
                Box::new(Receiver::new(card, objects))
            })
        })
    }
}

fn swarm(size: usize) -> Result<Swarm<Behaviour>, Failure> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message: &Message| MessageId::new(&message.data[..STAMP_BYTES.min(message.data.len())]))
        .max_transmit_size(size.max(STAMP_BYTES) + OVERHEAD)
        .flood_publish(false)
        .build()?;
    let behaviour = Behaviour::new(MessageAuthenticity::Anonymous, config)?;
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3_600)))
        .build();
    Ok(swarm)
}

/// Runs a node until its handle is gone.
async fn drive(mut swarm: Swarm<Behaviour>, topic: IdentTopic, mut queue: mpsc::Receiver<Bytes>, seat: Seat) {
    let mut waiting: Option<Bytes> = None;
    let mut retry = tokio::time::interval(FULL_PAUSE);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(Event::Message { message, .. }) = event {
                    seat.inbox.take(&message.data);
                }
            }
            next = queue.recv(), if waiting.is_none() => match next {
                Some(object) => waiting = publish(&mut swarm, &topic, object),
                None => return,
            },
            _ = retry.tick(), if waiting.is_some() => {
                waiting = waiting.take().and_then(|object| publish(&mut swarm, &topic, object));
            }
        }
    }
}

/// Publishes an object; gives it back if it is to be tried again.
fn publish(swarm: &mut Swarm<Behaviour>, topic: &IdentTopic, object: Bytes) -> Option<Bytes> {
    match swarm.behaviour_mut().publish(topic.clone(), object.clone()) {
        Err(PublishError::AllQueuesFull(_)) => Some(object),
        _ => None,
    }
}
