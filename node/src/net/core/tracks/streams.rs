//! The data streams of tracks: from parents, and to children.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackName};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};

use super::super::{Core, FromTask};
use crate::{
    mesh,
    net::{
        data::{self, Child, PullEvents, Wanted},
        host::{Multiaddr, Stream},
        line::Line,
    },
    relay::{Opening, Terms, pull::Begin, track::ReaderId},
};

/// How long opening the data stream to a new parent may take before another is tried.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a parent is to be asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::net::core) struct Publication {
    pub(in crate::net::core) epoch: u64,
    pub(in crate::net::core) origin: PeerId,
    pub(in crate::net::core) terms: Terms,
    pub(in crate::net::core) depth: u8,
}

/// A stream to a child.
#[derive(Debug)]
pub(super) struct Feeding {
    pub(super) task: AbortHandle,
    line: Arc<Line>,
    reader: ReaderId,
}

impl Feeding {
    /// A child that does not answer holds nobody up for longer than one that is gone.
    pub(super) fn tend(&self, lapsed: bool) {
        self.line.acking(|track| track.set_lapsed(self.reader, lapsed));
    }
}

/// A stream from a parent.
#[derive(Debug)]
pub(super) struct Pulling {
    pub(super) task: AbortHandle,
    /// Has the parent told that nothing is owed any more, once everything below this is consumed.
    leave: oneshot::Sender<Option<u64>>,
    /// Where the stream began, once it is open.
    pub(super) begin: Option<Begin>,
}

impl Core {
    // --- Pulling from parents ----------------------------------------------------------------

    pub(in crate::net::core) fn open_pull(
        &mut self,
        track: TrackName,
        parent: PeerId,
        ticket: u64,
        publication: Publication,
    ) {
        let Publication { epoch, origin, terms, depth } = publication;
        let scope = self.scope(&track, epoch, origin);
        let wanted = Wanted { ticket, scope, terms, depth, keys: Arc::clone(&self.keys) };
        let (addresses, spare) = (self.addresses_of(&parent), self.spares.take(&parent));
        let activity = self.links.get(&parent).map(|link| Arc::clone(&link.activity)).unwrap_or_default();
        let (host, tasks, config) = (self.host.clone(), self.tasks.clone(), self.track_config);
        let local = self.local_track(&track);
        let shared = Arc::clone(&local.shared);
        shared.lock().epochs.follow(epoch);
        let (name, (leave, left)) = (track.clone(), oneshot::channel());
        let task = tokio::spawn(async move {
            let report = Report { tasks: tasks.clone(), track: name.clone(), peer: parent, ticket };
            let open = async {
                match spare {
                    Some(stream) => Ok(stream),
                    None => host.open_data(parent, addresses).await,
                }
            };
            let reason = match timeout(OPEN_TIMEOUT, open).await {
                Ok(Ok(mut stream)) => {
                    stream.drive();
                    let error = data::pull(shared, config, wanted, stream, activity, left, report).await;
                    if error.is_lie() {
                        let (track, peer) = (name.clone(), parent);
                        let _ = tasks.send(FromTask::ParentLied { track, peer }).await;
                    }
                    error.to_string()
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "opening the data stream timed out".to_owned(),
            };
            let _ = tasks.send(FromTask::PullEnded { track: name, peer: parent, ticket, reason }).await;
        });
        local.pulls.insert((parent, ticket), Pulling { task: task.abort_handle(), leave, begin: None });
    }

    pub(in crate::net::core) fn addresses_of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let row = self.mesh.table().row(peer);
        row.into_iter().flat_map(|row| &row.addresses).filter_map(|address| address.parse().ok()).collect()
    }

    pub(in crate::net::core) fn close_pull(&mut self, track: &TrackName, parent: PeerId, ticket: u64, owed: bool) {
        let Some(local) = self.tracks.get_mut(track) else { return };
        match local.pulls.remove(&(parent, ticket)) {
            Some(pulling) if owed => pulling.task.abort(),
            // Another parent does not keep what its children had consumed before this node came.
            Some(pulling) => {
                let begun = local.pulls.values().filter_map(|other| other.begin);
                // An error means that it has ended.
                let _ = pulling.leave.send(begun.map(|begin| begin.newest).max());
            }
            None => {}
        }
    }

