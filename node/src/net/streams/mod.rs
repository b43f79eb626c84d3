//! Typed streams to other peers, as the node's user sees them.
//!
//! ```no_run
//! # async fn example(node: banyan_node::Node, id: banyan_node::PeerId) -> Result<(), Box<dyn std::error::Error>> {
//! use banyan_node::streams::{CloseBehavior, StreamConfig, stream_id_from_key};
//!
//! let stream = node.peer(id).open_stream(stream_id_from_key("readings"), StreamConfig::default()).await?;
//! stream.send("21.5".into()).await?;
//! stream.close(CloseBehavior::DrainThenClose).await?;
//!
//! // At the other end, or `peer.open_stream` with the same id:
//! let stream = node.accept_stream().await?;
//! while let Some(message) = stream.recv().await? {
//!     println!("{}: {:?}", message.seq, message.payload);
//! }
//! # Ok(())
//! # }
//! ```

pub(crate) mod session;
pub(crate) mod task;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use banyan_gossip::PeerId;
use bytes::Bytes;

use super::node::Node;
use crate::streams::{CloseBehavior, Key, Message, OpenError, Read, StreamConfig, StreamId, StreamStats, TrySendError};
use session::{Bells, Session};

/// Another peer of the mesh.
#[derive(Debug, Clone)]
pub struct Peer {
    node: Node,
    id: PeerId,
}

impl Peer {
    pub(crate) const fn new(node: Node, id: PeerId) -> Self {
        Self { node, id }
    }

    /// The peer's id.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// Opens a stream to this peer, or finds the one that is open: then the first configuration stays, and a
    /// warning is logged if this is another. The other end opens the same id, or takes the stream from
    /// [`Node::accept_stream`]; what is sent before that waits there.
    ///
    /// Connects if need be. While the id's former life is still being closed, waits for that; at most 10 s
    /// in all.
    ///
    /// # Errors
    /// [`OpenError::TooMany`]; [`OpenError::NotConnected`] if the peer is unknown, cannot be reached, or is this
    /// node itself; [`OpenError::Closing`] if the former life does not end.
    pub async fn open_stream(&self, id: StreamId, config: StreamConfig) -> Result<StreamHandle, OpenError> {
        self.node.session(self.id).await?.open(id, config).await
    }
}

/// A handle of one life of a stream. Clones, and handles from opening the id again, share it; dropping them
/// does not close it.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    session: Arc<Session>,
    key: Key,
    id: StreamId,
    bells: Arc<Bells>,
}

impl StreamHandle {
    /// The peer at the other end.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.session.peer()
    }

    /// The stream's id.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Sends a message if the other end has granted credit for it.
    ///
    /// # Errors
    /// [`TrySendError`]: nothing was enqueued.
    #[expect(clippy::needless_pass_by_value, reason = "what is sent is given away")]
    pub fn try_send(&self, payload: Bytes) -> Result<(), TrySendError> {
        self.session.act(|link| link.try_send(Instant::now(), self.key, &payload))
    }

    /// Sends a message; waits for credit, in turn with others who wait. Cancel-safe: a cancelled call has
    /// sent nothing and cost nothing.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), but never [`TrySendError::Backpressure`].
    pub async fn send(&self, payload: Bytes) -> Result<(), TrySendError> {
        self.send_all(&mut VecDeque::from([payload])).await
    }

    /// Sends messages, taking each off the front as it is sent; waits for credit. What one call brings is
    /// enqueued in as few steps as credit allows, which small messages gain most from. Cancel-safe: what is
    /// left in `messages` was not sent.
    ///
    /// # Errors
    /// As [`send`](Self::send), of the message that is at the front.
    pub async fn send_all(&self, messages: &mut VecDeque<Bytes>) -> Result<(), TrySendError> {
        let mut first_try = true;
        let mut push = || {
            self.session.act(|link| {
                let now = Instant::now();
                while let Some(message) = messages.front() {
                    link.send_or_wait(now, self.key, message, first_try)?;
                    first_try = true;
                    messages.pop_front();
                }
                Ok(())
            })
        };
        // Whoever waits goes first.
        if self.bells.sending.try_lock().is_ok() {
            match push() {
                Err(TrySendError::Backpressure) => {}
                done => return done,
            }
        }
        let _turn = self.bells.sending.lock().await;
        loop {
            let mut writable = std::pin::pin!(self.bells.writable.notified());
            writable.as_mut().enable();
            match push() {
                Err(TrySendError::Backpressure) => writable.await,
                done => return done,
            }
        }
    }

    /// The next message; `None`, once, when the other end has closed the stream and everything was read.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`TrySendError::NotConnected`]: this life of the stream is over.
    pub async fn recv(&self) -> Result<Option<Message>, TrySendError> {
        let mut messages = Vec::with_capacity(1);
        self.recv_many(&mut messages, 1).await?;
        Ok(messages.pop())
    }

    /// Appends the messages that are there, at most `limit`, after waiting for the first; how many there
    /// were. 0 as the `None` of [`recv`](Self::recv), or if the limit is 0. Cancel-safe.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_many(&self, messages: &mut Vec<Message>, limit: usize) -> Result<usize, TrySendError> {
        let before = messages.len();
        let mut pop = || {
            self.session.act(|link| {
                let now = Instant::now();
                while messages.len() - before < limit {
                    match link.read(now, self.key) {
                        Read::Message(message) => messages.push(message),
                        _ if messages.len() > before => break,
                        Read::Empty => return None,
                        Read::End => return Some(Ok(0)),
                        Read::NotConnected => return Some(Err(TrySendError::NotConnected)),
                    }
                }
                Some(Ok(messages.len() - before))
            })
        };
        if let Some(done) = pop() {
            return done;
        }
        loop {
            let mut readable = std::pin::pin!(self.bells.readable.notified());
            readable.as_mut().enable();
            match pop() {
                Some(done) => return done,
                None => readable.await,
            }
        }
    }

    /// Closes the stream for both ends, and waits until the other end has let go; with
    /// [`CloseBehavior::DrainThenClose`] everything has arrived there by then. A cancelled call closes all the
    /// same. All handles of this life get `NotConnected` from now on.
    ///
    /// # Errors
    /// [`TrySendError::NotConnected`]: it was closed before by the other end, or the connection broke.
    pub async fn close(&self, behavior: CloseBehavior) -> Result<(), TrySendError> {
        self.session.close(self.key, behavior).await
    }

    /// What the stream did so far; `None` when this life is over.
    #[must_use]
    pub fn stats(&self) -> Option<StreamStats> {
        self.session.act(|link| link.stats(self.key))
    }
}
