//! This node's own row: when it is published.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Label, PeerId, Presence, RelayPolicy, Role, Row, TrackEntry, TrackName,
    op::{Op, OpId, encode},
    row::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, LibraryDigest, ROW_BYTES_MAX, TAGS_MAX, TRACKS_BUDGET_BYTES, tag_fits},
};

/// Between two publications in the long run, however urgent: half of what others take of an author.
const URGENT_INTERVAL: Duration = Duration::from_millis(100);
/// Publications that may go out faster than that after a pause.
const URGENT_BURST: u32 = 20;

/// How long it may wait that a place is lost: most repairs are done by then.
const SETBACK_HOLD: Duration = Duration::from_millis(50);

/// What a node says of itself; the rest of its row is gossip's own business.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowBody {
    /// What a person calls it.
    pub label: Option<Label>,
    /// Listener addresses, best first.
    pub addresses: Vec<String>,
    /// Free-form tags.
    pub tags: BTreeMap<String, String>,
    /// Slots offered.
    pub capacity: u16,
    /// Slots free.
    pub free: u16,
    /// Whether it relays tracks that it does not follow.
    pub relay: RelayPolicy,
    /// Its part in tracks.
    pub tracks: BTreeMap<TrackName, TrackEntry>,
    /// Its library.
    pub library: Option<LibraryDigest>,
}

impl RowBody {
    /// How soon others need to know the difference.
    fn change_since(&self, before: &Self) -> Change {
        let Self { label, addresses, tags, capacity, free: _, relay, tracks: _, library } = self;
        let rest = (label, addresses, tags, capacity, relay, library);
        let Self { label, addresses, tags, capacity, free: _, relay, tracks: _, library } = before;
        let placement_only = rest == (label, addresses, tags, capacity, relay, library);
        let more = |of: &Self, than: &Self| of.places().any(|place| !than.places().any(|other| other == place));
        if self.addresses != before.addresses || (self.free > 0) != (before.free > 0) || more(self, before) {
            Change::Urgent
        } else if more(before, self) {
            Change::Setback
        } else if placement_only {
            Change::Placement
        } else {
            Change::Other
        }
    }

    /// The trees in which it has a place, as far as others' choices hang on it.
    fn places(&self) -> impl Iterator<Item = (&TrackName, Option<PeerId>, u64, Role, bool)> {
        let attached = self.tracks.iter().filter(|(_, entry)| entry.depth.is_some());
        attached.map(|(track, entry)| (track, entry.origin, entry.epoch, entry.role, entry.free > 0))
    }

    /// The row, without what others would refuse it for: what is too long or too much is left out.
    pub(crate) fn to_row(&self, id: OpId, presence: Presence) -> Row {
        let addresses = self.addresses.iter().filter(|address| address.len() <= ADDRESS_BYTES_MAX);
        let tags = self.tags.iter().filter(|(key, value)| tag_fits(key, value));
        let mut left = TRACKS_BUDGET_BYTES;
        let tracks = self.tracks.iter().take_while(|(track, _)| {
            let rest = left.checked_sub(TrackEntry::budget(track));
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        let mut op = Op::Row(Row {
            peer: id.author,
            incarnation: id.incarnation,
            version: id.version,
            presence,
            label: self.label.clone(),
            addresses: addresses.take(ADDRESSES_MAX).cloned().collect(),
            tags: tags.take(TAGS_MAX).map(|(key, value)| (key.clone(), value.clone())).collect(),
            capacity: self.capacity,
            free: self.free.min(self.capacity),
            relay: self.relay,
            tracks: tracks.map(|(track, entry)| (track.clone(), entry.clone())).collect(),
            library: self.library.clone(),
        });
        // Each part keeps its bound; together they may still be too large. Tracks alone never are.
        loop {
            let bytes = encode(&op).len();
            let Op::Row(mut row) = op else { unreachable!("made as a row") };
            if bytes <= ROW_BYTES_MAX || (row.tags.pop_last().is_none() && row.addresses.pop().is_none()) {
                return row;
            }
            op = Op::Row(row);
        }
    }
}

/// What is different about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It can be reached elsewhere, has a place in a tree, its first slot is free or its last one gone: others wait for
    /// that, or run into it.
    Urgent,
    /// A place is lost: often another is found a moment later.
    Setback,
    /// Only where it stands in trees, or a wish: others can do without for a while, and more is likely to follow.
    Placement,
    /// What its own user has changed.
    Other,
}

/// Limits how often the own row goes out, without ever swallowing its last change (B10).
#[derive(Debug)]
pub(crate) struct OwnRow {
    pub(crate) body: RowBody,
    published: Option<(RowBody, Instant)>,
    /// Since when the row differs from what was published.
    changed: Option<Instant>,
    due: Option<Instant>,
    /// When everything published so far would have gone out at [`URGENT_INTERVAL`].
    paid_at: Option<Instant>,
}

impl OwnRow {
    pub(crate) fn new() -> Self {
        Self { body: RowBody::default(), published: None, changed: None, due: None, paid_at: None }
    }

