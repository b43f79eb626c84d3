//! What the library needs of the mesh: rows, links, and the streams that peers open.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use banyan_gossip::PeerId;

use super::Core;
use crate::net::{
    host::Stream,
    library::{
        pace::SharedPace,
        port::{Asking, Door, LibraryRequest, LinkInfo, LinkReply, PeerRow, Rows},
    },
};

/// The links that the library holds.
#[derive(Debug)]
pub(super) struct LibraryLinks {
    door: Option<Door>,
    held: BTreeSet<PeerId>,
    /// Until the link is up.
    waiting: BTreeMap<PeerId, Vec<LinkReply>>,
}

impl LibraryLinks {
    pub(super) const fn new(door: Option<Door>) -> Self {
        Self { door, held: BTreeSet::new(), waiting: BTreeMap::new() }
    }

    /// What live tracks say to the library.
    pub(super) fn pace(&self) -> SharedPace {
        self.door.as_ref().map_or_else(|| SharedPace::new(Instant::now()), Door::pace)
    }

    pub(super) async fn stop(&mut self) {
        self.waiting.clear();
        if let Some(door) = self.door.take() {
            door.stop().await;
        }
    }
}

impl Core {
    pub(super) fn on_library_request(&mut self, request: LibraryRequest) {
        let now = Instant::now();
        match request {
            LibraryRequest::Rows { since, reply } => drop(reply.send(self.library_rows(since))),
            LibraryRequest::Offer(library) => self.mesh.set_library(now, library),
            LibraryRequest::Tell(event) => self.emit(event),
            LibraryRequest::Link(peer, reply) => {
                if peer == self.mesh.me() || !self.mesh.hold_link(now, peer) {
                    self.let_go(&peer);
                    return;
                }
                self.library.held.insert(peer);
                self.library.waiting.entry(peer).or_default().push(reply);
                if self.links.contains_key(&peer) {
                    self.on_library_link_up(peer);
                }
            }
            LibraryRequest::LetGo(peer) => {
                self.library.held.remove(&peer);
                self.let_go(&peer);
            }
        }
    }

    fn library_rows(&self, since: Option<u64>) -> Option<Rows> {
        let table = self.mesh.table();
        let revision = table.revision();
        (since != Some(revision)).then(|| {
            let rows = table.iter_live().filter(|row| row.peer != self.mesh.me()).map(|row| PeerRow {
                peer: row.peer,
                library: row.library.clone(),
                label: row.label.as_ref().map(ToString::to_string),
            });
            Rows { revision, rows: rows.collect() }
        })
    }

    pub(super) fn on_library_stream(&self, peer: PeerId, stream: Stream) {
        let (Some(link), Some(door)) = (self.links.get(&peer), &self.library.door) else {
            tracing::debug!(%peer, "refused a stream of the library");
            return;
        };
        door.enter(Asking { peer, stream, activity: Arc::clone(&link.activity) });
    }

    pub(super) fn on_library_link_up(&mut self, peer: PeerId) {
        let Some(link) = self.links.get(&peer) else { return };
        let row = self.mesh.table().row(&peer).map(|row| row.addresses.clone()).unwrap_or_default();
        let addresses: Vec<_> = row.iter().filter_map(|address| address.parse().ok()).collect();
        for reply in self.library.waiting.remove(&peer).unwrap_or_default() {
            let _ = reply.send(LinkInfo { addresses: addresses.clone(), activity: Arc::clone(&link.activity) });
        }
    }

    /// The link is gone, or could not be had.
    pub(super) fn on_bulk_link_down(&mut self, peer: &PeerId) {
        self.on_streams_link_down(peer);
        self.library.waiting.remove(peer);
        self.library.held.remove(peer);
        self.mesh.let_go(peer);
    }

    /// Lets a link go unless something else needs it.
    pub(super) fn let_go(&mut self, peer: &PeerId) {
        if !self.library.held.contains(peer) && !self.streams_need_link(peer) {
            self.mesh.let_go(peer);
        }
    }
}
