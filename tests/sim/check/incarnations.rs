//! No stale incarnation ever wins: what a host knows of another only grows, and never beyond what
//! that one has said (C8).

use std::collections::BTreeMap;

use banyan_gossip::PeerId;

use crate::world::World;

/// What each host last knew of each other.
#[derive(Debug, Default)]
pub(crate) struct Rows(BTreeMap<(u32, u32), (u64, u64)>);

impl Rows {
    pub(super) fn forget(&mut self, observer: u32) {
        self.0.retain(|(at, _), _| *at != observer);
    }
}

impl World {
    pub(super) fn check_row(&mut self, observer: u32, peer: &PeerId) {
        if !self.options.strict {
            return;
        }
        let Some(subject) = self.host_of(peer) else {
            return;
        };
        let row = self.mesh(observer).and_then(|mesh| mesh.table().row(peer)).map(|row| (row.incarnation, row.version));
        let Some(row) = row else {
            return;
        };
        let before = self.checks.rows.0.insert((observer, subject), row);
        if before > Some(row) {
            self.violated(&format!("host {observer} knew row {before:?} of {subject} and took {row:?} for newer (C8)"));
        }
        let issued = self.checks.issued.get(&subject).copied().unwrap_or(0);
        if row.0 > issued && !self.checks.liars.contains(&subject) {
            self.violated(&format!("host {observer} believes incarnation {} of {subject}, which had {issued}", row.0));
        }
    }
}
