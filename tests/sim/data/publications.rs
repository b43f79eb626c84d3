//! What users publish, and what hosts hold of it.

use banyan_gossip::TrackName;
use banyan_node::relay::{Mode, Track, TrackConfig};

use super::Line;
use crate::{check, world::World};

impl World {
    pub(crate) fn begin_publication(&mut self, host: u32, track: &TrackName, epoch: u64, mode: Mode) {
        let now = self.instant();
        self.local(host, track);
        if let Some(local) = self.track(host, track) {
            local.published = true;
            local.epochs.begin(now, Line::new(epoch, Track::new_origin(TrackConfig::default(), mode)), 0);
        }
    }

    /// Publishes the next object if the window has room. Returns its id.
    pub fn publish_object(&mut self, host: u32, track: &TrackName, length: usize) -> Option<u64> {
        let now = self.instant();
        let line = self.track(host, track).filter(|local| local.published)?.epochs.line()?.clone();
        let (epoch, mut ours) = (line.epoch, line.lock());
        if !ours.may_publish(length) {
            return None;
        }
        let (mode, id) = (ours.mode(), ours.ring().next().id);
        ours.publish(now, &check::payload(epoch, id, length));
        drop(ours);
        self.checks.ledger.published(track, epoch, mode, id);
        self.stir(host, track);
        self.after(host);
        Some(id)
    }

    /// The epoch that a host publishes or follows.
    #[must_use]
    pub fn epoch(&self, host: u32, track: &TrackName) -> Option<u64> {
        self.line(host, track).map(|line| line.epoch)
    }

    /// What a host's ring of an epoch holds.
    #[must_use]
    pub fn ring(&self, host: u32, track: &TrackName, epoch: u64) -> Option<(u64, u64)> {
        self.line(host, track).filter(|line| line.epoch == epoch).map(Line::bounds)
    }

    /// Objects that came to running hosts, and how many of them for a second time.
    #[must_use]
    pub fn received(&self, track: &TrackName) -> (u64, u64) {
        let lines = (0..self.hosts.len() as u32).filter_map(|host| self.line(host, track));
        lines.map(|line| line.lock().counters()).fold((0, 0), |(all, twice), counters| {
            (all + counters.objects + counters.duplicates, twice + counters.duplicates)
        })
    }

    fn line(&self, host: u32, track: &TrackName) -> Option<&Line> {
        self.hosts[host as usize].process.as_ref()?.tracks.get(track)?.epochs.line()
    }
}
