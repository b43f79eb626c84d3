//! Who forwards how much of a track: reports that travel up the tree (A11).
//!
//! Each relay counts what it has sent to each child since it started. It tells its parent the totals, once
//! a second if they changed, together with what its children told it. So the origin knows of everyone, any
//! other node of all below it. Values replace what was known, they are never added to it; totals that begin
//! anew in another life of the relay go on from what was known of the former ones.
//!
//! Whose totals they are is taken from the connection for the sender's own; only of peers further down a
//! parent has no better witness than its child, and nothing but what is shown depends on it.

use std::collections::BTreeMap;

use banyan_gossip::{PeerId, TrackName};
use banyan_tree::Tree;
use serde::{Deserialize, Serialize};

use super::{ByeReason, Control, Mesh};

/// Most shares in one report, and most children of a relay that are listed. About 48 bytes each.
pub const REPORT_SHARES_MAX: usize = 512;
/// Most shares that a node remembers of a track, about 600 KiB. What relays beyond it forward is not known.
const SHARES_MAX: usize = 8192;

/// What was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Volume {
    /// Whole objects.
    #[serde(rename = "o")]
    pub objects: u64,
    /// Payload bytes.
    #[serde(rename = "b")]
    pub bytes: u64,
}

impl Volume {
    /// The sum, which never overflows.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { objects: self.objects.saturating_add(other.objects), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// What one relay has forwarded since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forwarded {
    /// Grows with each start of the relay.
    #[serde(rename = "l")]
    pub life: u64,
    /// To all, also to those that are its children no more.
    #[serde(rename = "t")]
    pub total: Volume,
    /// To each of its children.
    #[serde(rename = "c")]
    pub children: Vec<(PeerId, Volume)>,
}

impl Forwarded {
    fn shares(&self) -> usize {
        1 + self.children.len()
    }
}

/// What a child tells its parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Of the sender, if it changed.
    #[serde(rename = "s")]
    pub own: Option<Forwarded>,
    /// Of relays below it, those that changed.
    #[serde(rename = "b")]
    pub below: Vec<(PeerId, Forwarded)>,
}

/// A report that no honest peer sends; it changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a report of more shares than are allowed")]
pub struct TooLong;

/// What is known of one relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    now: Forwarded,
    /// Of its former lives.
    before: Volume,
    /// The parent was told.
    told: bool,
}

/// What a node knows of who forwards how much of a track.
#[derive(Debug, Default)]
pub(crate) struct Offload {
    relays: BTreeMap<PeerId, Known>,
    shares: usize,
    /// Whom the totals were told to.
    parent: Option<PeerId>,
}

impl Offload {
    /// Notes what this node itself has forwarded.
    pub(crate) fn set_own(&mut self, me: PeerId, own: Forwarded) {
        self.note(me, own);
    }

    /// Takes a child's report.
    pub(crate) fn take(&mut self, me: PeerId, child: PeerId, report: Report) -> Result<(), TooLong> {
        let listed = report.own.iter().chain(report.below.iter().map(|(_, forwarded)| forwarded));
        if listed.map(Forwarded::shares).sum::<usize>() > REPORT_SHARES_MAX {
            return Err(TooLong);
        }
        if let Some(own) = report.own {
            self.note(child, own);
        }
        for (relay, forwarded) in report.below.into_iter().filter(|(relay, _)| *relay != me && *relay != child) {
            self.note(relay, forwarded);
        }
        Ok(())
    }

    fn note(&mut self, relay: PeerId, mut new: Forwarded) {
        new.children.truncate(REPORT_SHARES_MAX - 1);
        let known = self.relays.get(&relay);
        // What comes late by another way is less than what is known.
        if known.is_some_and(|known| (new.life, new.total) <= (known.now.life, known.now.total)) {
            return;
        }
        let shares = self.shares - known.map_or(0, |known| known.now.shares()) + new.shares();
        if shares > SHARES_MAX {
            return;
        }
        self.shares = shares;
        let known = self.relays.entry(relay).or_default();
        if new.life > known.now.life {
            known.before = known.before.plus(known.now.total);
        }
        (known.now, known.told) = (new, false);
    }

    /// What the parent is to be told now, if anything: as much as fits, the rest the next time.
    pub(crate) fn report(&mut self, me: PeerId, parent: PeerId) -> Option<Report> {
        if self.parent.replace(parent) != Some(parent) {
            self.relays.values_mut().for_each(|known| known.told = false);
        }
        let (mut report, mut room) = (Report::default(), REPORT_SHARES_MAX);
        for (relay, known) in self.relays.iter_mut().filter(|(relay, known)| !known.told && **relay != parent) {
            let Some(left) = room.checked_sub(known.now.shares()) else { continue };
            (room, known.told) = (left, true);
            if *relay == me {
                report.own = Some(known.now.clone());
            } else {
                report.below.push((*relay, known.now.clone()));
            }
        }
        (report != Report::default()).then_some(report)
    }

    /// The relays, each with what it has forwarded in all its lives, and to each child in this one.
    pub(crate) fn relays(&self) -> impl Iterator<Item = (PeerId, Volume, &[(PeerId, Volume)])> {
        self.relays.iter().map(|(relay, known)| (*relay, known.before.plus(known.now.total), &*known.now.children))
    }
}

