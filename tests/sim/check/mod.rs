//! The checkers: what must hold after every step, and what must hold when all is quiet.

mod deaths;
mod depth;
mod incarnations;
mod knows;
mod loops;
mod objects;
mod settled;
mod slots;
mod tables;

use std::collections::BTreeMap;

use banyan_gossip::PeerId;

pub use objects::{Ledger, payload};

use crate::{queue::Nanos, world::World};

/// What the checkers remember.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// How a violation is replayed.
    pub(crate) replay: String,
    /// Per host, the greatest incarnation that it ever used.
    issued: BTreeMap<u32, u64>,
    /// Times that somebody thought a host dead that ran.
    false_deaths: u64,
    slots_used: BTreeMap<u32, u16>,
    loops: loops::Loops,
    strangers: knows::Strangers,
    rows: incarnations::Rows,
    /// Hosts that are leaving.
    leaving: std::collections::BTreeSet<u32>,
    /// Hosts that lie: what others believe of them proves nothing.
    pub(crate) liars: std::collections::BTreeSet<u32>,
    pub(crate) ledger: Ledger,
    /// The host at which the last comparison of tables ended.
    table_amiss: std::cell::Cell<u32>,
}

impl Checks {
    pub(crate) fn born(&mut self, host: u32, incarnation: u64) {
        let issued = self.issued.entry(host).or_default();
        *issued = (*issued).max(incarnation);
        self.leaving.remove(&host);
    }

    pub(crate) fn leaving(&mut self, host: u32) {
        self.leaving.insert(host);
    }

    pub(crate) fn died(&mut self, host: u32) {
        self.slots_used.remove(&host);
        self.loops.forget(host);
        self.strangers.forget(host);
        self.rows.forget(host);
        self.ledger.died(host);
    }
}

impl World {
    /// Ends the run with one line that says what is wrong and how to see it again.
    ///
    /// # Panics
    /// Always.
    pub fn violated(&self, what: &str) -> ! {
        self.say(|| self.describe());
        panic!("{what} (at {:.3} s); replay: {}", self.now as f64 / 1e9, self.checks.replay);
    }

    /// Everyone's place in words.
    fn describe(&self) -> String {
        let mut lines = "the world".to_owned();
        for (host, mesh) in self.running() {
            let links: Vec<String> = mesh.links().iter().map(|(peer, _)| self.name(peer)).collect();
            lines += &format!("\n  {host} capacity {} links {links:?}", mesh.slots().capacity());
            for (track, tree) in mesh.trees() {
                let path: Vec<String> = tree.root_path().iter().map(|peer| self.name(peer)).collect();
                let children: Vec<String> = tree.children().map(|(peer, _)| self.name(&peer)).collect();
                lines += &format!(" {track}: {} path {path:?} children {children:?}", tree.state());
            }
            for (status, row) in mesh.table().iter() {
                lines += &format!("\n      {} {status:?} {}.{}", self.name(&row.peer), row.incarnation, row.version);
            }
        }
        lines
    }

    /// What a violation says to do to see it again.
    pub fn set_replay(&mut self, replay: String) {
        self.checks.replay = replay;
    }

    /// The host lies from now on: nobody is held to what it says.
    pub fn expect_lies_of(&mut self, host: u32) {
        self.checks.liars.insert(host);
    }

    /// What was published, and what became of it.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.checks.ledger
    }

    pub(crate) fn check_step(&mut self, host: u32) {
        if self.mesh(host).is_none() || self.checks.liars.contains(&host) {
            return;
        }
        for (_, tree) in self.mesh(host).expect("it runs").trees() {
            tree.assert_invariants();
        }
        self.check_slots(host);
        self.check_depth(host);
        self.check_loops(host);
        self.check_parent_knows(host);
    }

    pub(crate) fn check_gossip_event(&mut self, host: u32, event: &banyan_gossip::Event) {
        use banyan_gossip::Event;
        match event {
            Event::Joined { peer, .. } | Event::Updated { peer } | Event::Refuted { peer } => {
                self.check_row(host, peer);
            }
            Event::Died { peer, .. } => self.on_declared_dead(peer),
            Event::Suspected { .. } | Event::Left { .. } | Event::Misbehaved { .. } => {}
        }
    }

    pub(crate) fn name(&self, peer: &PeerId) -> String {
        self.host_of(peer).map_or_else(|| peer.short(), |host| host.to_string())
    }
}

/// How long ago.
pub(crate) const fn since(now: Nanos, then: Nanos) -> Nanos {
    now.saturating_sub(then)
}
