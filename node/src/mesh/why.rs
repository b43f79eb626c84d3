//! Why things are as they are: what a node says of its place in a track, and of another peer. Like
//! [`inspect`](mod@super::inspect) it only looks.

use std::time::Instant;

use banyan_gossip::{PeerId, Row, TrackName};
use banyan_tree::{Context, Step, Verdict};

use super::{
    Mesh, inspect,
    select::{self, NotOne},
};
use crate::views::{
    Event, ms,
    peers::PeerName,
    why::{Candidate, LinkDetail, NoLink, Past, PeerDetail, PeerTrack, Search, Suspicion, Why, WhyTrack},
};

/// Why a track or a peer is as it is. `track:` or `peer:` before the name says which is meant.
///
/// # Errors
/// [`NotOne`] if it names neither, or both.
pub fn why(mesh: &Mesh, now: Instant, what: &str) -> Result<Why, NotOne> {
    let named = |text: &str| text.parse().ok().and_then(|name: TrackName| track(mesh, now, &name));
    if let Some(text) = what.strip_prefix("track:") {
        return named(text).map(Why::Track).ok_or(NotOne::Unknown);
    }
    if let Some(text) = what.strip_prefix("peer:") {
        return select::peer(mesh, text).and_then(|peer| detail(mesh, now, &peer)).map(Why::Peer);
    }
    match (named(what), select::peer(mesh, what)) {
        (Some(track), Err(NotOne::Unknown)) => Ok(Why::Track(track)),
        (Some(_), Ok(peer)) => Err(NotOne::Ambiguous(vec![inspect::name(mesh, &peer)])),
        (_, Err(error)) => Err(error),
        (None, Ok(peer)) => detail(mesh, now, &peer).map(Why::Peer),
    }
}

/// Why this node is fed on a track by whom it is; `None` if nobody knows the track.
#[must_use]
pub fn track(mesh: &Mesh, now: Instant, name: &TrackName) -> Option<WhyTrack> {
    let called = |peer: &PeerId| inspect::name(mesh, peer);
    let Some(tree) = mesh.tree(name) else {
        let known = inspect::tree(mesh, name)?;
        let origin = known.origin.map(|peer_id| PeerName {
            label: known.nodes.into_iter().find(|node| node.peer_id == peer_id).and_then(|node| node.label),
            peer_id,
        });
        return Some(WhyTrack {
            track: name.to_string(),
            role: None,
            state: "idle".to_owned(),
            origin,
            parent: None,
            depth: None,
            root_path: Vec::new(),
            backups: Vec::new(),
            children: Vec::new(),
            search: None,
            candidates: Vec::new(),
            candidates_total: 0,
            moves: Vec::new(),
        });
    };
    let explained =
        tree.explain(now, &Context { peers: mesh.table(), slots: &mut mesh.slots().clone(), links: mesh.links() });
    let past = |(ago, event)| Past { ago_ms: ms(ago), event: event_view(name, event) };
    Some(WhyTrack {
        track: name.to_string(),
        role: tree.entry().as_ref().map(inspect::role).map(str::to_owned),
        state: tree.state().to_string(),
        origin: tree.source().map(|source| called(&source.origin)),
        parent: tree.parent().as_ref().map(called),
        depth: tree.depth(),
        root_path: tree.root_path().iter().map(called).collect(),
        backups: tree.backups().iter().map(called).collect(),
        children: tree.children().map(|(child, _)| called(&child)).collect(),
        search: explained.search.as_ref().map(|search| self::search(mesh, search)),
        candidates: explained.candidates.iter().map(|candidate| self::candidate(mesh, candidate)).collect(),
        candidates_total: explained.candidates_total,
        moves: explained.recent.into_iter().map(past).collect(),
    })
}

fn search(mesh: &Mesh, search: &banyan_tree::Search) -> Search {
    let (waits_for, peer) = match &search.step {
        Step::Candidates => ("candidates", None),
        Step::Link(peer) => ("link", Some(peer)),
        Step::Answer(peer) => ("answer", Some(peer)),
        Step::Stream(peer) => ("stream", Some(peer)),
        Step::Trial(peer) => ("trial", Some(peer)),
    };
    Search {
        reason: search.reason.to_string(),
        since_ms: ms(search.since),
        tries: search.tries,
        waits_for: waits_for.to_owned(),
        peer: peer.map(|peer| inspect::name(mesh, peer)),
        left_ms: ms(search.left),
        last_failure: search.last_failure.map(|reason| reason.to_string()),
        volunteer: search.volunteer.map(|peer| inspect::name(mesh, &peer)),
    }
}

fn candidate(mesh: &Mesh, candidate: &banyan_tree::Candidate) -> Candidate {
    let link = mesh.links().link(&candidate.peer);
    Candidate {
        peer: inspect::name(mesh, &candidate.peer),
        verdict: candidate.verdict.as_str().to_owned(),
        reason: candidate.verdict.to_string(),
        left_ms: match candidate.verdict {
            Verdict::NotAsked(_, left) => Some(ms(left)),
            _ => None,
        },
        depth: candidate.depth,
        free: candidate.free,
        linked: link.is_some(),
        rtt_ms: link.and_then(|link| link.rtt()).map(ms),
        weight: candidate.weight,
        backup: candidate.backup,
    }
}