impl Mesh {
    pub(super) fn on_forwarded(&mut self, track: TrackName, own: Forwarded) {
        let Some(parent) = self.trees.get(&track).map(Tree::parent) else {
            return;
        };
        let offload = self.offload.entry(track.clone()).or_default();
        offload.set_own(self.me, own);
        if let Some(parent) = parent
            && let Some(report) = offload.report(self.me, parent)
        {
            self.send(parent, Control::Report { track, report });
        }
    }

    /// Only of children; one that was just let go may still talk.
    pub(super) fn on_report(&mut self, from: PeerId, track: &TrackName, report: Report) {
        let is_child = |tree: &Tree| tree.children().any(|(child, _)| child == from);
        if self.trees.get(track).is_some_and(is_child)
            && self.offload.entry(track.clone()).or_default().take(self.me, from, report).is_err()
        {
            self.close_link(from, ByeReason::Misbehaved, "a report beyond its bound");
        }
    }

    /// Who forwards how much of a track, as far as this node knows.
    pub(crate) fn offload(&self, track: &TrackName) -> Option<&Offload> {
        self.offload.get(track)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u8) -> PeerId {
        PeerId::from_key_bytes([id; 32])
    }

    fn forwarded(life: u64, objects: u64) -> Forwarded {
        let total = Volume { objects, bytes: 10 * objects };
        Forwarded { life, total, children: vec![(peer(99), total)] }
    }

    fn own(life: u64, objects: u64) -> Report {
        Report { own: Some(forwarded(life, objects)), below: Vec::new() }
    }

    fn objects(offload: &Offload) -> Vec<(PeerId, u64)> {
        offload.relays().map(|(relay, total, _)| (relay, total.objects)).collect()
    }

    const ME: PeerId = PeerId::from_key_bytes([1; 32]);
    const PARENT: PeerId = PeerId::from_key_bytes([2; 32]);

    #[test]
    fn totals_are_replaced_and_survive_a_reset_a11() {
        let mut offload = Offload::default();
        for (life, total, shown) in [(1, 5, 5), (1, 5, 5), (1, 9, 9), (1, 7, 9), (2, 3, 12), (1, 20, 12), (2, 4, 13)] {
            offload.take(ME, peer(3), own(life, total)).expect("short");
            assert_eq!(objects(&offload), [(peer(3), shown)], "life {life}, total {total}");
        }
    }

    #[test]
    fn the_sender_is_whose_connection_it_is_a11() {
        let mut offload = Offload::default();
        offload.set_own(ME, forwarded(1, 1));
        let below = [ME, peer(3), peer(4)].map(|relay| (relay, forwarded(9, 1_000))).to_vec();
        offload.take(ME, peer(3), Report { own: Some(forwarded(1, 2)), below }).expect("short");
        assert_eq!(objects(&offload), [(ME, 1), (peer(3), 2), (peer(4), 1_000)]);
    }

    #[test]
    fn what_did_not_change_is_not_told_again_unless_the_parent_is_new_a11() {
        let mut offload = Offload::default();
        assert_eq!(offload.report(ME, PARENT), None);
        offload.set_own(ME, forwarded(1, 1));
        offload.take(ME, peer(3), own(1, 2)).expect("short");
        let report = offload.report(ME, PARENT).expect("news");
        assert_eq!((report.own, report.below.len()), (Some(forwarded(1, 1)), 1));
        offload.set_own(ME, forwarded(1, 1));
        assert_eq!(offload.report(ME, PARENT), None);
        offload.take(ME, peer(3), own(1, 3)).expect("short");
        let report = offload.report(ME, PARENT).expect("news");
        assert_eq!((report.own, report.below.len()), (None, 1));
        assert!(offload.report(ME, peer(5)).is_some_and(|report| report.own.is_some() && report.below.len() == 1));
    }

    #[test]
    fn reports_and_memory_are_bounded_and_nothing_is_starved_a11() {
        let mut offload = Offload::default();
        let name = |id: u16| {
            let mut key = [7; 32];
            key[..2].copy_from_slice(&id.to_be_bytes());
            PeerId::from_key_bytes(key)
        };
        let long = (0..300).map(|id| (name(id), forwarded(1, 1))).collect();
        assert_eq!(offload.take(ME, peer(3), Report { own: None, below: long }), Err(TooLong));
        assert!(objects(&offload).is_empty());
        for id in 0..u16::try_from(SHARES_MAX).expect("small") {
            offload.take(ME, peer(3), Report { own: None, below: vec![(name(id), forwarded(1, 1))] }).expect("short");
        }
        assert_eq!(objects(&offload).len(), SHARES_MAX / 2);
        let reports: Vec<Report> = std::iter::from_fn(|| offload.report(ME, PARENT)).collect();
        assert!(reports.iter().all(|report| 2 * report.below.len() <= REPORT_SHARES_MAX));
        assert_eq!(reports.iter().map(|report| report.below.len()).sum::<usize>(), SHARES_MAX / 2);
    }
}
