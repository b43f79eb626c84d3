//! Dials: in which order addresses are tried, and what a failure means.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    error::Error,
    io,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, TransportError,
    connection_limits::Exceeded,
    swarm::{ConnectionId, DialError},
};

use super::{
    DialFailure,
    ids::{self, Libp2pId},
    resolve::{self, Shape},
    transport::Refused,
};
use banyan_gossip::PeerId;

/// Most dials under way, resolution included.
pub(super) const DIALS_MAX: usize = 64;
/// How long an address that led to this host itself is not dialled again.
const OWN_TTL: Duration = Duration::from_secs(60);
/// Most such addresses remembered.
const OWN_MAX: usize = 64;

/// Names a dial while it is under way.
pub(super) type DialId = u64;

/// What a dial is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A link: the dialer opens the control stream.
    Link { dial: u64, peer: Option<PeerId>, addresses: Vec<Multiaddr> },
    /// A connection for bulk streams, by [`Bulk::carrier`](super::handler::Bulk::carrier).
    Data { peer: PeerId, carrier: usize },
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) purpose: Purpose,
    pub(super) attempts: VecDeque<Attempt>,
    /// The most telling failure so far.
    pub(super) failure: Option<DialFailure>,
}

/// Addresses to be dialled at once; the first that answers wins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) peer: Option<Libp2pId>,
    pub(super) addresses: Vec<Multiaddr>,
}

impl Dial {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self { purpose, attempts: VecDeque::new(), failure: None }
    }

    pub(super) fn peer(&self) -> Option<PeerId> {
        match &self.purpose {
            Purpose::Link { peer, .. } => *peer,
            Purpose::Data { peer, .. } => Some(*peer),
        }
    }

    /// Keeps the more telling of the failures.
    pub(super) fn note(&mut self, failure: DialFailure) {
        let knows_peer = self.peer().is_some();
        let failures = self.failure.take().into_iter().chain([failure]);
        self.failure = most_telling(failures, knows_peer);
    }
}

/// The dials under way, by id and by the connection that they wait for.
#[derive(Debug, Default)]
pub(super) struct Dials {
    dials: BTreeMap<DialId, Dial>,
    connections: BTreeMap<ConnectionId, DialId>,
    next: DialId,
}

impl Dials {
    /// `None`: too many are under way.
    pub(super) fn start(&mut self, purpose: Purpose) -> Option<DialId> {
        if self.dials.len() >= DIALS_MAX {
            return None;
        }
        self.next += 1;
        self.dials.insert(self.next, Dial::new(purpose));
        Some(self.next)
    }

    pub(super) fn get_mut(&mut self, id: DialId) -> Option<&mut Dial> {
        self.dials.get_mut(&id)
    }

    /// The dial waits for this connection.
    pub(super) fn attach(&mut self, id: DialId, connection: ConnectionId) {
        self.connections.insert(connection, id);
    }

    /// The connection is decided: the dial that waited for it.
    pub(super) fn detach(&mut self, connection: ConnectionId) -> Option<DialId> {
        self.connections.remove(&connection)
    }

    pub(super) fn waiting_for(&self, connection: ConnectionId) -> Option<(DialId, &Dial)> {
        let id = self.connections.get(&connection)?;
        Some((*id, self.dials.get(id)?))
    }

    pub(super) fn finish(&mut self, id: DialId) -> Option<Dial> {
        self.dials.remove(&id)
    }
}

/// Addresses that lead to this host itself.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    listening: BTreeSet<Multiaddr>,
    learnt: BTreeMap<Multiaddr, Instant>,
}

impl OwnAddresses {
    pub(super) fn listen(&mut self, address: Multiaddr) {
        self.listening.insert(address);
    }

    /// Whether the address was listened on.
    pub(super) fn unlisten(&mut self, address: &Multiaddr) -> bool {
        self.listening.remove(address)
    }

    /// This host itself answered at `address`.
    pub(super) fn learn(&mut self, now: Instant, address: &Multiaddr) {
        self.learnt.retain(|_, since| now.saturating_duration_since(*since) < OWN_TTL);
        if self.learnt.len() < OWN_MAX {
            self.learnt.insert(resolve::bare(address), now);
        }
    }

    fn contains(&self, now: Instant, bare: &Multiaddr) -> bool {
        let learnt = self.learnt.get(bare).is_some_and(|since| now.saturating_duration_since(*since) < OWN_TTL);
        learnt || self.listening.contains(bare)
    }

