//! Whom to ask: the live rows that could feed this node, weighed and drawn.
//!
//! A candidate of depth `d` with `free` slots weighs `free · ¼^d`, less if its link is slow. The
//! draw is weighted sampling without replacement (Efraimidis and Spirakis, 2006: the largest keys
//! `u^(1/w)`), so that many nodes that choose at once do not herd to one parent, and yet prefer the
//! shallowest (A1). One call reads every row once, and follows the parents of those it returns.

use std::time::Duration;

use banyan_gossip::{
    PeerId, Role, Row, TrackEntry, TrackName,
    table::{PeerTable, Status},
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

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Whom to ask, in this order.
    pub(crate) drawn: Vec<PeerId>,
    /// Whether a live peer publishes the source.
    pub(crate) origin_live: bool,
    /// Peers attached to it, this node not counted.
    pub(crate) attached: usize,
    /// Those of them without a free slot.
    pub(crate) full: usize,
    /// Those with free slots at a depth where the seeker's subtree does not fit.
    pub(crate) too_deep: usize,
    /// Those with free slots that are used up for now.
    pub(crate) used_up: usize,
    /// Those with free slots that this node feeds, directly or not.
    pub(crate) below: usize,
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
    let mut survey = Survey::default();
    let mut keyed: Vec<(f64, PeerId)> = Vec::new();
    for row in query.peers.iter_live() {
        let Some(entry) = row.tracks.get(query.track) else {
            continue;
        };
        if row.peer == query.me || Source::of(row.peer, entry) != Some(query.source) {
            continue;
        }
        survey.origin_live |= entry.role != Role::Member;
        if let Some(weight) = consider(query, row, entry, &mut survey) {
            // ln(u)/w sorts as u^(1/w) does and does not underflow. 1 - u is never 0.
            keyed.push(((1.0 - rng.f64()).ln() / weight, row.peer));
        }
    }
    keyed.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let mut doubtful = Vec::new();
    for (_, peer) in keyed {
        match chain(query, peer) {
            Chain::Clean => survey.drawn.push(peer),
            Chain::Doubtful if doubtful.len() < count => doubtful.push(peer),
            Chain::Doubtful => {}
            Chain::Below => survey.below += 1,
        }
        if survey.drawn.len() >= count {
            break;
        }
    }
    if survey.drawn.is_empty() && query.desperate {
        survey.drawn = doubtful;
    }
    survey
}

/// The weight of a candidate; `None` and a tally if it cannot be asked.
fn consider(query: &Query<'_>, row: &Row, entry: &TrackEntry, survey: &mut Survey) -> Option<f64> {
    let depth = entry.depth?;
    survey.attached += 1;
    let believed = row.free.min(row.capacity).min(query.config.capacity_ceiling);
    let free = match entry.free.min(believed) {
        // What is left of the peer's slots it keeps for repairs.
        0 if query.repair && believed > 0 => LEVEL_FACTOR,
        0 => {
            survey.full += 1;
            return None;
        }
        free => f64::from(free),
    };
    if usize::from(depth) + 1 + usize::from(query.height) > usize::from(query.config.max_depth) {
        survey.too_deep += 1;
        return None;
    }
    if depth > query.deepest {
        return None;
    }
    match (query.standing)(row) {
        Standing::Open => {}
        Standing::UsedUp => {
            survey.used_up += 1;
            return None;
        }
        Standing::Below => {
            survey.below += 1;
            return None;
        }
    }
    let linked = query.links.linked(&row.peer);
    let rtt = query.links.rtt(&row.peer).unwrap_or(RTT_UNKNOWN);
    let nearness = RTT_HALF.as_secs_f64() / (RTT_HALF + rtt).as_secs_f64();
    let warm = if query.repair && linked { LINKED_FACTOR } else { 1.0 };
    Some(free * LEVEL_FACTOR.powi(i32::from(depth)) * nearness * warm)
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

/// The greatest publication of a track that a live peer other than `me` offers.
pub(crate) fn greatest_source(peers: &PeerTable, track: &TrackName, me: PeerId) -> Option<Source> {
    let others = peers.iter_live().filter(|row| row.peer != me);
    let entries = others.filter_map(|row| Some((row.peer, row.tracks.get(track)?)));
    entries.filter(|(_, entry)| entry.role != Role::Member).filter_map(|(peer, entry)| Source::of(peer, entry)).max()
}

/// Whether a live peer offers this publication.
pub(crate) fn is_published(peers: &PeerTable, track: &TrackName, source: Source) -> bool {
    let entry = peers.live(&source.origin).and_then(|row| row.tracks.get(track));
    entry.is_some_and(|entry| entry.role != Role::Member && entry.epoch == source.epoch)
}

#[cfg(test)]
mod tests;
