//! Which connection carries the data streams to each peer.
//!
//! Bulk shares no connection with control: on a full 100 Mbit link that would cost the heartbeats
//! 100 ms instead of 5. So data streams go over a connection of their own, dialled at the first one. When that
//! cannot be had (no address, refused, or not within [`FALLBACK_AFTER`]), the link's connection serves.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use libp2p::swarm::ConnectionId;

use super::{DialFailure, OpenError, handler::Reply};

/// A data connection that is not there by then is no longer waited for if there is a link.
const FALLBACK_AFTER: Duration = Duration::from_secs(1);
/// After a failed dial the link's connection is used at once, for this long.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// A connection that closes sooner than this was refused by the remote: an idle one lasts longer.
const YOUNG: Duration = Duration::from_secs(5);
/// Most streams that wait for the data connection of one peer.
const WAITING_MAX: usize = 64;

/// What to do for a request.
#[derive(Debug)]
pub(super) enum Decision {
    /// Open the stream on this connection.
    Open(ConnectionId, Reply),
    /// Dial a data connection; the request waits.
    Dial,
    /// The request waits for a dial under way, or was answered.
    Done,
}

/// The data connections, by peer.
#[derive(Debug, Default)]
pub(super) struct DataConnections {
    /// At most one entry a peer that was dialled: bounded by the dials and connections, and by [`RETRY_AFTER`].
    peers: BTreeMap<PeerId, State>,
}

#[derive(Debug)]
enum State {
    Dialing { waiting: Vec<Reply>, fallback_at: Instant },
    Open { connection: ConnectionId, since: Instant },
    Failed { until: Instant },
}

impl DataConnections {
    /// A data stream is wanted. `link` is a connection of the peer's link, if there is one.
    pub(super) fn request(
        &mut self,
        now: Instant,
        peer: PeerId,
        has_addresses: bool,
        link: Option<ConnectionId>,
        reply: Reply,
    ) -> Decision {
        match self.peers.get_mut(&peer) {
            Some(State::Open { connection, .. }) => return Decision::Open(*connection, reply),
            Some(State::Dialing { waiting, fallback_at }) => {
                if let Some(link) = link
                    && now >= *fallback_at
                {
                    return Decision::Open(link, reply);
                }
                if waiting.len() < WAITING_MAX {
                    waiting.push(reply);
                } else {
                    let _ = reply.send(Err(OpenError::TooMany));
                }
                return Decision::Done;
            }
            Some(State::Failed { until }) if now < *until => {
                if let Some(link) = link {
                    return Decision::Open(link, reply);
                }
            }
            Some(State::Failed { .. }) | None => {}
        }
        if !has_addresses {
            let Some(link) = link else {
                let _ = reply.send(Err(OpenError::Dial(DialFailure::BadAddress("no address is known".into()))));
                return Decision::Done;
            };
            return Decision::Open(link, reply);
        }
        self.peers.insert(peer, State::Dialing { waiting: vec![reply], fallback_at: now + FALLBACK_AFTER });
        Decision::Dial
    }