    pub(in crate::net::core) fn on_pull_ended(&mut self, track: TrackName, peer: PeerId, ticket: u64, reason: String) {
        let pulled = self.tracks.get_mut(&track).and_then(|local| local.pulls.remove(&(peer, ticket)));
        if pulled.is_some() {
            tracing::debug!(%track, parent = %peer, reason, "the stream from the parent ended");
            let input = mesh::Input::ParentClosed { track, peer, ticket, reason };
            self.mesh.handle_input(Instant::now(), input);
        }
    }

    // --- Feeding children --------------------------------------------------------------------

    pub(in crate::net::core) fn on_child_opening(&mut self, peer: PeerId, stream: Stream, opening: Opening) {
        let Opening { track, ticket, epoch, from } = opening;
        let Some(local) = self.tracks.get_mut(&track) else {
            return;
        };
        if local.feeds.contains_key(&(peer, ticket)) || local.waiting.contains_key(&(peer, ticket)) {
            return;
        }
        local.waiting.insert((peer, ticket), (stream, from, epoch));
        self.mesh.handle_input(Instant::now(), mesh::Input::ChildOpened { track, peer, ticket });
    }

    pub(in crate::net::core) fn serve(&mut self, track: TrackName, child: PeerId, ticket: u64) {
        let link = self.links.get(&child);
        let activity = link.map(|link| Arc::clone(&link.activity)).unwrap_or_default();
        let owner = link.map(|link| (child, link.instance()));
        let tasks = self.tasks.clone();
        let pace = self.library.pace();
        let local = self.local_track(&track);
        let waiting = local.waiting.remove(&(child, ticket));
        let line = local.shared.line();
        let (Some((mut stream, from, epoch)), Some(line)) = (waiting, line) else {
            self.mesh.handle_input(Instant::now(), mesh::Input::ChildClosed { track, peer: child, ticket });
            return;
        };
        if epoch != line.epoch {
            tracing::debug!(%track, %child, epoch, ours = line.epoch, "the child follows another epoch");
            self.mesh.handle_input(Instant::now(), mesh::Input::ChildClosed { track, peer: child, ticket });
            return;
        }
        let sent = Arc::clone(local.sent.entry(child).or_default());
        stream.drive();
        let fed = Child::new(Arc::clone(&line), owner, from);
        let reader = fed.reader();
        let task = tokio::spawn(async move {
            let reason = data::feed(fed, stream, activity, sent, pace).await.to_string();
            let _ = tasks.send(FromTask::FeedEnded { track, peer: child, ticket, reason }).await;
        });
        local.feeds.insert((child, ticket), Feeding { task: task.abort_handle(), line, reader });
    }

    pub(in crate::net::core) fn drop_child(&mut self, track: &TrackName, child: PeerId, ticket: u64) {
        if let Some(local) = self.tracks.get_mut(track) {
            local.waiting.remove(&(child, ticket));
            if let Some(feeding) = local.feeds.remove(&(child, ticket)) {
                feeding.task.abort();
            }
        }
    }

    pub(in crate::net::core) fn on_feed_ended(&mut self, track: TrackName, peer: PeerId, ticket: u64, reason: &str) {
        let fed = self.tracks.get_mut(&track).and_then(|local| local.feeds.remove(&(peer, ticket)));
        if fed.is_some() {
            tracing::debug!(%track, child = %peer, reason, "the stream to the child ended");
            self.mesh.handle_input(Instant::now(), mesh::Input::ChildClosed { track, peer, ticket });
        }
    }
}

/// What a pull tells the core.
struct Report {
    tasks: mpsc::Sender<FromTask>,
    track: TrackName,
    peer: PeerId,
    ticket: u64,
}

impl PullEvents for Report {
    async fn opened(&mut self, begin: Begin) {
        let (track, peer, ticket) = (self.track.clone(), self.peer, self.ticket);
        let _ = self.tasks.send(FromTask::PullOpened { track, peer, ticket, begin }).await;
    }

    fn gap(&mut self, from: u64, to: u64) {
        // The event is for people; subscribers are told in any case.
        let _ = self.tasks.try_send(FromTask::Gap { track: self.track.clone(), from, to });
    }
}
