//! One connection's [`Link`], shared by its task and the handles of its streams.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio::{sync::Notify, time::timeout};

use super::StreamHandle;
use crate::{
    net::types::NodeError,
    streams::{CloseBehavior, Event, Key, Link, OpenError, StreamConfig, StreamId, TrySendError},
};

/// How long opening a stream may take, connecting included.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Rung for those who wait at a stream, and at those that come after it in its place.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    pub(super) readable: Notify,
    pub(super) writable: Notify,
    /// Held by the one who waits for credit; the next wait for it.
    pub(super) sending: tokio::sync::Mutex<()>,
}

/// All streams to one peer, while one connection lasts.
#[derive(Debug)]
pub(crate) struct Session {
    peer: PeerId,
    inner: Mutex<Inner>,
    /// There is something to write.
    pub(super) work: Notify,
    /// A stream is gone.
    gone: Notify,
    incoming: Arc<Incoming>,
}

#[derive(Debug, Default)]
struct Inner {
    link: Link,
    /// By the index of a stream.
    bells: Vec<Arc<Bells>>,
    /// Waits in [`Incoming`].
    listed: bool,
}

impl Inner {
    fn bells(&mut self, key: Key) -> &Arc<Bells> {
        if self.bells.len() <= key.index() {
            self.bells.resize_with(key.index() + 1, Arc::default);
        }
        &self.bells[key.index()]
    }
}

impl Session {
    pub(crate) fn new(peer: PeerId, incoming: Arc<Incoming>) -> Arc<Self> {
        let (inner, work, gone) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Self { peer, inner, work, gone, incoming })
    }

    pub(super) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Does something with the streams, and wakes whoever may go on after it.
    pub(crate) fn act<T>(self: &Arc<Self>, act: impl FnOnce(&mut Link) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut inner.link);
        while let Some(event) = inner.link.poll_event() {
            match event {
                Event::Readable(key) => inner.bells(key).readable.notify_waiters(),
                Event::Writable(key) => inner.bells(key).writable.notify_waiters(),
                Event::Gone(_) => self.gone.notify_waiters(),
                Event::Incoming => {
                    if !std::mem::replace(&mut inner.listed, true) {
                        self.incoming.push(self);
                    }
                }
            }
        }
        if inner.link.take_wake() {
            self.work.notify_one();
        }
        result
    }

    fn handle(self: &Arc<Self>, key: Key, id: StreamId) -> StreamHandle {
        let bells = Arc::clone(self.inner.lock().unwrap_or_else(PoisonError::into_inner).bells(key));
        StreamHandle { session: Arc::clone(self), key, id, bells }
    }

    pub(super) async fn open(self: &Arc<Self>, id: StreamId, config: StreamConfig) -> Result<StreamHandle, OpenError> {
        let open = async {
            loop {
                let mut gone = std::pin::pin!(self.gone.notified());
                gone.as_mut().enable();
                match self.act(|link| link.open(Instant::now(), id, config)) {
                    Err(OpenError::Closing) => gone.await,
                    done => return done,
                }
            }
        };
        let opened = timeout(OPEN_TIMEOUT, open).await.unwrap_or(Err(OpenError::Closing))?;
        if opened.config_ignored {
            tracing::warn!(peer = %self.peer, stream = %id, "the stream is open with another configuration, which stays");
        }
        Ok(self.handle(opened.key, id))
    }

    pub(super) async fn close(self: &Arc<Self>, key: Key, behavior: CloseBehavior) -> Result<(), TrySendError> {
        if !self.act(|link| link.close(key, behavior)) {
            return Err(TrySendError::NotConnected);
        }
        loop {
            let mut gone = std::pin::pin!(self.gone.notified());
            gone.as_mut().enable();
            let (there, connected) = self.act(|link| (link.stats(key).is_some(), link.is_connected()));
            // An answered close is one, whatever became of the connection after it.
            if !there {
                return Ok(());
            }
            if !connected {
                return Err(TrySendError::NotConnected);
            }
            gone.await;
        }
    }

    /// Whether any stream is open.
    pub(crate) fn in_use(self: &Arc<Self>) -> bool {
        self.act(|link| !link.is_empty())
    }

    /// The connection is gone.
    pub(crate) fn disconnect(self: &Arc<Self>) {
        self.act(Link::disconnect);
    }
}

/// Sessions in which a peer opened a stream that nobody here took yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Each session at most once.
    sessions: Mutex<VecDeque<Weak<Session>>>,
    bell: Notify,
    closed: AtomicBool,
}

impl Incoming {
    fn push(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push_back(Arc::downgrade(session));
        self.bell.notify_waiters();
    }

    /// The node has shut down.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    fn take(&self) -> Option<StreamHandle> {
        loop {
            let session = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            let Some(session) = session.upgrade() else { continue };
            session.inner.lock().unwrap_or_else(PoisonError::into_inner).listed = false;
            if let Some((key, id)) = session.act(|link| link.accept(Instant::now())) {
                return Some(session.handle(key, id));
            }
        }
    }

    pub(crate) async fn accept(&self) -> Result<StreamHandle, NodeError> {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            bell.as_mut().enable();
            if let Some(stream) = self.take() {
                return Ok(stream);
            }
            if self.closed.load(Ordering::Relaxed) {
                return Err(NodeError::Shutdown);
            }
            bell.await;
        }
    }
}
