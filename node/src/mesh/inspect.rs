//! What a node shows of its mesh.

use std::collections::BTreeMap;

use banyan_gossip::{
    PeerId, Role, Row, TrackEntry, TrackName,
    table::{Publication, Status as PeerStatus},
};
use banyan_tree::{Right, Tree};

use super::{
    Mesh,
    offload::{Offload, Volume},
};
use crate::views::{
    OffloadChild, OffloadPeer, OffloadView, Peer, Peers, Status, Track, TrackHere, Tracks, TreeNode, TreeView,
    peers::PeerName,
};

/// The status, without what only the outside knows (`version`, `uptime_s`).
#[must_use]
pub fn status(mesh: &Mesh) -> Status {
    let own = mesh.table().row(&mesh.me());
    Status {
        peer_id: mesh.me().to_string(),
        label: mesh.config().label.as_ref().map(ToString::to_string),
        tags: mesh.config().tags.clone(),
        mesh: mesh.config().mesh.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        addresses: own.map(|row| row.addresses.clone()).unwrap_or_default(),
        incarnation: mesh.incarnation(),
        capacity: mesh.slots().capacity(),
        slots_free: mesh.slots().free(),
        relay: mesh.config().relay.as_str().to_owned(),
        links: mesh.links().len(),
        peers: mesh.table().iter_live().filter(|row| row.peer != mesh.me()).count(),
        tracks: mesh.trees().map(|(track, _)| track.to_string()).collect(),
        uptime_s: 0,
    }
}

/// What a peer is called.
#[must_use]
pub fn name(mesh: &Mesh, peer: &PeerId) -> PeerName {
    let own = (*peer == mesh.me()).then(|| mesh.config().label.as_ref()).flatten();
    let label = own.or_else(|| mesh.table().row(peer)?.label.as_ref());
    PeerName { peer_id: peer.to_string(), label: label.map(ToString::to_string) }
}

/// Every known peer but oneself.
#[must_use]
pub fn peers(mesh: &Mesh) -> Peers {
    let others = mesh.table().iter().filter(|(_, row)| row.peer != mesh.me());
    let peers = others.map(|(state, row)| {
        let rtt = banyan_tree::Links::rtt(mesh.links(), &row.peer);
        Peer {
            peer_id: row.peer.to_string(),
            label: row.label.as_ref().map(ToString::to_string),
            tags: row.tags.clone(),
            state: self::state(state).to_owned(),
            addresses: row.addresses.clone(),
            capacity: row.capacity,
            slots_free: row.free,
            linked: mesh.links().link(&row.peer).is_some(),
            rtt_ms: rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        }
    });
    Peers { peers: peers.collect() }
}

pub(super) const fn state(status: PeerStatus) -> &'static str {
    match status {
        PeerStatus::Alive => "alive",
        PeerStatus::Suspect => "suspect",
        PeerStatus::Dead => "dead",
        PeerStatus::Left => "left",
    }
}

/// Every track that any live peer publishes or follows; `here` holds what the trees know.
#[must_use]
pub fn tracks(mesh: &Mesh) -> Tracks {
    let named = mesh.table().iter_live().flat_map(|row| row.tracks.keys());
    let names: std::collections::BTreeSet<&TrackName> = named.collect();
    Tracks { tracks: names.into_iter().map(|track| self::track(mesh, track)).collect() }
}

fn track(mesh: &Mesh, track: &TrackName) -> Track {
    let entries = || mesh.table().iter_live().filter_map(|row| Some((row.peer, row.tracks.get(track)?)));
    let origin = origin(mesh, track);
    Track {
        track: track.to_string(),
        origin: origin.map(|(peer, _)| peer.to_string()),
        epoch: origin.map_or(0, |(_, entry)| entry.epoch),
        state: match origin.map(|(_, entry)| entry.role) {
            Some(Role::Origin) => "live",
            Some(Role::Ended) => "ended",
            _ => "waiting",
        }
        .to_owned(),
        members: entries().filter(|(_, entry)| entry.role == Role::Member && !entry.volunteer).count(),
        here: mesh.tree(track).and_then(here),
    }
}

/// Whether a live peer that may publish the track does, or has published it and still serves it.
#[must_use]
pub fn has_origin(mesh: &Mesh, track: &TrackName) -> bool {
    let publishes = |(_, origin, publication): (u64, PeerId, &Publication)| {
        publication.is_published() && mesh.allows(Right::Publish, track, &origin)
    };
    mesh.table().publications(track).any(publishes)
}

