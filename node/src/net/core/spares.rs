//! Data streams opened in advance to the backups of parents.
//!
//! To open a stream costs a dial, a handshake and two negotiations when there is no connection yet: 10 to
//! 50 ms on a busy machine, in the moment when a parent is lost. So a node keeps a stream open to each of
//! its backups on which nothing was said yet; the first thing said is the opening, as on any data stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use futures::{AsyncReadExt, FutureExt};

use super::{Core, FromTask};
use crate::net::host::Stream;

/// Most streams kept, over all tracks: each is a connection of its own, about 100 KiB at either end.
const SPARES_MAX: usize = 8;
/// How often they are looked after.
const SPARES_TICK: Duration = Duration::from_millis(500);

/// The streams that nothing was said on yet.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// `None`: being opened.
    streams: BTreeMap<PeerId, Option<Stream>>,
    due: Option<Instant>,
}

impl Spares {
    /// The stream to a peer, if it is still open.
    pub(super) fn take(&mut self, peer: &PeerId) -> Option<Stream> {
        let mut stream = self.streams.remove(peer)??;
        is_open(&mut stream).then_some(stream)
    }

    /// A stream was opened, or could not be.
    pub(super) fn opened(&mut self, peer: PeerId, stream: Option<Stream>) {
        match (self.streams.remove(&peer), stream) {
            (Some(None), Some(stream)) => drop(self.streams.insert(peer, Some(stream))),
            (Some(Some(spare)), _) => drop(self.streams.insert(peer, Some(spare))),
            _ => {}
        }
    }

    /// Keeps those that are wanted and still open. Returns to whom others are to be opened.
    fn renew(&mut self, wanted: &BTreeSet<PeerId>) -> Vec<PeerId> {
        self.streams.retain(|peer, stream| wanted.contains(peer) && stream.as_mut().is_none_or(is_open));
        let missing: Vec<PeerId> = wanted.iter().filter(|peer| !self.streams.contains_key(*peer)).copied().collect();
        self.streams.extend(missing.iter().map(|peer| (*peer, None)));
        missing
    }
}

/// A peer says nothing on a stream before the opening, so that whatever can be read is its end.
fn is_open(stream: &mut Stream) -> bool {
    stream.read(&mut [0]).now_or_never().is_none()
}

impl Core {
    /// Opens streams to the backups of parents, and closes those to others.
    pub(super) fn tend_spares(&mut self, now: Instant) {
        if self.tracks.is_empty() {
            self.spares = Spares::default();
        }
        if self.spares.due.is_some_and(|due| now < due) {
            return;
        }
        self.spares.due = Some(now + SPARES_TICK);
        let backups = self.mesh.trees().flat_map(|(_, tree)| tree.backups());
        let linked = backups.filter(|peer| self.links.contains_key(*peer));
        let wanted = linked.copied().take(SPARES_MAX).collect();
        for peer in self.spares.renew(&wanted) {
            let addresses = self.addresses_of(&peer);
            let (host, tasks) = (self.host.clone(), self.tasks.clone());
            tokio::spawn(async move {
                let stream = host.open_data(peer, addresses).await.ok();
                let _ = tasks.send(FromTask::SpareOpened { peer, stream }).await;
            });
        }
    }
}
