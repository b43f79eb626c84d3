//! `GET /v1/why/{what}` and `GET /v1/peers/{peer}`: why things are as they are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, EventView, View, peers::PeerName};

/// Why a peer, or this node's place in a track, is as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Why {
    /// A track was asked for.
    Track(WhyTrack),
    /// A peer was asked for.
    Peer(PeerDetail),
}

impl View for Why {
    const SCHEMA: &'static str = "banyan.why/v1";
}

/// Why this node is fed on a track by whom it is, or by nobody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyTrack {
    /// The track.
    pub track: String,
    /// This node's part, as in [`TrackHere`](super::TrackHere); missing if it has none.
    pub role: Option<String>,
    /// As in [`TrackHere`](super::TrackHere); `idle` if it has no part.
    pub state: String,
    /// Who publishes the track, if that is known.
    pub origin: Option<PeerName>,
    /// Who feeds this node.
    pub parent: Option<PeerName>,
    /// Distance from the origin.
    pub depth: Option<u8>,
    /// The ancestors, topmost first.
    pub root_path: Vec<PeerName>,
    /// Parents chosen in advance.
    pub backups: Vec<PeerName>,
    /// Whom this node feeds.
    pub children: Vec<PeerName>,
    /// The search for a (better) parent, if there is one.
    pub search: Option<Search>,
    /// Everyone who has a part in the track, the best candidates first; at most 64.
    pub candidates: Vec<Candidate>,
    /// How many there are.
    pub candidates_total: usize,
    /// What happened last, the oldest first; at most 16.
    pub moves: Vec<Past>,
}

/// A search for a parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    /// Why there is one, as in [`Event::ParentChanged`].
    pub reason: String,
    /// Milliseconds since it began.
    pub since_ms: f64,
    /// Candidates asked.
    pub tries: u32,
    /// What is awaited: `candidates` (nobody can be asked now), `link`, `answer`, `stream`, or `trial`
    /// (whether the silent parent speaks up).
    pub waits_for: String,
    /// Of whom.
    pub peer: Option<PeerName>,
    /// Milliseconds that it is awaited yet.
    pub left_ms: f64,
    /// Why the last candidate could not be had.
    pub last_failure: Option<String>,
    /// Who is asked to relay the track, because every slot is taken.
    pub volunteer: Option<PeerName>,
}

/// A peer that has a part in the track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The peer.
    pub peer: PeerName,
    /// `parent`, `open`, `doubtful`, `refused`, `unreachable`, `lost`, `unusable`, `unwilling`, `lied`, `silent`,
    /// `full`, `too_deep`, `not_attached`, `other_publication` or `below`.
    pub verdict: String,
    /// The same as a sentence, with what was refused and why.
    pub reason: String,
    /// Milliseconds that it is not asked yet.
    pub left_ms: Option<f64>,
    /// Distance from the origin.
    pub depth: Option<u8>,
    /// Slots that a child could get.
    pub free: u16,
    /// Whether this node holds a link to it.
    pub linked: bool,
    /// Round-trip time of the link, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// With what weight it is drawn: free · ¼^depth, less if its link is slow.
    pub weight: f64,
    /// Whether it is a parent chosen in advance.
    pub backup: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Past {
    /// Milliseconds ago.
    pub ago_ms: f64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What this node knows of a peer, and has to do with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerDetail {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// Whether it is this very node.
    pub me: bool,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// Grows at each of its restarts.
    pub incarnation: u64,
    /// Of its row: grows with each change.
    pub version: u64,
    /// Its listener addresses.
    pub addresses: Vec<String>,
    /// Its tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// Slots that it offers.
    pub capacity: u16,
    /// Slots still free.
    pub slots_free: u16,
    /// Whether it relays tracks that it does not follow: `never`, `when-asked` or `always`.
    pub relay: String,
    /// Who says that it may be gone, if anybody does.
    pub suspicion: Option<Suspicion>,
    /// The link to it, if there is one.
    pub link: Option<LinkDetail>,
    /// Why there is none, otherwise.
    pub no_link: Option<NoLink>,
    /// Its part in each track.
    pub tracks: Vec<PeerTrack>,
    /// What happened with it last, the oldest first; at most 16.
    pub events: Vec<EventView>,
}

impl View for PeerDetail {
    const SCHEMA: &'static str = "banyan.peer_detail/v1";
}

/// A peer is suspected of being gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspicion {
    /// Who lost touch with it; not everyone who did needs to be known.
    pub by: Vec<PeerName>,
    /// Milliseconds since then.
    pub since_ms: f64,
    /// Milliseconds that it has yet to show that it is there.
    pub left_ms: f64,
}

/// A link to a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkDetail {
    /// Whether this node dialled it.
    pub dialled: bool,
    /// Milliseconds since it came up.
    pub since_ms: f64,
    /// Milliseconds since anything came over it.
    pub silent_ms: f64,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// What for: `parent TRACK`, `child TRACK`, `backup TRACK`, `streams`; nothing if it is one of the
    /// links to random members that keep the mesh together.
    pub uses: Vec<String>,
}

/// Why there is no link to a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoLink {
    /// `self`, `dialling`, `gone`, `failed`, `no_address` or `not_needed`.
    pub reason: String,
    /// Failed dials in a row.
    pub failures: u32,
    /// Milliseconds until it may be dialled again.
    pub retry_ms: Option<f64>,
}

/// A peer's part in a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerTrack {
    /// The track.
    pub track: String,
    /// `origin`, `relay`, `leaf` or `volunteer`.
    pub role: String,
    /// Distance from the origin.
    pub depth: Option<u8>,
    /// Who feeds it.
    pub parent: Option<PeerName>,
    /// How many it feeds.
    pub children: u16,
    /// Slots that another child could get.
    pub free: u16,
    /// What it is to this node: `parent`, `child` or `backup`.
    pub to_me: Option<String>,
}