    /// Orders resolved addresses into attempts: TCP before QUIC. Addresses of a known peer are dialled
    /// at once; addresses of unknown ones one after another, because they may all lead to
    /// the same node and only one link is wanted.
    ///
    /// # Errors
    /// [`DialFailure::SelfDial`] if only own addresses are left, [`DialFailure::BadAddress`] if none
    /// is.
    pub(super) fn plan(
        &self,
        now: Instant,
        peer: Option<Libp2pId>,
        resolved: &[Multiaddr],
    ) -> Result<VecDeque<Attempt>, DialFailure> {
        let (mut tcp, mut quic, mut own) = (Vec::new(), Vec::new(), false);
        let mut reason = "no address is known".to_owned();
        for address in resolved {
            let Ok(Shape { quic: is_quic, peer: named, .. }) = resolve::dialable(address) else { continue };
            let address = resolve::bare(address);
            if self.contains(now, &address) {
                own = true;
            } else if peer.is_some() && named.is_some() && peer != named {
                reason = format!("{address} is said to be another peer's");
            } else if is_quic {
                quic.push((named, address));
            } else {
                tcp.push((named, address));
            }
        }
        if tcp.is_empty() && quic.is_empty() {
            return Err(if own { DialFailure::SelfDial } else { DialFailure::BadAddress(reason) });
        }
        if peer.is_some() {
            let groups = [tcp, quic].into_iter().filter(|group| !group.is_empty());
            return Ok(groups
                .map(|group| Attempt { peer, addresses: group.into_iter().map(|(_, address)| address).collect() })
                .collect());
        }
        Ok(tcp.into_iter().chain(quic).map(|(peer, address)| Attempt { peer, addresses: vec![address] }).collect())
    }
}

/// What the swarm's error means, and which addresses led to this host itself.
pub(super) fn classify(error: &DialError, knows_peer: bool) -> (DialFailure, Vec<Multiaddr>) {
    let failure = match error {
        DialError::Transport(errors) => {
            let mut own = Vec::new();
            let failures = errors.iter().map(|(address, error)| {
                let failure = classify_transport(address, error);
                if failure == DialFailure::SelfDial {
                    own.push(address.clone());
                }
                failure
            });
            let failures: Vec<_> = failures.collect();
            let failure = most_telling(failures, knows_peer);
            return (failure.unwrap_or_else(|| DialFailure::Unreachable("no address".into())), own);
        }
        DialError::LocalPeerId { address } => return (DialFailure::SelfDial, vec![address.clone()]),
        DialError::WrongPeerId { obtained, .. } => match ids::from_libp2p(obtained) {
            Some(found) => DialFailure::WrongPeer { found },
            None => DialFailure::Handshake(Refused::NotEd25519.to_string()),
        },
        DialError::Denied { cause } => DialFailure::Denied(match cause.downcast_ref::<Exceeded>() {
            Some(limit) => limit.to_string(),
            None => cause.to_string(),
        }),
        // The swarm leaves out addresses that it listens on.
        DialError::NoAddresses => DialFailure::SelfDial,
        DialError::Aborted | DialError::DialPeerConditionFalse(_) => DialFailure::Denied("the dial was dropped".into()),
    };
    (failure, Vec::new())
}

