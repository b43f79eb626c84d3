//! Answers to people who want to know why.

use std::time::Instant;

use super::Core;
use crate::{
    mesh::{
        inspect,
        select::{self, NotOne},
        why,
    },
    net::{checkup::Facts, types::NodeError},
    views::why::{PeerDetail, Why},
};

/// Events that are shown with a peer.
const EVENTS_SHOWN: usize = 16;

impl Core {
    pub(super) fn why(&self, what: &str) -> Result<Why, NodeError> {
        let mut why = why::why(&self.mesh, Instant::now(), what).map_err(|error| match error {
            NotOne::Unknown => NodeError::UnknownName(what.to_owned()),
            error => not_one(what, error),
        })?;
        if let Why::Peer(peer) = &mut why {
            self.add_events(peer);
        }
        Ok(why)
    }

    pub(super) fn peer_detail(&self, text: &str) -> Result<PeerDetail, NodeError> {
        let detail = select::peer(&self.mesh, text).and_then(|peer| why::detail(&self.mesh, Instant::now(), &peer));
        let mut detail = detail.map_err(|error| not_one(text, error))?;
        self.add_events(&mut detail);
        Ok(detail)
    }

    /// What a checkup needs to know.
    pub(super) fn facts(&self) -> Facts {
        let status = self.status();
        let hungry = inspect::tracks(&self.mesh).tracks.into_iter().filter_map(|track| {
            let here = track.here.filter(|here| here.state != "attached" && here.state != "origin")?;
            Some((track.track, here.state))
        });
        Facts {
            listens: status.addresses.len(),
            capacity: status.capacity,
            peers: status.peers,
            linked: self.links.keys().map(|peer| inspect::name(&self.mesh, peer)).collect(),
            mesh: self.mesh.config().mesh.clone(),
            refusals: self.met.refusals(),
            twins: self.met.twins(Instant::now()).map(|peer| inspect::name(&self.mesh, &peer)).collect(),
            hungry: hungry.collect(),
            data_dir: self.data_dir.as_ref().map(|dir| dir.path().to_owned()),
        }
    }

    fn add_events(&self, peer: &mut PeerDetail) {
        peer.events = self.events.last(EVENTS_SHOWN, |event| event.mentions(&peer.peer_id));
    }
}

pub(super) fn not_one(text: &str, error: NotOne) -> NodeError {
    match error {
        NotOne::Unknown => NodeError::UnknownPeer(text.to_owned()),
        NotOne::Ambiguous(peers) => {
            let name = |peer: crate::views::peers::PeerName| match peer.label {
                Some(label) => format!("{label} ({})", peer.peer_id),
                None => peer.peer_id,
            };
            NodeError::AmbiguousPeer { text: text.to_owned(), peers: peers.into_iter().map(name).collect() }
        }
    }
}
