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
/// How long a peer is left alone that closed one, or to which none could be opened.
const SPARES_PAUSE: Duration = Duration::from_secs(30);
/// Streams of children on which nothing was said yet that may stay so; others have 5 s. A node near the
/// origin is the backup of many.
pub(super) const SPARES_SERVED_MAX: usize = 64;

/// The streams that nothing was said on yet.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// `None`: being opened.
    streams: BTreeMap<PeerId, Option<Stream>>,
    /// Whom not to try again before when.
    paused: BTreeMap<PeerId, Instant>,
    due: Option<Instant>,
}

impl Spares {
    /// The stream to a peer, if it is still open.
    pub(super) fn take(&mut self, peer: &PeerId) -> Option<Stream> {
        let mut stream = self.streams.remove(peer)??;
        is_open(&mut stream).then_some(stream)
    }

    /// A stream was opened, or could not be.
    pub(super) fn opened(&mut self, now: Instant, peer: PeerId, stream: Option<Stream>) {
        if let Some(waiting) = self.streams.get_mut(&peer).filter(|spare| spare.is_none()) {
            *waiting = stream;
            if waiting.is_none() {
                self.streams.remove(&peer);
                self.paused.insert(peer, now + SPARES_PAUSE);
            }
        }
    }

    /// Keeps those that are wanted and still open. Returns to whom others are to be opened.
    fn renew(&mut self, now: Instant, wanted: &BTreeSet<PeerId>) -> Vec<PeerId> {
        self.paused.retain(|_, until| *until > now);
        self.streams.retain(|peer, stream| {
            let open = stream.as_mut().is_none_or(is_open);
            if !open {
                self.paused.insert(*peer, now + SPARES_PAUSE);
            }
            open && wanted.contains(peer)
        });
        let is_missing = |peer: &&PeerId| !self.streams.contains_key(*peer) && !self.paused.contains_key(*peer);
        let missing: Vec<PeerId> = wanted.iter().filter(is_missing).copied().collect();
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
        for peer in self.spares.renew(now, &wanted) {
            let addresses = self.addresses_of(&peer);
            let (host, tasks) = (self.host.clone(), self.tasks.clone());
            tokio::spawn(async move {
                let stream = host.open_data(peer, addresses).await.ok();
                let _ = tasks.send(FromTask::SpareOpened { peer, stream }).await;
            });
        }
    }
}
