//! Zenoh: a 3-ary tree of routers, or a star of peers around the publisher; with and without TLS.

use std::net::{Ipv4Addr, TcpListener};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::json;
use zenoh::{Config, Session, pubsub::Publisher as ZenohPublisher, qos::CongestionControl};

use super::certificate;
use crate::system::{Failure, Member, Receiver, Seat, System};

const KEY: &str = "bench";
/// Batches of 64 KiB that wait for a link: the most there may be.
const QUEUE_BATCHES: usize = 16;
/// Buffers of a link and of its socket.
const BUFFER_BYTES: usize = 1 << 20;

/// The threads of the pools that all sessions of a process share. A router that forwards to a full queue blocks a receiving
/// thread, and with the two that there are by default the routers of one process wait for each other.
const POOLS: (&str, &str) = ("ZENOH_RUNTIME", "(rx: (worker_threads: 40), tx: (worker_threads: 8))");

/// Zenoh in one of its shapes.
#[derive(Debug)]
pub(super) struct Zenoh {
    /// Whether links are encrypted.
    pub(super) tls: bool,
    /// Whether the publisher is connected to all, instead of a tree of routers.
    pub(super) star: bool,
}

struct Publisher {
    card: String,
    publisher: ZenohPublisher<'static>,
    _session: Session,
}

impl Member for Publisher {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { self.publisher.put(object).await })
    }
}

impl System for Zenoh {
    fn name(&self) -> &'static str {
        match (self.tls, self.star) {
            (true, false) => "zenoh-tls",
            (true, true) => "zenoh-star-tls",
            (false, false) => "zenoh-plain",
            (false, true) => "zenoh-star-plain",
        }
    }

    fn settings(&self) -> &'static str {
        match (self.tls, self.star) {
            (true, false) => {
                "a complete 3-ary tree of routers over TLS, each connected to its parent alone (nobody takes over the children of \
                 a lost router), no scouting, congestion control = block, 16 batches a queue and buffers of 1 MiB; 40 \
                 receiving and 8 sending threads where all nodes share a process, since the 2 and 1 of the default stand still then"
            }
            (true, true) => "peers over TLS, the publisher connected to all: N copies from the source, nothing relayed",
            (false, false) => "the tree of routers over TCP, not encrypted",
            (false, true) => "the star of peers over TCP, not encrypted",
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        &["zenoh"]
    }

    fn has_pressure(&self) -> bool {
        true
    }

    fn environment(&self) -> Option<(&'static str, &'static str)> {
        Some(POOLS)
    }

    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>> {
        Box::pin(async move {
            let parent = if self.star { seat.cards.first().map(String::as_str) } else { seat.parent() };
            let (config, card) = self.config(parent)?;
            let session = zenoh::open(config).await?;
            if seat.publishes() {
                let publisher = session.declare_publisher(KEY).congestion_control(CongestionControl::Block).await?;
                return Ok(Box::new(Publisher { card, publisher, _session: session }) as Box<dyn Member>);
            }
            let inbox = seat.inbox;
            let take = move |sample: zenoh::sample::Sample| inbox.take(&sample.payload().to_bytes());
            let subscriber = session.declare_subscriber(KEY).callback(take).await?;
            Ok(Box::new(Receiver::new(card, (subscriber, session))) as Box<dyn Member>)
        })
    }
}

impl Zenoh {
    /// The configuration of a node below this parent, and its card.
    fn config(&self, parent: Option<&str>) -> Result<(Config, String), Failure> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let endpoint = format!("{}/127.0.0.1:{port}", if self.tls { "tls" } else { "tcp" });
        let (address, trusted) = parent.and_then(|card| card.split_once(' ')).unzip();
        let mut config = Config::default();
        let mut set = |key: &str, value: serde_json::Value| config.insert_json5(key, &value.to_string());
        set("mode", json!(if self.star { "peer" } else { "router" }))?;
        set("scouting/multicast/enabled", json!(false))?;
        set("scouting/gossip/enabled", json!(false))?;
        set("listen/endpoints", json!([endpoint]))?;
        set("connect/endpoints", json!(address.as_slice()))?;
        // Zenoh's own advice for throughput with large messages. With the default of two batches of 64 KiB, an object of that
        // size, which takes two, goes in lockstep over all hops.
        set("transport/link/tx/queue/size/data", json!(QUEUE_BATCHES))?;
        set("transport/link/rx/buffer_size", json!(BUFFER_BYTES))?;
        let link = if self.tls { "tls" } else { "tcp" };
        for buffer in ["so_sndbuf", "so_rcvbuf"] {
            set(&format!("transport/link/{link}/{buffer}"), json!(BUFFER_BYTES))?;
        }
        if !self.tls {
            return Ok((config, format!("{endpoint} -")));
        }
        let own = certificate::own()?;
        let pem = own.cert.pem();
        let tls = "transport/link/tls";
        set(&format!("{tls}/listen_private_key_base64"), json!(base64(own.signing_key.serialize_pem().as_bytes())))?;
        set(&format!("{tls}/listen_certificate_base64"), json!(base64(pem.as_bytes())))?;
        if let Some(trusted) = trusted {
            set(&format!("{tls}/root_ca_certificate_base64"), json!(trusted))?;
        }
        Ok((config, format!("{endpoint} {}", base64(pem.as_bytes()))))
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let group =
            chunk.iter().chain([0; 2].iter()).take(3).fold(0usize, |group, byte| group << 8 | usize::from(*byte));
        let letter = |place: usize| {
            if place > chunk.len() { '=' } else { char::from(ALPHABET[group >> (18 - 6 * place) & 63]) }
        };
        [letter(0), letter(1), letter(2), letter(3)]
    };
    bytes.chunks(3).flat_map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        let encoded = [&b""[..], b"f", b"fo", b"foo", b"foob"].map(base64);
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
