//! Whom to ask: the live rows that could feed this node, weighed and drawn.
//!
//! The table's index of the publication is walked from its front, the least depth first and then
//! the fewest children (A1), until a few are found that fit. A candidate of depth `d` with `free`
//! slots weighs `free · ¼^d`, less if its link is slow. The draw is weighted sampling without
//! replacement (Efraimidis and Spirakis, 2006: the largest keys `u^(1/w)`), so that many nodes that
//! choose at once do not herd to one parent, and yet prefer the shallowest. One call reads a few
//! rows, however large the table, and follows the parents of those.

use std::time::Duration;

use banyan_gossip::{
    PeerId, Row, TrackEntry, TrackName,
    table::{PeerTable, Publication, Status},
};

use crate::{Config, Links, Source, message::PATH_MAX};

/// Weight lost per level.
const LEVEL_FACTOR: f64 = 0.25;
/// A link of this round-trip time weighs half.
const RTT_HALF: Duration = Duration::from_millis(10);
/// What a peer without a link is taken for.
const RTT_UNKNOWN: Duration = Duration::from_millis(1);
/// How much more a linked peer weighs in a repair: a dial takes longer than a refusal.
const LINKED_FACTOR: f64 = 4.0;

/// Candidates that are weighed for each one drawn.
const POOL_FACTOR: usize = 3;
/// Most candidates read in a walk, more than can be used up at a time.
const READ_MAX: usize = 1_024;

/// Rows that a sample looks at.
pub(crate) const SAMPLES: usize = 32;

/// What the node itself knows of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may be asked.
    Open,
    /// It refused lately, or cannot be reached, or is the parent already.
    UsedUp,
    /// It is a child of this node.
    Below,
}

/// What is sought.
pub(crate) struct Query<'a> {
    pub(crate) me: PeerId,
    pub(crate) track: &'a TrackName,
    pub(crate) source: Source,
    pub(crate) config: &'a Config,
    pub(crate) peers: &'a PeerTable,
    pub(crate) links: &'a dyn Links,
    /// Levels below the seeker.
    pub(crate) height: u8,
    /// Greatest depth that a candidate may have.
    pub(crate) deepest: u8,
    /// Slots kept for repairs may be taken.
    pub(crate) repair: bool,
    /// Candidates fed through this peer come last: it is gone, or about to go.
    pub(crate) avoid: Option<PeerId>,
    /// Candidates that come last are better than none.
    pub(crate) desperate: bool,
    pub(crate) standing: &'a dyn Fn(&Row) -> Standing,
}

impl Query<'_> {
    /// Whether the seeker's subtree fits below a parent at this depth.
    pub(crate) fn has_room_below(&self, depth: u8) -> bool {
        usize::from(depth) + 1 + usize::from(self.height) <= usize::from(self.config.max_depth)
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Whom to ask, in this order.
    pub(crate) drawn: Vec<PeerId>,
    /// Whether a live peer publishes the source.
    pub(crate) origin_live: bool,
    /// Whether anybody is attached to it, this node not counted.
    pub(crate) attached: bool,
    /// Whether a free slot was passed over for being so deep that the seeker's subtree does not fit.
    pub(crate) too_deep: bool,
    /// Whether one was for being used up for now.
    pub(crate) used_up: bool,
    /// Whether one was because this node feeds it, directly or not.
    pub(crate) below: bool,
}

/// How a candidate is fed, as far as the rows tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// By the origin, or by somebody unknown.
    Clean,
    /// By the peer to avoid, or by somebody who is not attached.
    Doubtful,
    /// By this node.
    Below,
}

/// Draws up to `count` candidates.
pub(crate) fn survey(query: &Query<'_>, count: usize, rng: &mut fastrand::Rng) -> Survey {
    let Some(publication) = query.peers.publication(query.track, query.source.epoch, query.source.origin) else {
        return Survey::default();
    };
    let others = publication.attached() - usize::from(is_attached(query));
    let origin_live = publication.is_published() && query.source.origin != query.me;
    let mut survey = Survey { origin_live, attached: others > 0, ..Survey::default() };
    let (clean, doubtful) = walk(query, publication, count * POOL_FACTOR, &mut survey);
    let pool = if clean.is_empty() && query.desperate { doubtful } else { clean };
    // ln(u)/w sorts as u^(1/w) does and does not underflow. 1 - u is never 0.
    let key = |(weight, peer): (f64, PeerId)| ((1.0 - rng.f64()).ln() / weight, peer);
    let mut keyed: Vec<(f64, PeerId)> = pool.into_iter().map(key).collect();
    keyed.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    survey.drawn = keyed.into_iter().take(count).map(|(_, peer)| peer).collect();
    survey
}

/// Draws up to `count` candidates evenly from all that have a slot and a clean chain: where whoever
/// is there would do, it should not be the same few for everybody. Finds few of a track that few follow.
pub(crate) fn sample(query: &Query<'_>, count: usize, rng: &mut fastrand::Rng) -> Vec<PeerId> {
    let mut drawn = Vec::new();
    for _ in 0..SAMPLES {
        let Some(row) = query.peers.sample_live(rng).filter(|_| drawn.len() < count) else {
            break;
        };
        let entry = row.tracks.get(query.track).filter(|entry| Source::of(row.peer, entry) == Some(query.source));
        let depth = entry.and_then(|entry| entry.depth).filter(|depth| *depth <= query.deepest);
        let fits = depth.is_some_and(|depth| query.has_room_below(depth)) && row.believed_free() > 0;
        let new = row.peer != query.me && !drawn.contains(&row.peer);
        if fits && new && (query.standing)(row) == Standing::Open && chain(query, row.peer) == Chain::Clean {
            drawn.push(row.peer);
        }
    }
    drawn
}

