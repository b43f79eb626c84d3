//! What the library and the node's core have of each other.

use std::{sync::Arc, time::Duration};

use banyan_gossip::{LibraryDigest, PeerId};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::pace::SharedPace;
use crate::{
    net::{
        activity::Activity,
        core::Request,
        host::{Host, Multiaddr, OpenError, Stream},
    },
    views::Event,
};

/// How long a link may take.
const LINK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the library may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A link that is up.
#[derive(Debug)]
pub(crate) struct LinkInfo {
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) activity: Arc<Activity>,
}

/// Answers when the link is up; dropped if it cannot be had.
pub(crate) type LinkReply = oneshot::Sender<LinkInfo>;

/// What the table says of libraries.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) revision: u64,
    /// Of all live peers but this node.
    pub(crate) rows: Vec<PeerRow>,
}

/// What one row says.
#[derive(Debug)]
pub(crate) struct PeerRow {
    pub(crate) peer: PeerId,
    pub(crate) library: Option<LibraryDigest>,
    pub(crate) label: Option<String>,
}

/// What the library asks of the core.
#[derive(Debug)]
pub(crate) enum LibraryRequest {
    /// The rows, if they have changed since this revision of the table.
    Rows { since: Option<u64>, reply: oneshot::Sender<Option<Rows>> },
    /// What the own row says.
    Offer(Option<LibraryDigest>),
    /// An event for the node's user.
    Tell(Event),
    /// Holds the link to a peer.
    Link(PeerId, LinkReply),
    /// Lets it go.
    LetGo(PeerId),
}

/// A peer wants to ask.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) peer: PeerId,
    pub(crate) stream: Stream,
    pub(crate) activity: Arc<Activity>,
}

/// The core's end.
#[derive(Debug)]
pub(crate) struct Door {
    asking: mpsc::Sender<Asking>,
    stop: CancellationToken,
    tasks: TaskTracker,
    pace: SharedPace,
}

impl Door {
    pub(super) const fn new(
        asking: mpsc::Sender<Asking>,
        stop: CancellationToken,
        tasks: TaskTracker,
        pace: SharedPace,
    ) -> Self {
        Self { asking, stop, tasks, pace }
    }

    /// What live tracks say to it.
    pub(crate) fn pace(&self) -> SharedPace {
        self.pace.clone()
    }

    /// A peer has opened a stream. Too many at a time are dropped, and come again.
    pub(crate) fn enter(&self, asking: Asking) {
        let _ = self.asking.try_send(asking);
    }

    /// Ends everything; downloads are kept to go on with.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("the library is slow to stop");
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The library's end. Does not keep the node alive.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    requests: mpsc::WeakSender<Request>,
    host: Host,
}

impl Port {
    pub(crate) const fn new(requests: mpsc::WeakSender<Request>, host: Host) -> Self {
        Self { requests, host }
    }

    async fn send(&self, request: LibraryRequest) -> bool {
        match self.requests.upgrade() {
            Some(requests) => requests.send(Request::Library(request)).await.is_ok(),
            None => false,
        }
    }

    /// The rows, if they have changed since.
    pub(super) async fn rows(&self, since: Option<u64>) -> Option<Rows> {
        let (reply, answer) = oneshot::channel();
        self.send(LibraryRequest::Rows { since, reply }).await;
        answer.await.ok().flatten()
    }

    /// Says in the own row what this node offers.
    pub(super) async fn offer(&self, library: LibraryDigest) {
        self.send(LibraryRequest::Offer(Some(library))).await;
    }

    /// Tells the node's user, unless too much is told already.
    pub(super) fn tell(&self, event: Event) {
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.try_send(Request::Library(LibraryRequest::Tell(event)));
        }
    }

    /// Holds the link to a peer, until it breaks or is let go.
    pub(super) async fn link(&self, peer: PeerId) -> Option<LinkInfo> {
        let (reply, answer) = oneshot::channel();
        self.send(LibraryRequest::Link(peer, reply)).await;
        timeout(LINK_TIMEOUT, answer).await.ok()?.ok()
    }

    pub(super) async fn let_go(&self, peer: PeerId) {
        self.send(LibraryRequest::LetGo(peer)).await;
    }

    pub(super) async fn open(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<Stream, OpenError> {
        self.host.open_library(peer, addresses).await
    }
}