    pub(crate) fn update(&mut self, now: Instant, body: RowBody, interval: Duration) {
        self.body = body;
        let ahead_max = URGENT_INTERVAL * (URGENT_BURST - 1);
        let ready_at = self.paid_at.and_then(|at| at.checked_sub(ahead_max)).map_or(now, |at| at.max(now));
        let Some((published, published_at)) = &self.published else {
            self.due = Some(now);
            return;
        };
        if *published == self.body {
            (self.changed, self.due) = (None, None);
            return;
        }
        let changed = *self.changed.get_or_insert(now);
        let at = match self.body.change_since(published) {
            Change::Urgent => now,
            Change::Setback => changed + SETBACK_HOLD,
            Change::Placement => changed + interval,
            Change::Other => *published_at + interval,
        };
        self.due = Some(at.max(ready_at));
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The row is going out now.
    pub(crate) fn publish(&mut self, now: Instant) {
        self.published = Some((self.body.clone(), now));
        self.paid_at = Some(self.paid_at.map_or(now, |at| at.max(now)) + URGENT_INTERVAL);
        (self.changed, self.due) = (None, None);
    }

    /// The row goes out as soon as possible, changed or not.
    pub(crate) const fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    fn at(depth: Option<u8>, free: u16) -> RowBody {
        let entry = TrackEntry {
            role: Role::Member,
            origin: None,
            epoch: 1,
            depth,
            parent: None,
            children: 0,
            free,
            volunteer: false,
        };
        let tracks = BTreeMap::from([(TrackName::new("feed").expect("valid"), entry)]);
        RowBody { capacity: 8, free, tracks, ..RowBody::default() }
    }

    /// A row that says that it is attached.
    fn attached(now: Instant) -> OwnRow {
        let mut own = OwnRow::new();
        own.update(now, at(Some(2), 8), INTERVAL);
        assert_eq!(own.due(), Some(now));
        own.publish(now);
        own
    }

    #[test]
    fn what_is_lost_waits_a_moment_and_what_is_found_does_not_b10() {
        let began = Instant::now();
        let mut own = attached(began);
        let lost = began + Duration::from_secs(1);
        own.update(lost, at(None, 8), INTERVAL);
        // What happens meanwhile puts nothing off.
        own.update(lost + SETBACK_HOLD / 2, at(None, 7), INTERVAL);
        assert_eq!(own.due(), Some(lost + SETBACK_HOLD));
        own.publish(lost + SETBACK_HOLD);
        let found = lost + 2 * SETBACK_HOLD;
        own.update(found, at(Some(3), 8), INTERVAL);
        assert_eq!(own.due(), Some(found));
    }

    #[test]
    fn a_repair_and_what_follows_from_it_go_out_in_one_row_b10() {
        let began = Instant::now();
        let mut own = attached(began);
        let lost = began + Duration::from_secs(1);
        own.update(lost, at(None, 8), INTERVAL);
        for (after_ms, depth, free) in [(8, 3, 8), (20, 3, 7), (40, 4, 6)] {
            own.update(lost + Duration::from_millis(after_ms), at(Some(depth), free), INTERVAL);
            assert_eq!(own.due(), Some(lost + INTERVAL));
        }
        // No more of it for anybody.
        own.update(lost + SETBACK_HOLD, at(Some(4), 0), INTERVAL);
        assert_eq!(own.due(), Some(lost + SETBACK_HOLD));
        // Back to what others know.
        own.update(lost + 2 * SETBACK_HOLD, at(Some(2), 8), INTERVAL);
        assert_eq!(own.due(), None);
    }

    #[test]
    fn what_a_user_changes_goes_out_at_once_after_a_pause_b10() {
        let began = Instant::now();
        let mut own = attached(began);
        let changed = began + Duration::from_secs(1);
        own.update(changed, RowBody { capacity: 5, ..at(Some(2), 8) }, INTERVAL);
        assert_eq!(own.due(), Some(changed));
        own.publish(changed);
        own.update(changed + SETBACK_HOLD, RowBody { capacity: 6, ..at(Some(2), 8) }, INTERVAL);
        assert_eq!(own.due(), Some(changed + INTERVAL));
    }
}
