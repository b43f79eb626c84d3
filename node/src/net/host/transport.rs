//! The transport: TCP + our TLS + our Yamux, and QUIC.
//!
//! Around both, [`Checked`] refuses what must never become a connection, within the handshake of
//! one address, so that a dial of several addresses goes on with the others: another peer
//! than the expected one, this host itself, a peer without an Ed25519 key, one that is not
//! [admitted](crate::admission). Everything up to the end of that takes at most [`HANDSHAKE_TIMEOUT`].

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use banyan_gossip::{MeshName, PeerId};
use futures::future::{BoxFuture, Either, FutureExt};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, OrTransport, PortUse, TransportError, TransportEvent},
        upgrade::Version,
    },
    identity::Keypair,
    multiaddr::Protocol,
    quic, tcp,
};

use super::{
    HostConfig, HostError,
    door::{self, Door},
    ids::{self, Libp2pId},
    intake::Intake,
    tls::Tls,
    yamux::Yamux,
};

/// Longest time from the first packet to an authenticated, multiplexed connection. Ends slow-loris
/// clients.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a dial. Short, because TCP itself tries a silent host at 0, 1, 3 and 7 s only, and a
/// host that comes back is noticed by the next dial.
const DIAL_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Bytes of a TCP connection that wait in the system before they are sent first: a frame.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 128 * 1024;

/// QUIC: silence after which a connection is dead. Longer than the scheduling gaps of a busy machine
/// (measured: 0.4 s); what must be noticed sooner, the control stream's heartbeats notice.
const QUIC_IDLE_MS: u32 = 1_000;
/// QUIC: keep-alive packets on a silent connection.
const QUIC_KEEP_ALIVE: Duration = Duration::from_millis(200);
/// QUIC: receive window of a stream, and of a connection. A connection window far above the streams'
/// keeps bulk streams from starving the control stream.
const QUIC_STREAM_BYTES: u32 = 256 * 1024;
const QUIC_CONNECTION_BYTES: u32 = 64 * 1024 * 1024;
/// QUIC: streams that the remote may have open.
const QUIC_STREAMS_MAX: u32 = 192;

/// Why an established transport is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("another peer answered: {0}")]
    WrongPeer(PeerId),
    #[error("this host itself answered")]
    Myself,
    #[error("the remote has no Ed25519 key")]
    NotEd25519,
    #[error("the remote is of another mesh, or has another mesh key")]
    NotAdmitted,
    #[error("an invited node was given the mesh key")]
    Granted,
    #[error("too many connections of that host have failed")]
    Ignored,
    #[error("timed out")]
    TimedOut,
}

/// Keeps an error of the system visible: the `source` of the `Either`s that libp2p wraps errors in is
/// the source of what they hold.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Carrier(#[source] io::Error);

/// Builds the transport of a host.
pub(super) fn build(identity: &Keypair, config: &HostConfig) -> Result<Boxed<Output>, HostError> {
    let (mesh, door) = (config.mesh.clone(), config.door.clone());
    Ok(Checked { inner: authenticated(identity)?, me: identity.public().to_peer_id(), mesh, door }.boxed())
}

/// The transport without the checks.
pub(super) fn authenticated(identity: &Keypair) -> Result<Boxed<Output>, HostError> {
    let tls = Tls::new(identity).map_err(|error| HostError::Transport(error.to_string()))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .map_err(Carrier)
        .map(|socket, _| {
            hold_back(&socket.0);
            Intake::new(socket)
        })
        .upgrade(Version::V1)
        .authenticate(tls)
        .multiplex(Yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let mut config = quic::Config::new(identity);
    config.handshake_timeout = HANDSHAKE_TIMEOUT;
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.max_stream_data = QUIC_STREAM_BYTES;
    config.max_connection_data = QUIC_CONNECTION_BYTES;
    config.max_concurrent_stream_limit = QUIC_STREAMS_MAX;
    let quic = quic::tokio::Transport::new(config)
        .map_err(|error| match error {
            quic::Error::HandshakeTimedOut => Carrier(io::ErrorKind::TimedOut.into()),
            // The idle timeout, which libp2p passes on in words only.
            error if error.to_string().ends_with("timed out") => Carrier(io::ErrorKind::TimedOut.into()),
            error => Carrier(io::Error::other(error)),
        })
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let either = OrTransport::new(tcp, quic).map(|output, _| match output {
        Either::Left(output) | Either::Right(output) => output,
    });
    Ok(either.boxed())
}

/// Lets no more bytes wait in the system than [`UNSENT_BYTES`]: there they would be ahead of whatever matters more, and
/// nobody here would see that they wait.
fn hold_back(socket: &tokio::net::TcpStream) {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "more bytes than usual may wait in the system");
    }
    #[cfg(not(any(target_os = "android", target_os = "linux")))]
    let _ = socket;
}

