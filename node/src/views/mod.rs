//! What a node shows of itself: the shapes of its JSON, shared by the server, the command line and
//! the library API.
//!
//! On the wire each view travels inside an [`Envelope`]: `{"schema":"banyan.<thing>/v1","data":…}`.

pub mod checkup;
pub mod control;
mod events;
mod health;
pub mod keys;
pub mod library;
pub mod log;
pub mod peers;
pub mod repairs;
pub mod reports;
pub mod schemas;
pub mod why;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use events::{Event, EventView};
pub use health::Health;

/// A view with the name of its schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<T> {
    /// `banyan.<thing>/v1`.
    pub schema: String,
    /// The view.
    pub data: T,
}

/// A type that is shown under a schema name.
pub trait View: Serialize {
    /// `banyan.<thing>/v1`.
    const SCHEMA: &'static str;

    /// The view with its schema name.
    fn enveloped(self) -> Envelope<Self>
    where
        Self: Sized,
    {
        Envelope { schema: Self::SCHEMA.to_owned(), data: self }
    }
}

/// A duration as views show it: milliseconds with three decimals.
pub(crate) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// This node's id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// What it says of itself beyond that.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The mesh it belongs to.
    pub mesh: String,
    /// Version of the program.
    pub version: String,
    /// Listener addresses that others can dial.
    pub addresses: Vec<String>,
    /// Grows at each restart.
    pub incarnation: u64,
    /// Slots offered over all tracks.
    pub capacity: u16,
    /// Slots still free.
    pub slots_free: u16,
    /// Whether it relays tracks that it does not follow: `never`, `when-asked` or `always`.
    pub relay: String,
    /// Peers linked directly.
    pub links: usize,
    /// Other live peers known.
    pub peers: usize,
    /// Names of the tracks that this node publishes, subscribes to or relays.
    pub tracks: Vec<String>,
    /// Seconds since the start.
    pub uptime_s: u64,
}

impl View for Status {
    const SCHEMA: &'static str = "banyan.status/v1";
}

/// `GET /v1/peers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peers {
    /// Every known peer but oneself, in the order of their ids.
    pub peers: Vec<Peer>,
}

impl View for Peers {
    const SCHEMA: &'static str = "banyan.peers/v1";
}

/// One known peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peer {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// What it says of itself beyond that.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: String,
    /// Its listener addresses.
    pub addresses: Vec<String>,
    /// Slots that it offers.
    pub capacity: u16,
    /// Slots still free.
    pub slots_free: u16,
    /// Whether this node holds a link to it.
    pub linked: bool,
    /// Round-trip time of the link, in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// `GET /v1/tracks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tracks {
    /// Every track that any known peer publishes or follows, by name.
    pub tracks: Vec<Track>,
}

impl View for Tracks {
    const SCHEMA: &'static str = "banyan.tracks/v1";
}

/// One track as this node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// Its name.
    pub track: String,
    /// The peer that publishes it, if one is known.
    pub origin: Option<String>,
    /// The origin's publishing epoch.
    pub epoch: u64,
    /// `live`, `ended` or `waiting` (no origin known).
    pub state: String,
    /// Peers that follow it, the origin and volunteers not counted.
    pub members: usize,
    /// This node's part, if it has one.
    pub here: Option<TrackHere>,
}

/// This node's part in a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrackHere {
    /// `origin`, `relay`, `leaf`, or `volunteer` (relays it for others' sake alone).
    pub role: String,
    /// `origin`, `attached`, `seeking` or `stalled`, with the reason where there is one.
    pub state: String,
    /// Who feeds this node.
    pub parent: Option<String>,
    /// Distance from the origin.
    pub depth: Option<u8>,
    /// Whom this node feeds.
    pub children: Vec<String>,
    /// `live` or `reliable`; unknown until something was received.
    pub mode: Option<String>,
    /// `signed` if no relay can change the objects unnoticed, else `none`; unknown until something was received.
    pub integrity: Option<String>,
    /// Oldest object id in the ring.
    pub ring_oldest: u64,
    /// The object id that comes next.
    pub ring_next: u64,
    /// Bytes in the ring, the headers of chunks included.
    pub ring_bytes: u64,
    /// Objects received or published since the start.
    pub objects: u64,
    /// Payload bytes received or published since the start.
    pub bytes: u64,
    /// Objects sent to children since the start, each counted for every child.
    pub sent_objects: u64,
    /// The same in payload bytes.
    pub sent_bytes: u64,
    /// Objects that came again and were dropped.
    pub duplicates: u64,
    /// Objects reported as missing.
    pub missing: u64,
    /// Local subscribers.
    pub subscribers: usize,
}