/// Whether this node's own row is among those attached.
fn is_attached(query: &Query<'_>) -> bool {
    let entry = query.peers.live(&query.me).and_then(|row| row.tracks.get(query.track));
    entry.is_some_and(|entry| entry.depth.is_some() && Source::of(query.me, entry) == Some(query.source))
}

/// Candidates with their weights.
type Weighed = Vec<(f64, PeerId)>;

/// The first candidates that fit: up to `most` whose chain is clean, and as many that are doubtful.
fn walk(query: &Query<'_>, publication: &Publication, most: usize, survey: &mut Survey) -> (Weighed, Weighed) {
    let (mut clean, mut doubtful) = (Vec::new(), Vec::new());
    let mut read = 0;
    let mut next = publication.depth_from(0);
    while let Some(depth) = next.filter(|depth| *depth <= query.deepest) {
        next = depth.checked_add(1).and_then(|deeper| publication.depth_from(deeper));
        let reserved = query.repair.then(|| publication.reserved_at(depth));
        for row in publication.open_at(depth).chain(reserved.into_iter().flatten()) {
            if !query.has_room_below(depth) {
                survey.too_deep = true;
                return (clean, doubtful);
            }
            if read == READ_MAX || clean.len() == most {
                return (clean, doubtful);
            }
            read += 1;
            match consider(query, row, survey) {
                Some((Chain::Clean, weight)) => clean.push((weight, row.peer)),
                Some((Chain::Doubtful, weight)) if doubtful.len() < most => doubtful.push((weight, row.peer)),
                _ => {}
            }
        }
    }
    (clean, doubtful)
}

/// How a candidate is fed and what it weighs; `None` and a note if it cannot be asked.
fn consider(query: &Query<'_>, row: &Row, survey: &mut Survey) -> Option<(Chain, f64)> {
    if row.peer == query.me {
        return None;
    }
    match (query.standing)(row) {
        Standing::Open => {}
        Standing::UsedUp => {
            survey.used_up = true;
            return None;
        }
        Standing::Below => {
            survey.below = true;
            return None;
        }
    }
    let chain = chain(query, row.peer);
    survey.below |= chain == Chain::Below;
    Some((chain, weight(query, row)?))
}

/// With what weight a candidate is drawn; `None` if it has no place in the tree.
pub(crate) fn weight(query: &Query<'_>, row: &Row) -> Option<f64> {
    let entry = row.tracks.get(query.track)?;
    let free = match entry.free.min(row.believed_free()).min(query.config.capacity_ceiling) {
        // What is left of the peer's slots it keeps for repairs.
        0 => LEVEL_FACTOR,
        free => f64::from(free),
    };
    let linked = query.links.linked(&row.peer);
    let rtt = query.links.rtt(&row.peer).unwrap_or(RTT_UNKNOWN);
    let nearness = RTT_HALF.as_secs_f64() / (RTT_HALF + rtt).as_secs_f64();
    let warm = if query.repair && linked { LINKED_FACTOR } else { 1.0 };
    Some(free * LEVEL_FACTOR.powi(i32::from(entry.depth?)) * nearness * warm)
}

/// Follows the parents that rows name, from a candidate upwards. Rows may be stale: the parent
/// checks again when it is asked.
pub(crate) fn chain(query: &Query<'_>, candidate: PeerId) -> Chain {
    let mut at = candidate;
    for _ in 0..=PATH_MAX {
        if at == query.me {
            return Chain::Below;
        }
        if query.avoid == Some(at) {
            return Chain::Doubtful;
        }
        if at == query.source.origin {
            return Chain::Clean;
        }
        let Some(row) = query.peers.live(&at) else {
            return match query.peers.status(&at) {
                Some(Status::Dead | Status::Left) => Chain::Doubtful,
                _ => Chain::Clean,
            };
        };
        let Some(TrackEntry { depth: Some(_), parent: Some(parent), .. }) = row.tracks.get(query.track) else {
            return Chain::Doubtful;
        };
        at = *parent;
    }
    Chain::Doubtful
}

/// The greatest publication of a track that a live peer offers, of those whose origins count.
pub(crate) fn greatest_source(
    peers: &PeerTable,
    track: &TrackName,
    counts: impl Fn(&PeerId) -> bool,
) -> Option<Source> {
    let mut greatest_first = peers.publications(track).rev();
    let (epoch, origin, _) = greatest_first.find(|(_, origin, offer)| offer.is_published() && counts(origin))?;
    Some(Source { epoch, origin })
}

/// Whether a live peer offers this publication.
pub(crate) fn is_published(peers: &PeerTable, track: &TrackName, source: Source) -> bool {
    peers.publication(track, source.epoch, source.origin).is_some_and(Publication::is_published)
}

#[cfg(test)]
mod tests;
