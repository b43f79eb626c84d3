//! The log of repairs: why a parent was given up, how soon another one fed this node, what was missing.
//!
//! It is told of what happens in the trees and keeps the last [`REPAIRS_MAX`] repairs. A repair is opened
//! by the loss of a parent, or by the change from one that was about to be lost, and closed by the first
//! object from the new one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackName};
use banyan_tree::{DetachReason, MoveReason};

use crate::views::{
    ms,
    peers::PeerName,
    repairs::{Repair, Repairs},
};

/// Repairs that are remembered: less than 300 KiB with the longest track names.
pub const REPAIRS_MAX: usize = 1_000;

/// How long after the new parent's stream opened what is missing is missing because of the repair.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// A parent found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The parent.
    pub parent: PeerId,
    /// The former one, if it was held until now.
    pub from: Option<PeerId>,
    /// Distance from the origin.
    pub depth: u8,
    /// Why a parent was sought.
    pub reason: MoveReason,
    /// Candidates asked.
    pub tries: u32,
    /// From the decision to the open stream.
    pub took: Duration,
    /// For how long nothing had come from the former parent when the stream opened, if it was still linked.
    pub silence: Option<Duration>,
    /// Objects that the parent had waiting.
    pub replayed: Option<u64>,
}

/// The log.
#[derive(Debug)]
pub struct RepairLog {
    started: Instant,
    entries: VecDeque<Entry>,
    next_id: u64,
    /// The last repair of each track that is not over.
    open: BTreeMap<TrackName, u64>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    track: TrackName,
    at: Instant,
    cause: String,
    detected_by: &'static str,
    silence: Option<Duration>,
    from: Option<PeerId>,
    found: Option<(Found, Instant)>,
    gap: Option<Duration>,
    missing: u64,
    given_up: bool,
}

impl RepairLog {
    /// An empty log of a node that started then.
    #[must_use]
    pub const fn new(started: Instant) -> Self {
        Self { started, entries: VecDeque::new(), next_id: 0, open: BTreeMap::new() }
    }

    /// A parent is lost; nothing had come from it for `silence`, if that is known.
    pub fn lost(
        &mut self,
        now: Instant,
        track: &TrackName,
        parent: PeerId,
        reason: DetachReason,
        silence: Option<Duration>,
    ) {
        let by = match reason {
            DetachReason::LinkDown => "connection",
            DetachReason::Silent => "silence",
            DetachReason::Withheld => "objects",
            DetachReason::StreamClosed => "stream",
            DetachReason::Forged => "seals",
            DetachReason::Loop | DetachReason::TooDeep => "path",
            _ => "parent",
        };
        self.begin(now, track, reason.to_string(), by, Some(parent), silence);
    }

    /// This node has a parent.
    pub fn attached(&mut self, now: Instant, track: &TrackName, found: Found) {
        let began = now.checked_sub(found.took).unwrap_or(now);
        if self.current(track).is_none_or(|entry| entry.found.is_some()) {
            let by = match found.reason {
                MoveReason::Joined | MoveReason::MovedUp | MoveReason::OriginChanged => return,
                MoveReason::ParentLost | MoveReason::ParentSilent => "silence",
                MoveReason::Withheld => "objects",
                MoveReason::ParentGone => "table",
                MoveReason::Shed => "parent",
                MoveReason::Stalled => "origin",
                MoveReason::Loop | MoveReason::TooDeep => "path",
            };
            let silence = found.silence.map(|silence| silence.saturating_sub(found.took));
            self.begin(began, track, found.reason.to_string(), by, found.from, silence);
        }
        if let Some(entry) = self.current(track) {
            // The search began with the first moment of silence, before the parent was given up.
            let earlier = entry.at.saturating_duration_since(began);
            entry.at -= earlier;
            entry.silence = entry.silence.map(|silence| silence.saturating_sub(earlier));
            entry.found = Some((found, now));
        }
    }

