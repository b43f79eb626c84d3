//! What the metrics tell of the moment.

use banyan_gossip::table::Status as PeerStatus;

use super::Core;
use crate::{
    mesh::inspect,
    views::{Status, Track},
};

/// Most tracks that are told apart; the rest have no figures of their own.
const TRACKS_MAX: usize = 64;

/// A node at a moment.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) status: Status,
    /// Other peers, by what became of them.
    pub(crate) peers: [(&'static str, usize); 4],
    /// Tracks in which the node has a part, at most 64.
    pub(crate) tracks: Vec<TrackFigures>,
}

/// A track at a moment, as the node sees it.
#[derive(Debug)]
pub(crate) struct TrackFigures {
    pub(crate) track: Track,
    /// Shares of what others than the origin forward, if the node is the origin: intended and actual, 0 to 1.
    pub(crate) offload: [Option<f64>; 2],
}

impl Core {
    pub(super) fn figures(&mut self) -> Figures {
        let count = |wanted: PeerStatus| {
            let others = self.mesh.table().iter().filter(|(_, row)| row.peer != self.mesh.me());
            others.filter(|(state, _)| *state == wanted).count()
        };
        let peers = [
            ("alive", count(PeerStatus::Alive)),
            ("suspect", count(PeerStatus::Suspect)),
            ("dead", count(PeerStatus::Dead)),
            ("left", count(PeerStatus::Left)),
        ];
        let tracks = self.track_views().tracks.into_iter().filter(|track| track.here.is_some());
        let tracks =
            tracks.take(TRACKS_MAX).map(|track| TrackFigures { offload: self.shares(&track), track }).collect();
        Figures { status: self.status(), peers, tracks }
    }

    fn shares(&self, track: &Track) -> [Option<f64>; 2] {
        let ours = track.here.as_ref().is_some_and(|here| here.role == "origin");
        let offload = track.track.parse().ok().filter(|_| ours).and_then(|track| inspect::offload(&self.mesh, &track));
        let percent = offload.map_or([None, None], |offload| [offload.intended_percent, offload.measured_percent]);
        percent.map(|percent| percent.map(|percent| percent / 100.0))
    }
}