fn classify_transport(address: &Multiaddr, error: &TransportError<io::Error>) -> DialFailure {
    let error = match error {
        TransportError::MultiaddrNotSupported(address) => {
            return DialFailure::BadAddress(format!("{address} is of no kind that can be dialled"));
        }
        TransportError::Other(error) => error,
    };
    let address = resolve::bare(address);
    // Boxed transports wrap errors into `io::Error`s, whose `source` skips what they hold.
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    let mut deepest = error.to_string();
    while let Some(error) = next {
        match error.downcast_ref::<Refused>() {
            Some(Refused::WrongPeer(found)) => return DialFailure::WrongPeer { found: *found },
            Some(Refused::Myself) => return DialFailure::SelfDial,
            Some(Refused::TimedOut) => return DialFailure::TimedOut,
            Some(Refused::NotAdmitted) => return DialFailure::NotThisMesh,
            Some(refused @ (Refused::NotEd25519 | Refused::Granted | Refused::Ignored)) => {
                return DialFailure::Handshake(refused.to_string());
            }
            None => {}
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind as Kind;
            match error.kind() {
                Kind::ConnectionRefused
                | Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
                | Kind::AddrNotAvailable => return DialFailure::Unreachable(format!("{address}: {}", error.kind())),
                Kind::TimedOut => return DialFailure::TimedOut,
                _ => {}
            }
        }
        deepest = error.to_string();
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let line: String = deepest.lines().next().unwrap_or_default().chars().take(160).collect();
    DialFailure::Handshake(format!("{address}: {line}"))
}

/// The failure that tells most about why there is no link. That one of a known peer's addresses leads
/// here says little (its loopback address does); of an unknown peer's it says all.
fn most_telling(failures: impl IntoIterator<Item = DialFailure>, knows_peer: bool) -> Option<DialFailure> {
    failures.into_iter().min_by_key(|failure| match failure {
        DialFailure::NotThisMesh => 0,
        DialFailure::WrongPeer { .. } => 1,
        DialFailure::SelfDial if !knows_peer => 2,
        DialFailure::Denied(_) => 3,
        DialFailure::Handshake(_) => 4,
        DialFailure::Unreachable(_) => 5,
        DialFailure::TimedOut => 6,
        DialFailure::BadAddress(_) => 7,
        DialFailure::SelfDial => 8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_known_peers_addresses_are_dialled_at_once_tcp_first() {
        let peer = Libp2pId::random();
        let (quic, a, b) =
            (address("/ip4/192.0.2.1/udp/1/quic-v1"), address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.2/tcp/1"));
        let plan = OwnAddresses::default().plan(Instant::now(), Some(peer), &[quic.clone(), a.clone(), b.clone()]);
        let attempts = [vec![a, b], vec![quic]].map(|addresses| Attempt { peer: Some(peer), addresses });
        assert_eq!(plan, Ok(VecDeque::from(attempts)));
    }

    #[test]
    fn unknown_peers_are_dialled_one_after_another() {
        let peer = Libp2pId::random();
        let (a, b) = (address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.2/tcp/1"));
        let named = address(&format!("/ip4/192.0.2.2/tcp/1/p2p/{peer}"));
        let plan = OwnAddresses::default().plan(Instant::now(), None, &[a.clone(), named]).expect("a plan");
        let expected = [Attempt { peer: None, addresses: vec![a] }, Attempt { peer: Some(peer), addresses: vec![b] }];
        assert_eq!(plan, VecDeque::from(expected));
    }

    #[test]
    fn own_addresses_are_never_dialled_c6() {
        let now = Instant::now();
        let mut own = OwnAddresses::default();
        let (listening, learnt, other) =
            (address("/ip4/192.0.2.1/tcp/1"), address("/ip4/192.0.2.9/tcp/1"), address("/ip4/192.0.2.2/tcp/1"));
        own.listen(listening.clone());
        own.learn(now, &learnt.clone().with(libp2p::multiaddr::Protocol::P2p(Libp2pId::random())));
        let both = [listening.clone(), learnt.clone()];
        assert_eq!(own.plan(now, None, &both), Err(DialFailure::SelfDial));
        assert_eq!(own.plan(now, None, &[listening, other]).expect("the other").len(), 1);
        assert_eq!(own.plan(now + OWN_TTL, None, &[learnt]).expect("forgotten by now").len(), 1);
        assert!(matches!(own.plan(now, None, &[]), Err(DialFailure::BadAddress(_))));
    }

    #[test]
    fn a_known_peers_loopback_address_does_not_hide_the_real_reason() {
        let unreachable = DialFailure::Unreachable("refused".into());
        let failures = [DialFailure::SelfDial, unreachable.clone()];
        assert_eq!(most_telling(failures.clone(), true), Some(unreachable));
        assert_eq!(most_telling(failures, false), Some(DialFailure::SelfDial));
    }
    #[test]
    fn dials_under_way_are_bounded_and_one_that_ends_makes_room() {
        let mut dials = Dials::default();
        let link = || Purpose::Link { dial: 1, peer: None, addresses: Vec::new() };
        let started: Vec<_> = (0..DIALS_MAX).filter_map(|_| dials.start(link())).collect();
        assert_eq!((started.len(), dials.start(link())), (DIALS_MAX, None));
        dials.finish(started[0]).expect("it is under way");
        assert!(dials.start(link()).is_some());
    }
}
