//! Why this node is fed by whom it is: everyone who could feed it as a search would see them now, what
//! the search waits for if there is one, and what happened last. It only looks.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, Row, TrackEntry};

use crate::{
    Context, Event, MoveReason, Source, StuckReason, Tree,
    attempt::{Attempt, Phase},
    choice::{self, Chain, Query},
    pick::Wish,
    upstream::NotAsked,
};

/// Candidates that are explained at most; the best come first.
pub const CANDIDATES_MAX: usize = 64;

/// Past events of a tree that are remembered.
pub(crate) const RECENT_MAX: usize = 16;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The search for a (better) parent, if there is one.
    pub search: Option<Search>,
    /// Peers that have a part in the track, the best candidates first.
    pub candidates: Vec<Candidate>,
    /// How many there are, those beyond [`CANDIDATES_MAX`] included.
    pub candidates_total: usize,
    /// What happened last, and how long ago; the oldest first.
    pub recent: Vec<(Duration, Event)>,
}

/// A search for a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Why there is one.
    pub reason: MoveReason,
    /// How long it has been going on.
    pub since: Duration,
    /// Candidates asked so far.
    pub tries: u32,
    /// What is awaited.
    pub step: Step,
    /// How long it is awaited yet.
    pub left: Duration,
    /// Why the last candidate could not be had.
    pub last_failure: Option<StuckReason>,
    /// Who is asked to relay the track, for every slot is taken.
    pub volunteer: Option<PeerId>,
}

/// What a search waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Somebody who can be asked.
    Candidates,
    /// A link to this peer.
    Link(PeerId),
    /// The answer of this peer.
    Answer(PeerId),
    /// The data stream from this peer.
    Stream(PeerId),
    /// Whether the silent parent speaks up; this peer feeds the node meanwhile.
    Trial(PeerId),
}

/// A peer that has a part in the track.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerId,
    /// Its distance from the origin, if it is attached.
    pub depth: Option<u8>,
    /// Slots that a child of this track could get, as its row says.
    pub free: u16,
    /// The weight with which it is drawn: `free · ¼^depth`, less if its link is slow. 0 if it has no place.
    pub weight: f64,
    /// Whether it is one of the parents chosen in advance.
    pub backup: bool,
    /// Whether it would be asked, and why not.
    pub verdict: Verdict,
}

/// Whether a peer would be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the parent.
    Parent,
    /// It would be.
    Open,
    /// Not before others: it is fed by the parent that was lost, or by somebody who is not attached.
    Doubtful,
    /// Not before its row changes, or for so long.
    NotAsked(NotAsked, Duration),
    /// Nothing was heard of it for a moment.
    Silent,
    /// It has no free slot.
    Full,
    /// This node's subtree would reach below the depth limit.
    TooDeep,
    /// It is not attached to the origin.
    NotAttached,
    /// It follows another publication of the track.
    OtherPublication,
    /// This node feeds it, directly or not.
    Below,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Parent => "parent",
            Self::Open => "open",
            Self::Doubtful => "doubtful",
            Self::NotAsked(NotAsked::Refused(_), _) => "refused",
            Self::NotAsked(NotAsked::Unreachable, _) => "unreachable",
            Self::NotAsked(NotAsked::Lost(_), _) => "lost",
            Self::NotAsked(NotAsked::Unusable(_), _) => "unusable",
            Self::NotAsked(NotAsked::Unwilling, _) => "unwilling",
            Self::NotAsked(NotAsked::Lied, _) => "lied",
            Self::Silent => "silent",
            Self::Full => "full",
            Self::TooDeep => "too_deep",
            Self::NotAttached => "not_attached",
            Self::OtherPublication => "other_publication",
            Self::Below => "below",
        }
    }

    /// The better come first.
    const fn rank(&self) -> u8 {
        match self {
            Self::Parent => 0,
            Self::Open => 1,
            Self::Doubtful => 2,
            Self::NotAsked(..) | Self::Silent => 3,
            Self::TooDeep => 4,
            Self::Full => 5,
            Self::Below => 6,
            Self::NotAttached | Self::OtherPublication => 7,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent => f.write_str("it feeds this node"),
            Self::Open => f.write_str("it may be asked"),
            Self::Doubtful => f.write_str("only if there is nobody else: its own feed is in doubt"),
            Self::NotAsked(why, _) => why.fmt(f),
            Self::Silent => f.write_str("nothing was heard of it for a moment"),
            Self::Full => f.write_str("it has no free slot"),
            Self::TooDeep => f.write_str("there would be too many levels"),
            Self::NotAttached => f.write_str("it is not attached to the origin"),
            Self::OtherPublication => f.write_str("it follows another publication of the track"),
            Self::Below => f.write_str("it is fed by this node"),
        }
    }
}