/// The origin that trees follow: the greatest (epoch, id) of those that may publish.
fn origin<'a>(mesh: &'a Mesh, track: &TrackName) -> Option<(PeerId, &'a TrackEntry)> {
    let entries = mesh.table().iter_live().filter_map(|row| Some((row.peer, row.tracks.get(track)?)));
    let counts =
        |peer: &PeerId, entry: &TrackEntry| entry.role != Role::Member && mesh.allows(Right::Publish, track, peer);
    entries.filter(|(peer, entry)| counts(peer, entry)).max_by_key(|(peer, entry)| (entry.epoch, *peer))
}

fn here(tree: &Tree) -> Option<TrackHere> {
    let entry = tree.entry()?;
    Some(TrackHere {
        role: role(&entry).to_owned(),
        state: tree.state().to_string(),
        parent: tree.parent().map(|peer| peer.to_string()),
        depth: entry.depth,
        children: tree.children().map(|(peer, _)| peer.to_string()).collect(),
        mode: None,
        integrity: None,
        ring_oldest: 0,
        ring_next: 0,
        ring_bytes: 0,
        objects: 0,
        bytes: 0,
        sent_objects: 0,
        sent_bytes: 0,
        duplicates: 0,
        missing: 0,
        subscribers: 0,
    })
}

pub(super) const fn role(entry: &TrackEntry) -> &'static str {
    match entry.role {
        Role::Origin | Role::Ended => "origin",
        Role::Member if entry.volunteer => "volunteer",
        Role::Member if entry.children > 0 => "relay",
        Role::Member => "leaf",
    }
}

/// The tree of a track as this node's table sees it; `None` if nobody has a part in it.
#[must_use]
pub fn tree(mesh: &Mesh, track: &TrackName) -> Option<TreeView> {
    let rows = || mesh.table().iter_live().filter_map(|row| Some((row, row.tracks.get(track)?)));
    rows().next()?;
    let origin = origin(mesh, track);
    let mut nodes: Vec<TreeNode> = rows().map(|(row, entry)| node(row, entry)).collect();
    nodes.sort_by(|a, b| (a.depth.unwrap_or(u8::MAX), &a.peer_id).cmp(&(b.depth.unwrap_or(u8::MAX), &b.peer_id)));
    Some(TreeView {
        track: track.to_string(),
        origin: origin.map(|(peer, _)| peer.to_string()),
        epoch: origin.map_or(0, |(_, entry)| entry.epoch),
        nodes,
    })
}

fn node(row: &Row, entry: &TrackEntry) -> TreeNode {
    TreeNode {
        peer_id: row.peer.to_string(),
        label: row.label.as_ref().map(ToString::to_string),
        role: role(entry).to_owned(),
        parent: entry.parent.map(|peer| peer.to_string()),
        depth: entry.depth,
        children: entry.children,
        capacity: row.capacity,
        attached: entry.depth.is_some(),
    }
}

/// Who forwards how much of a track: as the tree is meant to, and as it was reported to this node.
#[must_use]
pub fn offload(mesh: &Mesh, track: &TrackName) -> Option<OffloadView> {
    let tree = tree(mesh, track)?;
    let known = mesh.offload(track);
    let relays = || known.into_iter().flat_map(Offload::relays);
    let mut reported: BTreeMap<String, _> =
        relays().map(|(relay, total, children)| (relay.to_string(), (total, children))).collect();
    let mut peers = Vec::new();
    for node in &tree.nodes {
        let (total, children) = reported.remove(&node.peer_id).unwrap_or_default();
        let to = children.iter().map(|(child, volume)| OffloadChild {
            peer_id: child.to_string(),
            objects: volume.objects,
            bytes: volume.bytes,
        });
        peers.push(OffloadPeer {
            peer_id: node.peer_id.clone(),
            label: node.label.clone(),
            role: node.role.clone(),
            children: node.children,
            objects: total.objects,
            bytes: total.bytes,
            to: to.collect(),
        });
    }
    // Peers that are gone have forwarded too.
    let all = relays().fold(Volume::default(), |sum, (_, total, _)| sum.plus(total));
    let whole = tree.origin == Some(mesh.me().to_string());
    let origin = peers.iter().find(|peer| Some(&peer.peer_id) == tree.origin.as_ref());
    let fed: u64 = peers.iter().map(|peer| u64::from(peer.children)).sum();
    let share = |of_origin: u64, of_all: u64| (of_all > 0).then(|| 100.0 - 100.0 * of_origin as f64 / of_all as f64);
    Some(OffloadView {
        intended_percent: origin.and_then(|origin| share(origin.children.into(), fed)),
        measured_percent: origin.filter(|_| whole).and_then(|origin| share(origin.bytes, all.bytes)),
        objects: all.objects,
        bytes: all.bytes,
        track: tree.track,
        origin: tree.origin,
        whole,
        peers,
    })
}
