//! Tracks that this node wants and of which a full table shows no origin.
//!
//! A push that went past a node does not come again, and full tables compare only what both hold: whoever
//! missed the one row that says who publishes a track would not hear of it for as long as that row stays as
//! it is. So a node asks a few of its links, and those that hold the row send it, with rows of some who could
//! feed the asker.

use std::time::{Duration, Instant};

use super::Gossip;
use crate::{
    PeerId, Role, Row, TrackName,
    message::{Message, WANTED_MAX},
    op::SignedOp,
    sync::ops_messages,
    table::{Entry, Publication},
};

/// How long the push of the origin's row may take, and the longest wait between two questions.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// Links asked at a time.
const ASKED: usize = 3;
/// Rows of possible parents sent with the origin's.
const FEEDERS: usize = 8;

/// When to ask next.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) at: Option<Instant>,
    asked: u32,
}

impl Gossip {
    /// Something changed that may make this node want, or no longer want, to ask.
    pub(super) fn consider_asking(&mut self, now: Instant) {
        if !self.is_full() || self.lacking().next().is_none() {
            self.wanted = Wanted::default();
        } else if self.wanted.at.is_none() {
            self.wait_to_ask(now);
        }
    }

    pub(super) fn ask_if_due(&mut self, now: Instant) {
        if self.wanted.at.is_none_or(|at| at > now) {
            return;
        }
        self.consider_asking(now);
        if self.wanted.at.is_none() {
            return;
        }
        let tracks: Vec<TrackName> = self.lacking().take(WANTED_MAX).cloned().collect();
        for peer in self.rng.choose_multiple(self.push.links().collect::<Vec<_>>(), ASKED) {
            self.send(peer, Message::Want(tracks.clone()));
        }
        self.wanted.asked += 1;
        self.wait_to_ask(now);
    }

    fn wait_to_ask(&mut self, now: Instant) {
        let wait = PATIENCE.0.saturating_mul(1 << self.wanted.asked.min(8)).min(PATIENCE.1);
        self.wanted.at = Some(now + wait.mul_f64(1.0 + self.rng.f64() / 4.0));
    }

    /// Tracks that this node wants to follow and of which it knows no origin.
    fn lacking(&self) -> impl Iterator<Item = &TrackName> {
        let wished =
            self.own.body.tracks.iter().filter(|(_, entry)| entry.role == Role::Member && entry.depth.is_none());
        let known = |track| self.table.publications(track).any(|(.., publication)| publication.is_published());
        wished.map(|(track, _)| track).filter(move |track| !known(*track))
    }

    /// Whether it says who publishes a track that this node asks for: it is taken although it went past before, and
    /// has a place beyond the bound where nobody else may go. There are never more such than this node has tracks.
    pub(super) fn is_asked_for(&self, row: &Row) -> bool {
        let publishes = |track| row.tracks.get(track).is_some_and(|entry| entry.role == Role::Origin);
        self.wanted.at.is_some() && self.lacking().any(publishes)
    }

    /// What this node holds of tracks that another wants.
    pub(super) fn answer_want(&self, tracks: &[TrackName]) -> Vec<Message> {
        let row = |peer: &PeerId| self.table.entry(peer).and_then(Entry::signed_row).cloned();
        let of = |track: &TrackName| -> Vec<SignedOp> {
            let mut published = self.table.publications(track).filter(|(.., publication)| publication.is_published());
            let Some((_, origin, publication)) = published.next_back() else {
                return Vec::new();
            };
            let feeders = feeders(publication).filter(|peer| *peer != origin).take(FEEDERS);
            std::iter::once(origin).chain(feeders).filter_map(|peer| row(&peer)).collect()
        };
        ops_messages(tracks.iter().flat_map(of).collect())
    }
}

/// Who has a slot for anybody, the shallowest first.
fn feeders(publication: &Publication) -> impl Iterator<Item = PeerId> {
    let depths =
        std::iter::successors(publication.depth_from(0), |depth| publication.depth_from(depth.checked_add(1)?));
    depths.flat_map(|depth| publication.open_at(depth)).map(|row| row.peer)
}