/// See the module.
struct Checked {
    inner: Boxed<Output>,
    me: Libp2pId,
    mesh: MeshName,
    door: Door,
}

/// Who answered, and the connection.
pub(super) type Output = (Libp2pId, StreamMuxerBox);

/// How a connection came about.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// To a peer, if one is expected.
    Dialled(Option<Libp2pId>),
    /// From a host, if its address is one of IP.
    Accepted(Option<IpAddr>),
}

impl Checked {
    fn check<F>(&self, connecting: F, way: Way) -> BoxFuture<'static, io::Result<Output>>
    where
        F: Future<Output = io::Result<Output>> + Send + 'static,
    {
        let (me, mesh, door) = (self.me, self.mesh.clone(), self.door.clone());
        let mine = ids::from_libp2p(&me).expect("this host has an Ed25519 key");
        let own_door = door.clone();
        let checked = async move {
            let (found, mut muxer) = connecting.await?;
            let Some(peer) = ids::from_libp2p(&found) else { return Err(io::Error::other(Refused::NotEd25519)) };
            if found == me {
                return Err(io::Error::other(Refused::Myself));
            }
            match way {
                Way::Dialled(Some(expected)) if expected != found => {
                    return Err(io::Error::other(Refused::WrongPeer(peer)));
                }
                Way::Dialled(_) => door.dial(&mut muxer, door::binding(&mesh, mine, peer)).await?,
                Way::Accepted(_) => door.listen(&mut muxer, door::binding(&mesh, peer, mine)).await?,
            }
            Ok((found, muxer))
        };
        let limit = match way {
            Way::Dialled(_) => DIAL_TIMEOUT,
            Way::Accepted(_) => HANDSHAKE_TIMEOUT,
        };
        async move {
            let timed_out = |_| Err(io::Error::new(io::ErrorKind::TimedOut, Refused::TimedOut));
            let checked = tokio::time::timeout(limit, checked).await.unwrap_or_else(timed_out);
            if let Way::Accepted(Some(host)) = way {
                own_door.note(host, checked.is_ok());
            }
            checked
        }
        .boxed()
    }

    /// Listens to an incoming connection, unless too many of its host have failed.
    fn accept<F>(&self, connecting: F, from: &Multiaddr) -> BoxFuture<'static, io::Result<Output>>
    where
        F: Future<Output = io::Result<Output>> + Send + 'static,
    {
        let host = from.iter().find_map(|part| match part {
            Protocol::Ip4(host) => Some(IpAddr::from(host)),
            Protocol::Ip6(host) => Some(IpAddr::from(host)),
            _ => None,
        });
        match self.door.hears(host) {
            true => self.check(connecting, Way::Accepted(host)),
            false => std::future::ready(Err(io::Error::other(Refused::Ignored))).boxed(),
        }
    }
}

impl libp2p::Transport for Checked {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Output>>;
    type Dial = BoxFuture<'static, io::Result<Output>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, mut options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        // Over TCP never from the listening port: two nodes that dial each other at once would meet
        // in one connection with two dialers, and neither handshake would ever end.
        if address.iter().any(|part| matches!(part, Protocol::Tcp(_))) {
            options.port_use = PortUse::New;
        }
        let expected = match address.iter().last() {
            Some(Protocol::P2p(peer)) => Some(peer),
            _ => None,
        };
        let connecting = self.inner.dial(address, options)?;
        Ok(self.check(connecting, Way::Dialled(expected)))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx).map(|event| match event {
            TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } => TransportEvent::Incoming {
                listener_id,
                upgrade: self.accept(upgrade, &send_back_addr),
                local_addr,
                send_back_addr,
            },
            other => other.map_upgrade(|_| unreachable!("only incoming connections have an upgrade")),
        })
    }
}
