//! One connection's control and data streams.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    StreamProtocol,
    core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::oneshot;

use super::{DialFailure, OpenError, stream::Stream};

/// Which bulk protocol a stream is to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bulk {
    /// Objects of a track, from a parent to a child.
    Data,
    /// Typed streams between two peers.
    Streams,
    /// Packages of a library.
    Library,
}

impl Bulk {
    /// Which connection carries it: what is large and in no hurry has one of its own.
    pub(super) const fn carrier(self) -> usize {
        match self {
            Self::Data | Self::Streams => 0,
            Self::Library => 1,
        }
    }

    /// As many connections carry bulk to a peer at most.
    pub(super) const CARRIERS: usize = 2;
}

/// Answers a request for a bulk stream.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) bulk: Bulk,
    pub(super) answer: oneshot::Sender<Result<Stream, OpenError>>,
}

impl Reply {
    /// Says whether anybody still wants the answer.
    pub(super) fn send(self, result: Result<Stream, OpenError>) -> bool {
        self.answer.send(result).is_ok()
    }
}

/// What a connection is for, at the end that knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Dialled as a link: opens the control stream.
    Link,
    /// Dialled for another reason: no control stream in either direction.
    Other,
    /// Incoming: accepts one control stream.
    Listener,
}

/// The protocols of a mesh.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    pub(super) control: StreamProtocol,
    pub(super) data: StreamProtocol,
    pub(super) streams: StreamProtocol,
    pub(super) library: StreamProtocol,
}

/// What a handler tells.
#[derive(Debug)]
pub(super) enum Event {
    /// The control stream is there.
    Control { stream: Stream, dialer: bool },
    /// There will be no control stream.
    ControlFailed(DialFailure),
    /// The remote opened a bulk stream.
    Bulk(Bulk, Stream),
    /// The remote did not answer to a bulk stream.
    BulkTimedOut,
}

/// The streams of one connection.
///
/// Keep-alive: libp2p keeps a connection while a negotiated [`Stream`] of it lives, and for the idle
/// timeout after that, which is what links and data connections need; nothing is added here.
#[derive(Debug)]
pub(super) struct Handler {
    protocols: Protocols,
    streams_max: usize,
    role: Role,
    /// The control stream is there, or was asked for.
    has_control: bool,
    /// One clone lives in each inbound data stream, and one in each outbound data stream or its request.
    inbound: Arc<()>,
    outbound: Arc<()>,
    /// At most 1 + 2 · `streams_max` entries: each holds a slot of `inbound` or `outbound`, but for control.
    queue: VecDeque<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Request, Event>>,
}

/// What an outbound stream is for.
#[derive(Debug)]
pub(super) enum Request {
    Control,
    Data { reply: Reply, slot: Arc<()> },
}

impl Handler {
    pub(super) fn new(protocols: Protocols, streams_max: usize, role: Role) -> Self {
        let mut handler = Self {
            protocols,
            streams_max,
            role,
            has_control: false,
            inbound: Arc::new(()),
            outbound: Arc::new(()),
            queue: VecDeque::new(),
        };
        if role == Role::Link {
            handler.has_control = true;
            handler.request(handler.protocols.control.clone(), Request::Control);
        }
        handler
    }

    fn request(&mut self, protocol: StreamProtocol, request: Request) {
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), request);
        self.queue.push_back(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
    }

    fn tell(&mut self, event: Event) {
        self.queue.push_back(ConnectionHandlerEvent::NotifyBehaviour(event));
    }

    fn has_room(&self, slots: &Arc<()>) -> bool {
        Arc::strong_count(slots) <= self.streams_max
    }

    fn on_inbound(&mut self, kind: Kind, stream: libp2p::Stream) {
        match kind {
            Kind::Control if self.role == Role::Listener && !self.has_control => {
                self.has_control = true;
                let stream = Stream::new(stream, Arc::new(()));
                self.tell(Event::Control { stream, dialer: false });
            }
            Kind::Bulk(bulk) if self.has_room(&self.inbound) => {
                let stream = Stream::new(stream, Arc::clone(&self.inbound));
                self.tell(Event::Bulk(bulk, stream));
            }
            Kind::Control => tracing::debug!("a second control stream, or one from the listener, is reset"),
            Kind::Bulk(_) => tracing::debug!("too many data streams: one is reset"),
        }
    }

    fn on_outbound(&mut self, request: Request, stream: libp2p::Stream) {
        match request {
            Request::Control => {
                let stream = Stream::new(stream, Arc::new(()));
                self.tell(Event::Control { stream, dialer: true });
            }
            Request::Data { reply, slot } => {
                let _ = reply.send(Ok(Stream::new(stream, slot))); // who asked may have given up
            }
        }
    }

    fn on_failure(&mut self, request: Request, error: &StreamUpgradeError<Infallible>) {
        match request {
            Request::Control => self.tell(Event::ControlFailed(match error {
                StreamUpgradeError::NegotiationFailed => DialFailure::NotThisMesh,
                StreamUpgradeError::Timeout => DialFailure::TimedOut,
                StreamUpgradeError::Io(error) => DialFailure::Denied(format!("the remote closed the stream: {error}")),
                StreamUpgradeError::Apply(never) => match *never {},
            })),
            Request::Data { reply, .. } => {
                if matches!(error, StreamUpgradeError::Timeout) {
                    self.tell(Event::BulkTimedOut);
                }
                let _ = reply.send(Err(match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::Io(_) => OpenError::Closed,
                    StreamUpgradeError::Apply(never) => match *never {},
                }));
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Reply;
    type ToBehaviour = Event;
    type InboundProtocol = Protocols;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Request;

    fn listen_protocol(&self) -> SubstreamProtocol<Protocols> {
        SubstreamProtocol::new(self.protocols.clone(), ())
    }

    /// The behaviour wants a data stream.
    fn on_behaviour_event(&mut self, reply: Reply) {
        if self.has_room(&self.outbound) {
            let slot = Arc::clone(&self.outbound);
            let protocol = match reply.bulk {
                Bulk::Data => self.protocols.data.clone(),
                Bulk::Streams => self.protocols.streams.clone(),
                Bulk::Library => self.protocols.library.clone(),
            };
            self.request(protocol, Request::Data { reply, slot });
        } else {
            let _ = reply.send(Err(OpenError::TooMany));
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, Request, Event>> {
        // No waker: the queue grows only within calls after which the connection polls again.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Protocols, ReadyUpgrade<StreamProtocol>, (), Request>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (kind, stream), .. }) => {
                self.on_inbound(kind, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.on_outbound(info, protocol);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => self.on_failure(info, &error),
            _ => {}
        }
    }
}

/// Which of our protocols an inbound stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Bulk(Bulk),
}

impl UpgradeInfo for Protocols {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 4];

    fn protocol_info(&self) -> Self::InfoIter {
        [self.control.clone(), self.data.clone(), self.streams.clone(), self.library.clone()]
    }
}

impl InboundUpgrade<libp2p::Stream> for Protocols {
    type Output = (Kind, libp2p::Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, protocol: StreamProtocol) -> Self::Future {
        let kind = if protocol == self.control {
            Kind::Control
        } else if protocol == self.streams {
            Kind::Bulk(Bulk::Streams)
        } else if protocol == self.library {
            Kind::Bulk(Bulk::Library)
        } else {
            Kind::Bulk(Bulk::Data)
        };
        ready(Ok((kind, stream)))
    }
}
