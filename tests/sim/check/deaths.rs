//! How often a host that runs is declared dead. That it is thought alive again shows at rest.

use banyan_gossip::PeerId;

use crate::world::World;

impl World {
    /// Times that a host which ran was declared dead by another.
    #[must_use]
    pub const fn false_deaths(&self) -> u64 {
        self.checks.false_deaths
    }

    pub(super) fn on_declared_dead(&mut self, peer: &PeerId) {
        let runs = |subject: &u32| self.mesh(*subject).is_some() && !self.checks.leaving.contains(subject);
        if self.host_of(peer).is_some_and(|subject| runs(&subject)) {
            self.checks.false_deaths += 1;
        }
    }
}