    /// The first object came from another parent, so long after the last one from the former: from the one
    /// that was found, or from a better one to which this node moved meanwhile.
    pub fn flows(&mut self, track: &TrackName, parent: PeerId, gap: Duration) {
        let is_new = |entry: &&mut Entry| {
            entry.found.is_some_and(|(found, _)| found.parent == parent || entry.from != Some(parent))
        };
        if let Some(entry) = self.current(track).filter(is_new) {
            entry.gap = Some(gap);
            self.open.remove(track);
        }
    }

    /// Objects are missing.
    pub fn missing(&mut self, now: Instant, track: &TrackName, objects: u64) {
        let last = self.entries.iter_mut().rev().find(|entry| entry.track == *track);
        let lately = |(_, at): (Found, Instant)| now.saturating_duration_since(at) <= MISSING_FOR;
        if let Some(entry) = last.filter(|entry| entry.found.is_none_or(lately)) {
            entry.missing = entry.missing.saturating_add(objects);
        }
    }

    /// The track is not wanted any more.
    pub fn closed(&mut self, track: &TrackName) {
        if let Some(entry) = self.current(track).filter(|entry| entry.found.is_none()) {
            entry.given_up = true;
        }
        self.open.remove(track);
    }

    fn begin(
        &mut self,
        at: Instant,
        track: &TrackName,
        cause: String,
        detected_by: &'static str,
        from: Option<PeerId>,
        silence: Option<Duration>,
    ) {
        if self.entries.len() >= REPAIRS_MAX {
            self.entries.pop_front();
        }
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(track.clone(), id);
        self.entries.push_back(Entry {
            id,
            track: track.clone(),
            at,
            cause,
            detected_by,
            silence,
            from,
            found: None,
            gap: None,
            missing: 0,
            given_up: false,
        });
    }

