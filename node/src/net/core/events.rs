//! What the node tells people, and what it does besides when the mesh tells of something.

use banyan_gossip::{TrackName, op::OpId};
use banyan_tree::MoveReason;

use super::{Core, tracks::Repair};
use crate::{
    mesh::{self, why::event_view},
    views::Event,
};

impl Core {
    pub(super) fn on_mesh_event(&mut self, event: mesh::Event) {
        match event {
            mesh::Event::Gossip(event) => {
                if let Some(event) = self.gossip_event(&event) {
                    self.emit(event);
                }
            }
            mesh::Event::User(event) => {
                let id = event_id(&event.id);
                let from = event.id.author.to_string();
                self.emit(Event::User { id, from, name: event.name, payload: event.payload });
            }
            mesh::Event::Tree(track, event) => self.on_tree_event(&track, event),
            mesh::Event::Liar(track, peer) => {
                self.emit(Event::PeerLied { track: track.to_string(), peer_id: peer.to_string() });
            }
            mesh::Event::LinkUp(peer) => self.emit(Event::LinkUp { peer_id: peer.to_string() }),
            mesh::Event::LinkDown(peer, reason) => {
                self.emit(Event::LinkDown { peer_id: peer.to_string(), reason: reason.to_owned() });
            }
            mesh::Event::TrackClosed(track) => {
                self.repairs.closed(&track);
                self.on_track_closed(&track);
            }
        }
    }

    fn gossip_event(&self, event: &banyan_gossip::Event) -> Option<Event> {
        use banyan_gossip::Event as Gossip;
        let event = match event {
            Gossip::Joined { peer, .. } => {
                let label = self.mesh.table().row(peer).and_then(|row| row.label.as_ref()).map(ToString::to_string);
                Event::PeerJoined { peer_id: peer.to_string(), label }
            }
            Gossip::Suspected { peer, .. } => Event::PeerSuspected { peer_id: peer.to_string() },
            Gossip::Refuted { peer, .. } => Event::PeerRefuted { peer_id: peer.to_string() },
            Gossip::Died { peer, .. } => Event::PeerLost { peer_id: peer.to_string() },
            Gossip::Left { peer, .. } => Event::PeerLeft { peer_id: peer.to_string() },
            Gossip::Misbehaved { peer, offence } => {
                Event::Misbehaved { peer_id: peer.to_string(), reason: offence.to_string() }
            }
            // Every change of every row would drown the rest.
            _ => return None,
        };
        Some(event)
    }

    fn on_tree_event(&mut self, track: &TrackName, event: banyan_tree::Event) {
        use banyan_tree::Event as Tree;
        match &event {
            Tree::Attached { parent, from, depth, reason, tries, took } => {
                self.log_attached(track, *parent, *from, (*depth, *reason, *tries, *took));
                use MoveReason::{ParentGone, ParentLost, ParentSilent, Withheld};
                let repaired = matches!(reason, ParentLost | ParentSilent | ParentGone | Withheld);
                if let Some(local) = self.tracks.get_mut(track)
                    && let Some(ticket) = local.ticket_of(parent)
                    && repaired
                {
                    local.repair = Some(Repair { ticket, reason: reason.to_string(), attach: *took });
                }
            }
            Tree::Detached { parent, reason } => self.log_lost(track, *parent, *reason),
            _ => {}
        }
        self.emit(event_view(track, event));
    }
}

/// What names a user event in the whole mesh, as text.
pub(super) fn event_id(id: &OpId) -> String {
    format!("{}.{}.{}", id.author, id.incarnation, id.version)
}

/// Events go to the log too, at the level that fits.
pub(super) fn log(event: &Event) {
    match event {
        Event::PeerJoined { peer_id, label } => tracing::info!(peer = peer_id, label, "peer joined"),
        Event::PeerSuspected { peer_id } => tracing::debug!(peer = peer_id, "peer suspected"),
        Event::PeerRefuted { peer_id } => tracing::debug!(peer = peer_id, "suspicion refuted"),
        Event::PeerLost { peer_id } => tracing::info!(peer = peer_id, "peer lost"),
        Event::PeerLeft { peer_id } => tracing::info!(peer = peer_id, "peer left"),
        Event::Misbehaved { peer_id, reason } => tracing::warn!(peer = peer_id, reason, "peer misbehaves"),
        Event::LinkUp { peer_id } => tracing::debug!(peer = peer_id, "link up"),
        Event::LinkDown { peer_id, reason } => tracing::debug!(peer = peer_id, reason, "link down"),
        Event::ParentChanged { track, to, depth, reason, took_ms, .. } => {
            tracing::info!(track, parent = to, depth, reason, took_ms, "attached");
        }
        Event::ParentLost { track, peer_id, reason } => tracing::info!(track, parent = peer_id, reason, "parent lost"),
        Event::PeerLied { track, peer_id } => {
            tracing::warn!(track, peer = peer_id, "the peer passes on what the origin has not signed; it is left");
        }
        Event::Repaired { track, reason, gap_ms, attach_ms } => {
            tracing::info!(track, reason, gap_ms, attach_ms, "repaired");
        }
        Event::Stuck { track, reason } => tracing::warn!(track, reason, "no parent yet; trying on"),
        Event::ChildJoined { track, peer_id } => tracing::debug!(track, child = peer_id, "child joined"),
        Event::ChildLeft { track, peer_id, reason } => tracing::debug!(track, child = peer_id, reason, "child left"),
        Event::OriginChanged { track, origin, epoch } => tracing::info!(track, origin, epoch, "origin changed"),
        Event::Gap { track, from, to } => tracing::warn!(track, from, to, "objects are missing"),
        Event::BootstrapFailed { address, reason } => {
            tracing::warn!(address, reason, "cannot reach the bootstrap address; trying again");
        }
        Event::LibraryJob { id, kind, name, state, phase, .. } => {
            tracing::debug!(id, kind, name, state, phase, "library job");
        }
        Event::LibraryChanged { packages } => tracing::debug!(packages, "library changed"),
        Event::User { from, name, payload, .. } => tracing::info!(from, name, payload, "user event"),
        Event::Missed { .. } => {}
    }
}
