//! What users publish, and what hosts hold of it.

use banyan_gossip::TrackName;
use banyan_node::relay::{Mode, Track, TrackConfig, track::Assembler};

use super::Line;
use crate::{check, world::World};

impl World {
    pub(crate) fn begin_publication(&mut self, host: u32, track: &TrackName, epoch: u64, mode: Mode) {
        self.local(host, track);
        let line = Line {
            epoch,
            track: Track::new_origin(TrackConfig::default(), mode),
            reader: None,
            assembler: Assembler::default(),
        };
        if let Some(local) = self.track(host, track) {
            local.published = true;
            local.following = Some(epoch);
        }
        self.begin_line(host, track, line, 0);
    }

    /// Publishes the next object if the window has room. Returns its id.
    pub fn publish_object(&mut self, host: u32, track: &TrackName, length: usize) -> Option<u64> {
        let now = self.instant();
        let line = self.track(host, track).filter(|local| local.published)?.line.as_mut()?;
        if !line.track.may_publish(length) {
            return None;
        }
        let (epoch, mode, id) = (line.epoch, line.track.mode(), line.track.ring().next().id);
        line.track.publish(now, &check::payload(epoch, id, length));
        self.checks.ledger.published(track, epoch, mode, id);
        self.stir(host, track);
        self.after(host);
        Some(id)
    }

    /// The epoch that a host publishes or follows.
    #[must_use]
    pub fn epoch(&self, host: u32, track: &TrackName) -> Option<u64> {
        let local = self.hosts[host as usize].process.as_ref()?.tracks.get(track)?;
        local.line.as_ref().map(|line| line.epoch)
    }

    /// What a host's ring of an epoch holds.
    #[must_use]
    pub fn ring(&self, host: u32, track: &TrackName, epoch: u64) -> Option<(u64, u64)> {
        let local = self.hosts[host as usize].process.as_ref()?.tracks.get(track)?;
        let line = local.line.as_ref().filter(|line| line.epoch == epoch)?;
        Some((line.track.ring().oldest(), line.track.ring().newest()))
    }

    /// Objects that came to running hosts, and how many of them for a second time.
    #[must_use]
    pub fn received(&self, track: &TrackName) -> (u64, u64) {
        let lines = self.hosts.iter().filter_map(|host| host.process.as_ref()?.tracks.get(track)?.line.as_ref());
        lines.map(|line| line.track.counters()).fold((0, 0), |(all, twice), counters| {
            (all + counters.objects + counters.duplicates, twice + counters.duplicates)
        })
    }
}
