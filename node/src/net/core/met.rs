//! Whom this node met in greetings who did not fit: other meshes, other versions, and peers in two places.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

/// Reasons that are remembered.
const REASONS_MAX: usize = 16;

/// Characters of each.
const REASON_CHARS_MAX: usize = 120;

/// Peers whose lives are remembered.
const PEERS_MAX: usize = 1_024;

/// How long it is told that a peer was met in two places.
const TOLD_FOR: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Met {
    refusals: BTreeMap<String, u64>,
    lives: BTreeMap<PeerId, Lives>,
}

/// The last two lives of a peer.
#[derive(Debug)]
struct Lives {
    now: u64,
    before: Option<u64>,
    /// When a life came back that had been followed by another: nobody comes back from that.
    twin: Option<Instant>,
}

impl Met {
    /// A greeting failed.
    pub(super) fn refused(&mut self, reason: &str) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        if self.refusals.len() < REASONS_MAX || self.refusals.contains_key(&reason) {
            *self.refusals.entry(reason).or_default() += 1;
        }
    }

    /// A peer greeted; `instance` tells its lives apart.
    pub(super) fn greeted(&mut self, now: Instant, peer: PeerId, instance: u64) {
        if self.lives.len() >= PEERS_MAX && !self.lives.contains_key(&peer) {
            self.lives.pop_first();
        }
        let lives = self.lives.entry(peer).or_insert(Lives { now: instance, before: None, twin: None });
        if lives.before == Some(instance) {
            lives.twin = Some(now);
        }
        if lives.now != instance {
            lives.before = Some(std::mem::replace(&mut lives.now, instance));
        }
    }

    /// Why greetings failed, and how often each.
    pub(super) fn refusals(&self) -> Vec<(String, u64)> {
        self.refusals.iter().map(|(reason, times)| (reason.clone(), *times)).collect()
    }

    /// Peers that were met in two places lately.
    pub(super) fn twins(&self, now: Instant) -> impl Iterator<Item = PeerId> {
        let lately = move |at: Instant| now.saturating_duration_since(at) < TOLD_FOR;
        self.lives.iter().filter(move |(_, lives)| lives.twin.is_some_and(lately)).map(|(peer, _)| *peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_key_bytes([1; 32]);

    #[test]
    fn a_restart_is_no_second_place_but_a_life_that_comes_back_is() {
        let (now, mut met) = (Instant::now(), Met::default());
        for instance in [1, 1, 2, 2, 3] {
            met.greeted(now, PEER, instance);
        }
        assert_eq!(met.twins(now).count(), 0);
        met.greeted(now, PEER, 2);
        assert_eq!(met.twins(now).collect::<Vec<_>>(), [PEER]);
        assert_eq!(met.twins(now + TOLD_FOR).count(), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut met = Met::default();
        for nth in 0..100 {
            met.refused(&format!("reason {nth} {}", "x".repeat(500)));
            met.refused("reason 0");
        }
        assert_eq!(met.refusals().len(), REASONS_MAX);
        assert!(met.refusals().iter().all(|(reason, _)| reason.len() <= REASON_CHARS_MAX));
    }
}
