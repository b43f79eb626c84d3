//! This node's own row: when it is published.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{Label, TrackEntry, TrackName, row::LibraryDigest};

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
    /// Its part in tracks.
    pub tracks: BTreeMap<TrackName, TrackEntry>,
    /// Its library.
    pub library: Option<LibraryDigest>,
}

impl RowBody {
    /// Whether others' choices hang on the difference: it goes out at once.
    fn is_urgent_after(&self, before: &Self) -> bool {
        let open = |free: u16| free > 0;
        let shape = |body: &Self| {
            let of =
                |entry: &TrackEntry| (entry.depth.is_some(), entry.origin, entry.epoch, entry.role, open(entry.free));
            body.tracks.iter().map(|(track, entry)| (track.clone(), of(entry))).collect::<Vec<_>>()
        };
        open(self.free) != open(before.free) || self.addresses != before.addresses || shape(self) != shape(before)
    }
}

/// Limits how often the own row goes out, without ever swallowing its last change (B10).
#[derive(Debug)]
pub(crate) struct OwnRow {
    pub(crate) body: RowBody,
    published: Option<(RowBody, Instant)>,
    due: Option<Instant>,
}

impl OwnRow {
    pub(crate) fn new() -> Self {
        Self { body: RowBody::default(), published: None, due: None }
    }

    pub(crate) fn update(&mut self, now: Instant, body: RowBody, interval: Duration) {
        self.body = body;
        self.due = match &self.published {
            None => Some(now),
            Some((published, _)) if *published == self.body => None,
            Some((published, _)) if self.body.is_urgent_after(published) => Some(now),
            Some((_, at)) => Some((*at + interval).max(now)),
        };
    }

    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The row is going out now.
    pub(crate) fn publish(&mut self, now: Instant) {
        self.published = Some((self.body.clone(), now));
        self.due = None;
    }

    /// The row goes out as soon as possible, changed or not.
    pub(crate) const fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }
}
