//! Who is pushed to: news waiting to go out, and the links that feed one another.
//!
//! Flooding brings each op to a node once a link. So each node lets a few links *feed* it and asks
//! the rest to be silent, as in Plumtree (Leitão et al. 2007, "Epidemic Broadcast Trees"), but with
//! a redundancy of a few instead of announcements of what was not sent. Whoever brings an op when
//! enough others have brought it already is pruned; what it writes itself it sends in any case. The
//! measurements are in `docs/decisions/0004-gossip-is-pushed-by-a-few-links.md`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    PeerId,
    mix::{mix, mix_peer},
    op::{OpId, SignedOp},
};

/// Most news waiting to be pushed; beyond it the oldest is left to anti-entropy.
const PENDING_MAX: usize = 4096;
/// Places for ops of which it is remembered who brought them, of 16 bytes each.
const HEARD_MAX: usize = 4096;
/// What a pruned link pushed before it knew has come in after this long.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A link, as far as pushing goes. The two directions know nothing of each other.
#[derive(Debug, Default)]
struct Link {
    /// The bit that stands for it in [`Heard`]; 0 beyond 64 links, and what it brings is not remembered.
    seat: u64,
    /// It asked not to be pushed what others wrote.
    silenced: bool,
    /// When this node asked that of it.
    pruned: Option<Instant>,
}

/// An op that waits to go out.
#[derive(Debug)]
pub(super) struct News {
    pub(super) author: PeerId,
    /// See [`mark`].
    pub(super) mark: u64,
    pub(super) op: SignedOp,
}

/// The links and what waits to go out over them.
#[derive(Debug)]
pub(super) struct Push {
    links: BTreeMap<PeerId, Link>,
    /// The seats of the links that are not pruned.
    feeding: u64,
    pending: VecDeque<News>,
    heard: Heard,
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Push {
    /// No links yet.
    pub(super) fn new() -> Self {
        let heard = Heard { places: Vec::new() };
        Self { links: BTreeMap::new(), feeding: 0, pending: VecDeque::new(), heard, due: None, last: None }
    }

    /// A link that is new feeds, and is fed.
    pub(super) fn add_link(&mut self, peer: PeerId) {
        self.remove_link(&peer);
        let taken = self.links.values().fold(0, |taken, link| taken | link.seat);
        let seat = 1u64.checked_shl(taken.trailing_ones()).unwrap_or(0);
        self.links.insert(peer, Link { seat, ..Link::default() });
        self.feeding |= seat;
    }

    /// Returns whether there was one.
    pub(super) fn remove_link(&mut self, peer: &PeerId) -> bool {
        let Some(link) = self.links.remove(peer) else {
            return false;
        };
        self.feeding &= !link.seat;
        self.heard.forget(link.seat);
        true
    }

    pub(super) fn is_linked(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    pub(super) fn links(&self) -> impl Iterator<Item = PeerId> {
        self.links.keys().copied()
    }

    // --- Feeds -------------------------------------------------------------------------------

    /// A link asks not to be pushed what others wrote.
    pub(super) fn silence(&mut self, peer: &PeerId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.silenced = true;
        }
    }

    /// A link asks to be pushed everything again. Returns whether it was not.
    pub(super) fn unsilence(&mut self, peer: &PeerId) -> bool {
        self.links.get_mut(peer).is_some_and(|link| std::mem::take(&mut link.silenced))
    }

    /// Whether a link brought an op lately that was news.
    pub(super) fn has_heard(&self, mark: u64) -> bool {
        self.heard.by(mark).is_some()
    }

    /// Nothing was heard lately.
    pub(super) fn forget_heard(&mut self) {
        self.heard.places.fill((0, 0));
    }

    /// A link brought an op that was news. Returns whether it was pruned long ago: then those who
    /// feed this node should have brought it before.
    pub(super) fn on_first(&mut self, now: Instant, from: &PeerId, author: &PeerId, mark: u64) -> bool {
        self.heard.insert(mark);
        let Some(link) = self.links.get(from).filter(|_| author != from) else {
            return false;
        };
        self.heard.bring(mark, link.seat);
        link.pruned.is_some_and(|at| now.saturating_duration_since(at) > IN_FLIGHT)
    }

    /// A link brought an op that was known. Returns whether to prune it, at most once until
    /// [`Push::graft`]: `feeds` others that feed this node brought it before. An author is no
    /// bringer of what it wrote.
    pub(super) fn on_copy(&mut self, now: Instant, from: &PeerId, author: &PeerId, mark: u64, feeds: usize) -> bool {
        let Some(link) = self.links.get(from).filter(|_| author != from) else {
            return false;
        };
        let before = self.heard.bring(mark, link.seat) & self.feeding & !link.seat;
        let prune = link.pruned.is_none() && before.count_ones() as usize >= feeds;
        if prune {
            self.prune(now, from);
        }
        prune
    }

    /// Links that feed this node.
    pub(super) fn feeding(&self) -> usize {
        self.links.values().filter(|link| link.pruned.is_none()).count()
    }

    /// This node asks a link not to feed it.
    pub(super) fn prune(&mut self, now: Instant, peer: &PeerId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.pruned = Some(now);
            self.feeding &= !link.seat;
        }
    }