/// The last events of a tree.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<(Instant, Event)>);

impl Recent {
    pub(crate) fn note(&mut self, now: Instant, event: &Event) {
        if matches!(event, Event::ChildJoined { .. } | Event::ChildLeft { .. }) {
            return;
        }
        if self.0.len() >= RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, event.clone()));
    }
}

impl Tree {
    /// Why this node is fed by whom it is, or by nobody. It reads every row that has the track.
    #[must_use]
    pub fn explain(&self, now: Instant, cx: &Context<'_>) -> Explanation {
        let mut candidates = self.candidates(now, cx);
        let candidates_total = candidates.len();
        candidates.sort_by(|a, b| {
            a.verdict.rank().cmp(&b.verdict.rank()).then(b.weight.total_cmp(&a.weight)).then(a.peer.cmp(&b.peer))
        });
        candidates.truncate(CANDIDATES_MAX);
        let ago = |(at, event): &(Instant, Event)| (now.saturating_duration_since(*at), event.clone());
        Explanation {
            search: self.upstream.attempt.as_ref().map(|attempt| self.search(now, attempt)),
            candidates,
            candidates_total,
            recent: self.recent.0.iter().map(ago).collect(),
        }
    }

    fn search(&self, now: Instant, attempt: &Attempt) -> Search {
        let step = match &attempt.phase {
            Phase::Waiting { .. } => Step::Candidates,
            Phase::Connecting { peer, .. } => Step::Link(*peer),
            Phase::Asked { peer, .. } => Step::Answer(*peer),
            Phase::Opening(opening) if opening.trial.is_some() => Step::Trial(opening.peer),
            Phase::Opening(opening) => Step::Stream(opening.peer),
        };
        Search {
            reason: attempt.reason,
            since: now.saturating_duration_since(attempt.started),
            tries: attempt.tries,
            step,
            left: attempt.phase.deadline().saturating_duration_since(now),
            last_failure: attempt.last_failure,
            volunteer: self.summons.asked,
        }
    }

    fn candidates(&self, now: Instant, cx: &Context<'_>) -> Vec<Candidate> {
        let Some(source) = self.source.filter(|_| !self.is_origin()) else {
            return Vec::new();
        };
        let repair = self.upstream.attempt.as_ref().is_some_and(|attempt| self.is_repair(attempt.reason));
        let avoid = self.upstream.lost;
        let wish = Wish { source, repair, deepest: u8::MAX, avoid, desperate: true };
        self.with_query(now, cx, wish, |query| {
            let others = cx.peers.iter_live().filter(|row| row.peer != self.me);
            let rows = others.filter_map(|row| Some((row, row.tracks.get(&self.track)?)));
            rows.map(|(row, entry)| self.candidate(now, cx, query, row, entry)).collect()
        })
    }

    fn candidate(&self, now: Instant, cx: &Context<'_>, query: &Query<'_>, row: &Row, entry: &TrackEntry) -> Candidate {
        Candidate {
            peer: row.peer,
            depth: entry.depth,
            free: entry.free.min(row.believed_free()),
            weight: choice::weight(query, row).unwrap_or_default(),
            backup: self.backups().contains(&row.peer),
            verdict: self.verdict(now, cx, query, row, entry),
        }
    }

    fn verdict(&self, now: Instant, cx: &Context<'_>, query: &Query<'_>, row: &Row, entry: &TrackEntry) -> Verdict {
        if self.parent() == Some(row.peer) {
            return Verdict::Parent;
        }
        if self.children.contains_key(&row.peer) {
            return Verdict::Below;
        }
        if Source::of(row.peer, entry) != Some(query.source) {
            return Verdict::OtherPublication;
        }
        let Some(depth) = entry.depth else {
            return Verdict::NotAttached;
        };
        if let Some((why, left)) = self.upstream.not_asked(now, cx.peers, &row.peer) {
            return Verdict::NotAsked(why, left);
        }
        if cx.links.silent(&row.peer) {
            return Verdict::Silent;
        }
        if !query.has_room_below(depth) {
            return Verdict::TooDeep;
        }
        // What is left to a peer without a free slot may be slots that it keeps for repairs.
        if entry.free.min(row.believed_free()) == 0 && !(query.repair && row.believed_free() > 0) {
            return Verdict::Full;
        }
        match choice::chain(query, row.peer) {
            Chain::Clean => Verdict::Open,
            Chain::Doubtful => Verdict::Doubtful,
            Chain::Below => Verdict::Below,
        }
    }
}
