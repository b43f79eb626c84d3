//! No host that runs is thought dead for longer than it takes to refute.

use std::collections::BTreeMap;

use banyan_gossip::PeerId;

use crate::{
    queue::Nanos,
    world::{World, host_of},
};

/// Hosts that run and are thought dead.
#[derive(Debug, Default)]
pub(crate) struct FalseDeaths {
    /// By observer and subject, since when.
    open: BTreeMap<(u32, u32), Nanos>,
    /// Times that anybody thought so while the subject was awake.
    pub(crate) count: u64,
}

impl FalseDeaths {
    pub(super) fn forget(&mut self, host: u32) {
        self.open.retain(|(observer, subject), _| *observer != host && *subject != host);
    }
}

impl World {
    /// Times that a host which ran was declared dead by another.
    #[must_use]
    pub const fn false_deaths(&self) -> u64 {
        self.checks.false_deaths.count
    }

    pub(super) fn on_declared_dead(&mut self, observer: u32, peer: &PeerId) {
        let Some(subject) = host_of(self, peer) else {
            return;
        };
        if self.mesh(subject).is_some() && !self.checks.leaving.contains(&subject) {
            self.checks.false_deaths.count += 1;
            self.checks.false_deaths.open.insert((observer, subject), self.now);
        }
    }

    pub(super) fn on_alive(&mut self, observer: u32, peer: &PeerId) {
        if let Some(subject) = host_of(self, peer) {
            self.checks.false_deaths.open.remove(&(observer, subject));
        }
    }
}