    /// This node asks a link to feed it again.
    pub(super) fn graft(&mut self, peer: &PeerId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.pruned = None;
            self.feeding |= link.seat;
        }
    }

    /// A link that is to feed this node again, for fewer than `feeds` do.
    pub(super) fn lacks_feed(&self, feeds: usize, rng: &mut fastrand::Rng) -> Option<PeerId> {
        let pruned: Vec<PeerId> =
            self.links.iter().filter(|(_, link)| link.pruned.is_some()).map(|(peer, _)| *peer).collect();
        if self.links.len() - pruned.len() >= feeds { None } else { rng.choice(pruned) }
    }

    // --- News --------------------------------------------------------------------------------

    /// Something is to go out: at once after a pause, else together with what else comes.
    pub(super) fn queue(&mut self, now: Instant, coalesce: Duration, news: News) {
        if self.pending.len() == PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(news);
        let earliest = self.last.map_or(now, |last| (last + coalesce).max(now));
        self.due.get_or_insert(earliest);
    }

    /// Everything goes out as soon as possible.
    pub(super) const fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What is due, link by link. What this node wrote goes to everybody, so that nobody's news
    /// can get stuck; what others wrote to those who want it and did not bring it.
    pub(super) fn take_due(&mut self, now: Instant, me: &PeerId) -> Vec<(PeerId, Vec<SignedOp>)> {
        if self.due.is_none_or(|at| at > now) {
            return Vec::new();
        }
        (self.due, self.last) = (None, Some(now));
        let pending = std::mem::take(&mut self.pending);
        let brought: Vec<u64> = pending.iter().map(|news| self.heard.by(news.mark).unwrap_or(0)).collect();
        let own = pending.iter().any(|news| news.author == *me);
        let wanted = |(peer, link): (&PeerId, &Link)| {
            let wants = |(news, brought): &(&News, &u64)| {
                news.author == *me || (!link.silenced && news.author != *peer && *brought & link.seat == 0)
            };
            let wanted = pending.iter().zip(&brought).filter(wants);
            (*peer, wanted.map(|(news, _)| news.op.clone()).collect())
        };
        self.links.iter().filter(|(_, link)| own || !link.silenced).map(wanted).collect()
    }
}

/// Which links brought the ops that were news lately: a mark an op, and a bit a link. An op loses its
/// place to a later one; then it may come in, or go out, once more than it need.
#[derive(Debug)]
struct Heard {
    /// By mark; taken when the first op comes.
    places: Vec<(u64, u64)>,
}

impl Heard {
    fn insert(&mut self, mark: u64) {
        self.places.resize(HEARD_MAX, (0, 0));
        self.places[place(mark)] = (mark, 0);
    }

    /// A link brought it. Returns who did before.
    fn bring(&mut self, mark: u64, seat: u64) -> u64 {
        match self.places.get_mut(place(mark)) {
            Some((known, by)) if *known == mark => std::mem::replace(by, *by | seat),
            _ => 0,
        }
    }

