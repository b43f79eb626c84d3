//! What the log of repairs is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use banyan_gossip::{PeerId, TrackName};
use banyan_tree::{DetachReason, MoveReason};

use super::Core;
use crate::{
    mesh::{inspect, repairs::Found},
    views::repairs::Repairs,
};

impl Core {
    pub(super) fn repair_views(&self) -> Repairs {
        self.repairs.view(self.started_unix_ms(), |peer| inspect::name(&self.mesh, peer))
    }

    /// What this machine's clock showed when the node started.
    fn started_unix_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.saturating_sub(self.started.elapsed()).as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn log_lost(&mut self, track: &TrackName, parent: PeerId, reason: DetachReason) {
        let silence = self.silence(&parent);
        self.repairs.lost(Instant::now(), track, parent, reason, silence);
    }

    pub(super) fn log_attached(
        &mut self,
        track: &TrackName,
        parent: PeerId,
        from: Option<PeerId>,
        (depth, reason, tries, took): (u8, MoveReason, u32, Duration),
    ) {
        let silence = from.and_then(|from| self.silence(&from));
        let replayed = self.tracks.get(track).and_then(|local| local.replayed(&parent));
        let found = Found { parent, from, depth, reason, tries, took, silence, replayed };
        self.repairs.attached(Instant::now(), track, found);
    }

    /// For how long nothing has come from a peer, if it is linked or was until a moment ago.
    fn silence(&self, peer: &PeerId) -> Option<Duration> {
        let link = || Some((self.mesh.links().link(peer)?.heard(), self.links.get(peer)?.activity.last()));
        let open = link().map(|(control, data)| control.max(data).elapsed());
        open.or_else(|| self.silences.get(peer).copied())
    }

    /// The link to a peer is about to be closed.
    pub(super) fn note_silence(&mut self, peer: &PeerId) {
        if let Some(silence) = self.silence(peer) {
            self.silences.insert(*peer, silence);
        }
    }
}