/// What this node knows of a peer, but for its events, which only the outside keeps.
///
/// # Errors
/// [`NotOne::Unknown`] if its row is not known.
pub fn detail(mesh: &Mesh, now: Instant, peer: &PeerId) -> Result<PeerDetail, NotOne> {
    let table = mesh.table();
    let (row, status) = table.row(peer).zip(table.status(peer)).ok_or(NotOne::Unknown)?;
    let suspicion = mesh.gossip.suspicion(peer).map(|suspicion| Suspicion {
        by: suspicion.accusers.iter().map(|peer| inspect::name(mesh, peer)).collect(),
        since_ms: ms(now.saturating_duration_since(suspicion.since)),
        left_ms: ms(suspicion.deadline.saturating_duration_since(now)),
    });
    let link = link(mesh, now, peer);
    Ok(PeerDetail {
        peer_id: peer.to_string(),
        label: row.label.as_ref().map(ToString::to_string),
        me: *peer == mesh.me(),
        state: inspect::state(status).to_owned(),
        incarnation: row.incarnation,
        version: row.version,
        addresses: row.addresses.clone(),
        tags: row.tags.clone(),
        capacity: row.capacity,
        slots_free: row.free,
        relay: row.relay.as_str().to_owned(),
        suspicion,
        no_link: link.is_none().then(|| no_link(mesh, now, peer)),
        link,
        tracks: tracks(mesh, row),
        events: Vec::new(),
    })
}

fn link(mesh: &Mesh, now: Instant, peer: &PeerId) -> Option<LinkDetail> {
    let link = mesh.links().link(peer)?;
    let used = mesh.trees().filter_map(|(track, _)| Some(format!("{} {track}", to_me(mesh, track, peer)?)));
    let streams = mesh.held.contains(peer).then(|| "streams".to_owned());
    Some(LinkDetail {
        dialled: link.dialer,
        since_ms: ms(now.saturating_duration_since(link.since)),
        silent_ms: ms(now.saturating_duration_since(link.heard())),
        rtt_ms: link.rtt().map(ms),
        uses: used.chain(streams).collect(),
    })
}

fn no_link(mesh: &Mesh, now: Instant, peer: &PeerId) -> NoLink {
    let (failures, retry) = mesh.connector.failures(now, peer);
    let addresses = mesh.table().row(peer).is_some_and(|row| !row.addresses.is_empty());
    let reason = match retry {
        _ if *peer == mesh.me() => "self",
        _ if mesh.connector.is_dialling(peer) => "dialling",
        _ if mesh.table().live(peer).is_none() => "gone",
        Some(_) => "failed",
        None if !addresses => "no_address",
        None => "not_needed",
    };
    NoLink { reason: reason.to_owned(), failures, retry_ms: retry.map(ms) }
}

fn tracks(mesh: &Mesh, row: &Row) -> Vec<PeerTrack> {
    let part = |(track, entry): (&TrackName, &banyan_gossip::TrackEntry)| PeerTrack {
        track: track.to_string(),
        role: inspect::role(entry).to_owned(),
        depth: entry.depth,
        parent: entry.parent.as_ref().map(|peer| inspect::name(mesh, peer)),
        children: entry.children,
        free: entry.free.min(row.free),
        to_me: to_me(mesh, track, &row.peer).map(str::to_owned),
    };
    row.tracks.iter().map(part).collect()
}

/// What a peer is to this node in a track.
fn to_me(mesh: &Mesh, track: &TrackName, peer: &PeerId) -> Option<&'static str> {
    let tree = mesh.tree(track)?;
    if tree.parent() == Some(*peer) {
        Some("parent")
    } else if tree.children().any(|(child, _)| child == *peer) {
        Some("child")
    } else {
        tree.backups().contains(peer).then_some("backup")
    }
}

/// An event of a tree as people see it.
#[must_use]
pub fn event_view(track: &TrackName, event: banyan_tree::Event) -> Event {
    use banyan_tree::Event as Tree;
    let track = track.to_string();
    match event {
        Tree::Attached { parent, from, depth, reason, tries, took } => Event::ParentChanged {
            track,
            from: from.map(|peer| peer.to_string()),
            to: parent.to_string(),
            depth,
            reason: reason.to_string(),
            tries,
            took_ms: ms(took),
        },
        Tree::Detached { parent, reason } => {
            Event::ParentLost { track, peer_id: parent.to_string(), reason: reason.to_string() }
        }
        Tree::ChildJoined { child } => Event::ChildJoined { track, peer_id: child.to_string() },
        Tree::ChildLeft { child, reason } => {
            Event::ChildLeft { track, peer_id: child.to_string(), reason: reason.to_string() }
        }
        Tree::Stuck { reason } => Event::Stuck { track, reason: reason.to_string() },
        Tree::OriginChanged { origin, epoch } => Event::OriginChanged { track, origin: origin.to_string(), epoch },
    }
}