    /// Who brought it; `None` if it is not remembered.
    fn by(&self, mark: u64) -> Option<u64> {
        self.places.get(place(mark)).filter(|(known, _)| *known == mark).map(|(_, by)| *by)
    }

    /// Another link is to have the seat.
    fn forget(&mut self, seat: u64) {
        self.places.iter_mut().for_each(|(_, by)| *by &= !seat);
    }
}

const fn place(mark: u64) -> usize {
    mark as usize % HEARD_MAX
}

/// A number that stands for an op. Nobody who does not know the salt finds two ops of the same.
pub(super) fn mark(salt: u64, id: &OpId) -> u64 {
    mix(mix_peer(salt, &id.author), [id.incarnation, id.version])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Op, UserEvent};

    fn peer(index: u8) -> PeerId {
        PeerId::from_key_bytes([index; 32])
    }

    const OP: OpId = OpId { author: PeerId::from_key_bytes([200; 32]), incarnation: 1, version: 1 };

    fn of(id: &OpId) -> u64 {
        mark(7, id)
    }

    #[test]
    fn links_beyond_the_seats_are_never_pruned_and_a_seat_is_taken_again() {
        let now = Instant::now();
        let mut push = Push::new();
        (0..70).for_each(|index| push.add_link(peer(index)));
        assert!(!push.has_heard(of(&OP)));
        assert!(!push.on_first(now, &peer(69), &OP.author, of(&OP)));
        assert!(push.has_heard(of(&OP)));
        // Those without a seat count for nothing.
        assert!(!push.on_copy(now, &peer(68), &OP.author, of(&OP), 1));
        assert!(!push.on_copy(now, &peer(0), &OP.author, of(&OP), 1));
        assert!(push.on_copy(now, &peer(1), &OP.author, of(&OP), 1));
        // Who gets the seat of another did not bring what that one brought.
        assert!(push.remove_link(&peer(0)));
        push.add_link(peer(100));
        assert!(!push.on_copy(now, &peer(2), &OP.author, of(&OP), 1));
        assert!(push.on_copy(now, &peer(3), &OP.author, of(&OP), 1));
    }

    #[test]
    fn news_by_a_link_pruned_long_ago_is_what_others_should_have_pushed() {
        let now = Instant::now();
        let mut push = Push::new();
        (1..3).for_each(|index| push.add_link(peer(index)));
        push.on_first(now, &peer(1), &OP.author, of(&OP));
        assert!(push.on_copy(now, &peer(2), &OP.author, of(&OP), 1));
        let next = |version| OpId { version, ..OP };
        assert!(!push.on_first(now, &peer(2), &OP.author, of(&next(2))), "it was under way");
        assert!(!push.on_first(now + 2 * IN_FLIGHT, &peer(1), &OP.author, of(&next(3))));
        assert!(push.on_first(now + 2 * IN_FLIGHT, &peer(2), &OP.author, of(&next(4))));
        assert!(
            !push.on_first(now + 2 * IN_FLIGHT, &peer(2), &peer(2), of(&OpId { author: peer(2), ..OP })),
            "its own"
        );
    }
    #[test]
    fn of_news_that_waits_the_oldest_goes_beyond_the_bound() {
        let now = Instant::now();
        let mut push = Push::new();
        let event = |version| UserEvent { id: OpId { version, ..OP }, name: "a".to_owned(), payload: String::new() };
        let news = |version| {
            let op = SignedOp::new(Op::UserEvent(event(version)), [0; 64]);
            News { author: OP.author, mark: version, op }
        };
        let most = PENDING_MAX as u64;
        (0..most).for_each(|version| push.queue(now, Duration::ZERO, news(version)));
        assert_eq!((push.pending.len(), push.pending.front().map(|news| news.mark)), (PENDING_MAX, Some(0)));
        push.queue(now, Duration::ZERO, news(most));
        assert_eq!((push.pending.len(), push.pending.front().map(|news| news.mark)), (PENDING_MAX, Some(1)));
    }
}