/// `GET /v1/tracks/{track}/tree`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreeView {
    /// The track.
    pub track: String,
    /// The peer that publishes it, if one is known.
    pub origin: Option<String>,
    /// The origin's publishing epoch.
    pub epoch: u64,
    /// Everyone in the tree as this node's table sees it, the origin included, by depth.
    pub nodes: Vec<TreeNode>,
}

impl View for TreeView {
    const SCHEMA: &'static str = "banyan.tree/v1";
}

/// A peer's place in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TreeNode {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// `origin`, `relay`, `leaf`, or `volunteer` (relays it for others' sake alone).
    pub role: String,
    /// Who feeds it.
    pub parent: Option<String>,
    /// Distance from the origin; missing while it is not attached.
    pub depth: Option<u8>,
    /// How many it feeds on this track.
    pub children: u16,
    /// Slots that it offers over all tracks.
    pub capacity: u16,
    /// Whether it is attached to the origin.
    pub attached: bool,
}

/// `GET /v1/tracks/{track}/offload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OffloadView {
    /// The track.
    pub track: String,
    /// The peer that publishes it, if one is known.
    pub origin: Option<String>,
    /// Whether this node is the origin: others hear only of what is forwarded below them.
    pub whole: bool,
    /// Share of all children that peers other than the origin are to feed, in percent; missing while
    /// nobody is fed.
    pub intended_percent: Option<f64>,
    /// Share of all forwarded bytes that peers other than the origin have forwarded, in percent; missing
    /// while nothing was, and where `whole` is false.
    pub measured_percent: Option<f64>,
    /// Objects that were forwarded, each counted for every child that it was sent to. As far as was reported.
    pub objects: u64,
    /// The same in payload bytes.
    pub bytes: u64,
    /// Everyone in the tree, by depth.
    pub peers: Vec<OffloadPeer>,
}

impl View for OffloadView {
    const SCHEMA: &'static str = "banyan.offload/v1";
}

/// What a peer forwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OffloadPeer {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// `origin`, `relay`, `leaf`, or `volunteer` (relays it for others' sake alone).
    pub role: String,
    /// How many it is to feed.
    pub children: u16,
    /// Objects that it has sent to children, as it reported; over all its lives that this node knows of.
    pub objects: u64,
    /// The same in payload bytes.
    pub bytes: u64,
    /// To each child that it feeds, since it started.
    pub to: Vec<OffloadChild>,
}

/// What a child was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OffloadChild {
    /// Its id.
    pub peer_id: String,
    /// Objects.
    pub objects: u64,
    /// Payload bytes.
    pub bytes: u64,
}

/// The answer to a finished publication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// The track.
    pub track: String,
    /// The publishing epoch.
    pub epoch: u64,
    /// Objects published.
    pub objects: u64,
    /// Payload bytes published.
    pub bytes: u64,
}

impl View for Published {
    const SCHEMA: &'static str = "banyan.published/v1";
}

/// Every error that the server answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ErrorView {
    /// A stable word: `invalid_name`, `not_found`, `conflict`, …
    pub code: String,
    /// One line for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// More facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl View for ErrorView {
    const SCHEMA: &'static str = "banyan.error/v1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_an_event_is_the_one_in_its_json() {
        let peer_id = String::from("x");
        for event in
            [Event::PeerLost { peer_id: peer_id.clone() }, Event::LinkUp { peer_id }, Event::Missed { events: 2 }]
        {
            let json =
                serde_json::to_value(EventView { seq: 1, at_ms: 2, event: event.clone() }).expect("it serialises");
            assert_eq!(json["event"], event.kind());
            assert_eq!(json["seq"], 1);
        }
    }

    #[test]
    fn views_travel_under_their_schema() {
        let view = Published { track: "a".to_owned(), epoch: 1, objects: 2, bytes: 3 };
        let json = serde_json::to_value(view.enveloped()).expect("it serialises");
        assert_eq!(json["schema"], "banyan.published/v1");
        assert_eq!(json["data"]["objects"], 2);
    }
}
