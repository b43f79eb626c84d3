//! Hosts on the loopback interface.

mod admission;
mod data;
mod limits;
mod links;

use std::{future::Future, time::Duration};

use banyan_gossip::PeerId;
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::{sync::mpsc, time::timeout};

use super::{DialFailure, Door, Host, HostConfig, HostEvent, Limits, Multiaddr, Protocol, Stream, start};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A host with what it told so far.
struct Test {
    host: Host,
    events: mpsc::Receiver<HostEvent>,
    addresses: Vec<Multiaddr>,
}

impl Test {
    async fn start(listen: &[&str]) -> Self {
        Self::with(listen, "lab", Limits::default()).await
    }

    async fn with(listen: &[&str], mesh: &str, limits: Limits) -> Self {
        Self::behind(Door::default(), listen, mesh, limits).await
    }

    async fn behind(door: Door, listen: &[&str], mesh: &str, limits: Limits) -> Self {
        let config = HostConfig {
            seed: std::array::from_fn(|_| fastrand::u8(..)),
            mesh: mesh.parse().expect("mesh name"),
            listen: listen.iter().map(|address| address.parse().expect("address")).collect(),
            mdns: false,
            limits,
            door,
        };
        let (host, events) = start(config).await.expect("the host starts");
        let mut test = Self { host, events, addresses: Vec::new() };
        for _ in listen {
            let HostEvent::Listening { address } = test.next().await else { panic!("it listens first") };
            test.addresses.push(address);
        }
        test
    }

    fn id(&self) -> PeerId {
        self.host.peer_id()
    }

    async fn next(&mut self) -> HostEvent {
        within(self.events.recv()).await.expect("the host runs")
    }

    /// The next event that `pick` takes; others are dropped.
    async fn wait<T>(&mut self, mut pick: impl FnMut(HostEvent) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await) {
                return picked;
            }
        }
    }

    async fn link(&mut self) -> Link {
        self.wait(|event| match event {
            HostEvent::Link { peer, connection, stream, dialer, address, .. } => {
                Some(Link { peer, connection, stream, dialer, address })
            }
            _ => None,
        })
        .await
    }

    async fn failure(&mut self) -> DialFailure {
        self.wait(|event| match event {
            HostEvent::DialFailed { reason, .. } => Some(reason),
            HostEvent::Link { peer, .. } => panic!("an unexpected link to {peer}"),
            _ => None,
        })
        .await
    }

    async fn data(&mut self) -> Stream {
        self.wait(|event| match event {
            HostEvent::Data { stream, .. } => Some(stream),
            _ => None,
        })
        .await
    }

    async fn link_closed(&mut self) {
        self.wait(|event| matches!(event, HostEvent::LinkClosed { .. }).then_some(())).await;
    }

    fn dial(&self, peer: Option<PeerId>, addresses: &[Multiaddr]) {
        assert!(self.host.try_dial(0, peer, addresses.to_vec()));
    }
}

struct Link {
    peer: PeerId,
    connection: super::ConnectionId,
    stream: Stream,
    dialer: bool,
    address: Multiaddr,
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Links `a`, which dials, and `b`.
async fn linked(a: &mut Test, b: &mut Test) -> (Link, Link) {
    a.dial(Some(b.id()), &b.addresses);
    futures::join!(a.link(), b.link())
}

fn port(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    port.expect("an address with a port")
}

async fn pass(from: &mut Stream, to: &mut Stream, bytes: &[u8]) {
    from.write_all(bytes).await.expect("written");
    from.flush().await.expect("flushed");
    let mut read = vec![0; bytes.len()];
    within(to.read_exact(&mut read)).await.expect("read");
    assert_eq!(read, bytes);
}

/// Takes a newly opened stream at its listener, and sees it work.
async fn pass_new(opened: &mut Stream, listener: &mut Test) -> Stream {
    let mut arrived = listener.data().await;
    pass(opened, &mut arrived, b"new").await;
    arrived
}