    fn current(&mut self, track: &TrackName) -> Option<&mut Entry> {
        let id = *self.open.get(track)?;
        let first = self.entries.front()?.id;
        self.entries.get_mut(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    /// What is remembered; `unix_ms` is what the clock showed when the node started.
    pub fn view(&self, unix_ms: u64, name: impl Fn(&PeerId) -> PeerName) -> Repairs {
        let repairs = self.entries.iter().map(|entry| {
            let at_ms = u64::try_from(entry.at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
            let found = entry.found.map(|(found, _)| found);
            let state = match (found, entry.gap) {
                _ if entry.given_up => "given_up",
                (None, _) => "seeking",
                (Some(_), None) => "attached",
                (Some(_), Some(_)) => "repaired",
            };
            Repair {
                id: entry.id,
                track: entry.track.to_string(),
                at_ms,
                unix_ms: unix_ms.saturating_add(at_ms),
                cause: entry.cause.clone(),
                detected_by: entry.detected_by.to_owned(),
                silent_ms: entry.silence.map(ms),
                state: state.to_owned(),
                from: entry.from.as_ref().map(&name),
                to: found.map(|found| name(&found.parent)),
                depth: found.map(|found| found.depth),
                tries: found.map(|found| found.tries),
                attach_ms: found.map(|found| ms(found.took)),
                gap_ms: entry.gap.map(ms),
                replayed: found.and_then(|found| found.replayed),
                missing: entry.missing,
            }
        });
        Repairs { total: self.next_id, repairs: repairs.collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: PeerId = PeerId::from_key_bytes([1; 32]);
    const NEW: PeerId = PeerId::from_key_bytes([2; 32]);

    const fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn track(name: &str) -> TrackName {
        name.parse().expect("it is a name")
    }

    fn found(reason: MoveReason) -> Found {
        let (took, silence) = (millis(10), Some(millis(60)));
        Found { parent: NEW, from: None, depth: 2, reason, tries: 1, took, silence, replayed: Some(4) }
    }

    fn shown(log: &RepairLog) -> Vec<Repair> {
        log.view(1_000_000, |peer| PeerName { peer_id: peer.to_string(), label: None }).repairs
    }

    #[test]
    fn a_lost_parent_is_told_from_the_loss_to_the_first_object_a9() {
        let start = Instant::now();
        let (mut log, a) = (RepairLog::new(start), track("a"));
        log.lost(start + millis(500), &a, OLD, DetachReason::LinkDown, Some(millis(7)));
        assert_eq!(shown(&log)[0].state, "seeking");
        log.attached(start + millis(510), &a, found(MoveReason::ParentLost));
        log.missing(start + millis(511), &a, 3);
        assert_eq!(shown(&log)[0].state, "attached");
        log.flows(&a, OLD, millis(9));
        log.flows(&a, NEW, millis(15));
        log.flows(&a, NEW, millis(99));
        let shown = shown(&log);
        assert_eq!(shown.len(), 1);
        let repair = &shown[0];
        assert_eq!((repair.state.as_str(), repair.cause.as_str()), ("repaired", "link_down"));
        assert_eq!((repair.detected_by.as_str(), repair.silent_ms), ("connection", Some(7.0)));
        assert_eq!((repair.at_ms, repair.unix_ms), (500, 1_000_500));
        assert_eq!((repair.attach_ms, repair.gap_ms, repair.replayed), (Some(10.0), Some(15.0), Some(4)));
        assert_eq!((repair.tries, repair.depth, repair.missing), (Some(1), Some(2), 3));
        assert_eq!(repair.from.as_ref().map(|from| &from.peer_id), Some(&OLD.to_string()));
    }

    #[test]
    fn a_change_before_the_loss_counts_from_the_decision() {
        let start = Instant::now();
        let (mut log, a) = (RepairLog::new(start), track("a"));
        log.attached(start + millis(100), &a, Found { from: Some(OLD), ..found(MoveReason::ParentSilent) });
        let shown = shown(&log);
        assert_eq!((shown[0].at_ms, shown[0].silent_ms, shown[0].detected_by.as_str()), (90, Some(50.0), "silence"));
    }

    #[test]
    fn a_loss_in_the_midst_of_a_search_is_one_repair_from_its_beginning() {
        let start = Instant::now();
        let (mut log, a) = (RepairLog::new(start), track("a"));
        log.lost(start + millis(300), &a, OLD, DetachReason::Silent, Some(millis(300)));
        log.attached(start + millis(320), &a, Found { took: millis(270), ..found(MoveReason::ParentLost) });
        let shown = shown(&log);
        assert_eq!((shown.len(), shown[0].at_ms, shown[0].silent_ms), (1, 50, Some(50.0)));
    }

    #[test]
    fn joining_and_moving_up_are_no_repairs() {
        let start = Instant::now();
        let (mut log, a) = (RepairLog::new(start), track("a"));
        for reason in [MoveReason::Joined, MoveReason::MovedUp, MoveReason::OriginChanged] {
            log.attached(start, &a, found(reason));
        }
        log.missing(start, &a, 3);
        assert!(shown(&log).is_empty());
        log.lost(start, &a, OLD, DetachReason::Leaving, None);
        log.closed(&a);
        assert_eq!(shown(&log)[0].state, "given_up");
    }

    proptest! {
        #[test]
        fn the_log_is_bounded_and_its_ids_are_consecutive(steps in prop::collection::vec((0_u8..5, 0_u8..3), 0..3000)) {
            let start = Instant::now();
            let mut log = RepairLog::new(start);
            for (at, (step, name)) in (0..).zip(steps) {
                let (now, track) = (start + millis(at), track(&format!("t{name}")));
                match step {
                    0 | 1 => log.lost(now, &track, OLD, DetachReason::Silent, None),
                    2 => log.attached(now, &track, found(MoveReason::Shed)),
                    3 => log.flows(&track, NEW, millis(1)),
                    _ => log.closed(&track),
                }
            }
            let view = log.view(0, |peer| PeerName { peer_id: peer.to_string(), label: None });
            prop_assert!(view.repairs.len() <= REPAIRS_MAX);
            let first = view.total - view.repairs.len() as u64;
            prop_assert!(view.repairs.iter().zip(first..).all(|(repair, id)| repair.id == id));
        }
    }
}