    /// The data connection is there: the streams to open on it.
    pub(super) fn connected(&mut self, now: Instant, peer: PeerId, connection: ConnectionId) -> Vec<Reply> {
        match self.peers.insert(peer, State::Open { connection, since: now }) {
            Some(State::Dialing { waiting, .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// The dial failed: the streams to open on the link; without a link they are answered.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        peer: PeerId,
        link: Option<ConnectionId>,
        failure: &DialFailure,
    ) -> Vec<Reply> {
        self.peers.retain(|_, state| !matches!(state, State::Failed { until } if now >= *until));
        let waiting = match self.peers.insert(peer, State::Failed { until: now + RETRY_AFTER }) {
            Some(State::Dialing { waiting, .. }) => waiting,
            _ => Vec::new(),
        };
        if link.is_some() {
            return waiting;
        }
        for reply in waiting {
            let _ = reply.send(Err(OpenError::Dial(failure.clone())));
        }
        Vec::new()
    }

    /// A connection closed. If that of the peer's data did at once, it counts as a failed dial.
    pub(super) fn closed(&mut self, now: Instant, peer: PeerId, connection: ConnectionId) {
        let Some(State::Open { connection: open, since }) = self.peers.get(&peer) else { return };
        if *open != connection {
            return;
        }
        if now.saturating_duration_since(*since) < YOUNG {
            self.peers.insert(peer, State::Failed { until: now + RETRY_AFTER });
        } else {
            self.peers.remove(&peer);
        }
    }

    /// What is open to this peer takes no more streams.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        if matches!(self.peers.get(peer), Some(State::Open { .. })) {
            self.peers.remove(peer);
        }
    }

    /// When [`Self::overdue`] may have something next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.peers.values().filter_map(|state| match state {
            State::Dialing { waiting, fallback_at } if !waiting.is_empty() => Some(*fallback_at),
            _ => None,
        });
        waiting.min()
    }

    /// Streams that have waited long enough and whose peer has a link: to be opened on that. The others
    /// wait on.
    pub(super) fn overdue(
        &mut self,
        now: Instant,
        link: impl Fn(&PeerId) -> Option<ConnectionId>,
    ) -> Vec<(PeerId, ConnectionId, Vec<Reply>)> {
        let mut overdue = Vec::new();
        for (peer, state) in &mut self.peers {
            let State::Dialing { waiting, fallback_at } = state else { continue };
            if now < *fallback_at || waiting.is_empty() {
                continue;
            }
            match link(peer) {
                Some(link) => overdue.push((*peer, link, std::mem::take(waiting))),
                None => *fallback_at = now + FALLBACK_AFTER,
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{super::handler::Bulk, *};

    type Answer = oneshot::Receiver<Result<super::super::Stream, OpenError>>;

    fn wanted() -> (Reply, Answer) {
        let (answer, answered) = oneshot::channel();
        (Reply { bulk: Bulk::Data, answer }, answered)
    }

    fn peer() -> PeerId {
        PeerId::from_key_bytes([1; 32])
    }

    fn connection(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    #[test]
    fn streams_wait_for_one_dial_and_then_share_its_connection() {
        let (now, mut data) = (Instant::now(), DataConnections::default());
        let replies = [(); 3].map(|()| wanted().0);
        let [a, b, c] = replies;
        assert!(matches!(data.request(now, peer(), true, Some(connection(1)), a), Decision::Dial));
        assert!(matches!(data.request(now, peer(), true, Some(connection(1)), b), Decision::Done));
        assert_eq!(data.connected(now, peer(), connection(2)).len(), 2);
        let decision = data.request(now, peer(), true, None, c);
        assert!(matches!(decision, Decision::Open(open, _) if open == connection(2)));
        let later = now + Duration::from_secs(10);
        data.closed(later, peer(), connection(2));
        let again = data.request(later, peer(), true, Some(connection(1)), wanted().0);
        assert!(matches!(again, Decision::Dial));
    }

    #[test]
    fn a_slow_dial_falls_back_to_the_link() {
        let (now, mut data) = (Instant::now(), DataConnections::default());
        data.request(now, peer(), true, None, wanted().0);
        let due = data.deadline().expect("a stream waits");
        assert!(data.overdue(due, |_| None).is_empty(), "nothing to fall back to");
        let due = data.deadline().expect("it waits on");
        assert_eq!(data.overdue(due, |_| Some(connection(1))).len(), 1);
        assert_eq!(data.deadline(), None);
        assert!(data.connected(due, peer(), connection(2)).is_empty());
    }

    #[test]
    fn after_a_failed_dial_the_link_serves_at_once_for_a_while() {
        let (now, mut data) = (Instant::now(), DataConnections::default());
        let (reply, mut answer) = wanted();
        data.request(now, peer(), true, None, reply);
        let failure = DialFailure::TimedOut;
        assert!(data.failed(now, peer(), None, &failure).is_empty());
        assert_eq!(answer.try_recv().expect("answered").expect_err("no link"), OpenError::Dial(failure));
        let decision = data.request(now, peer(), true, Some(connection(1)), wanted().0);
        assert!(matches!(decision, Decision::Open(open, _) if open == connection(1)));
        let later = now + RETRY_AFTER;
        assert!(matches!(data.request(later, peer(), true, Some(connection(1)), wanted().0), Decision::Dial));
    }

    #[test]
    fn a_connection_that_the_remote_closes_at_once_counts_as_failed() {
        let (now, mut data) = (Instant::now(), DataConnections::default());
        data.request(now, peer(), true, None, wanted().0);
        data.connected(now, peer(), connection(2));
        data.closed(now, peer(), connection(2));
        let decision = data.request(now, peer(), true, Some(connection(1)), wanted().0);
        assert!(matches!(decision, Decision::Open(open, _) if open == connection(1)));
    }

    #[test]
    fn without_an_address_only_the_link_can_serve() {
        let (now, mut data) = (Instant::now(), DataConnections::default());
        let (reply, mut answer) = wanted();
        assert!(matches!(data.request(now, peer(), false, None, reply), Decision::Done));
        assert!(matches!(answer.try_recv(), Ok(Err(OpenError::Dial(_)))));
        let decision = data.request(now, peer(), false, Some(connection(1)), wanted().0);
        assert!(matches!(decision, Decision::Open(..)));
    }
}
