//! This node's own row: when it is published.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Label, Presence, RelayPolicy, Row, TrackEntry, TrackName,
    op::{Op, OpId, encode},
    row::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, LibraryDigest, ROW_BYTES_MAX, TAGS_MAX, TRACKS_BUDGET_BYTES, tag_fits},
};

/// Between two publications in the long run, however urgent: half of what others take of an author.
const URGENT_INTERVAL: Duration = Duration::from_millis(100);
/// Publications that may go out faster than that after a pause.
const URGENT_BURST: u32 = 20;

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
    /// The tracks that it does more than wish for.
    fn placed(&self) -> impl Iterator<Item = (&TrackName, &TrackEntry)> {
        self.tracks.iter().filter(|(_, entry)| !entry.is_wish())
    }

    /// Whether others' choices hang on the difference: it goes out at once.
    fn is_urgent_after(&self, before: &Self) -> bool {
        let open = |free: u16| free > 0;
        let shape = |body: &Self| {
            let of =
                |entry: &TrackEntry| (entry.depth.is_some(), entry.origin, entry.epoch, entry.role, open(entry.free));
            body.placed().map(|(track, entry)| (track.clone(), of(entry))).collect::<Vec<_>>()
        };
        open(self.free) != open(before.free) || self.addresses != before.addresses || shape(self) != shape(before)
    }

    /// Whether the difference is in tracks alone to which the node was not attached before nor is now.
    fn only_wishes_after(&self, before: &Self) -> bool {
        let Self { label, addresses, tags, capacity, free, relay, tracks: _, library } = self;
        let rest = (label, addresses, tags, capacity, free, relay, library);
        let Self { label, addresses, tags, capacity, free, relay, tracks: _, library } = before;
        rest == (label, addresses, tags, capacity, free, relay, library) && self.placed().eq(before.placed())
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

/// Limits how often the own row goes out, without ever swallowing its last change (B10).
#[derive(Debug)]
pub(crate) struct OwnRow {
    pub(crate) body: RowBody,
    published: Option<(RowBody, Instant)>,
    due: Option<Instant>,
    /// When everything published so far would have gone out at [`URGENT_INTERVAL`].
    paid_at: Option<Instant>,
}

impl OwnRow {
    pub(crate) fn new() -> Self {
        Self { body: RowBody::default(), published: None, due: None, paid_at: None }
    }

    pub(crate) fn update(&mut self, now: Instant, body: RowBody, interval: Duration) {
        self.body = body;
        let ahead_max = URGENT_INTERVAL * (URGENT_BURST - 1);
        let ready_at = self.paid_at.and_then(|at| at.checked_sub(ahead_max)).map_or(now, |at| at.max(now));
        self.due = match &self.published {
            None => Some(now),
            Some((published, _)) if *published == self.body => None,
            Some((published, _)) if self.body.is_urgent_after(published) => Some(ready_at),
            // A node that only wishes for a track is likely to be attached soon, and then says both.
            Some((published, _)) if self.body.only_wishes_after(published) => {
                Some(self.due.unwrap_or(now + interval).max(ready_at))
            }
            Some((_, at)) => Some((*at + interval).max(ready_at)),
        };
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The row is going out now.
    pub(crate) fn publish(&mut self, now: Instant) {
        self.published = Some((self.body.clone(), now));
        self.paid_at = Some(self.paid_at.map_or(now, |at| at.max(now)) + URGENT_INTERVAL);
        self.due = None;
    }

    /// The row goes out as soon as possible, changed or not.
    pub(crate) const fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }
}
