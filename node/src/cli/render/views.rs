//! Tables of the views.

use super::{
    milliseconds, seconds, short,
    style::Style,
    table::{pairs, table},
};
use crate::views::{Peer, Peers, Status, Track, TrackHere, Tracks};

/// The status of a node.
pub(crate) fn status(style: Style, status: &Status) -> String {
    let list = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(" ") };
    pairs(
        style,
        &[
            ("peer", status.peer_id.clone()),
            ("label", or_dash(status.label.as_deref())),
            ("tags", list(&status.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>())),
            ("mesh", status.mesh.clone()),
            ("version", status.version.clone()),
            ("up", seconds(status.uptime_s)),
            ("addresses", list(&status.addresses)),
            ("slots", format!("{} of {} free", status.slots_free, status.capacity)),
            ("relay", status.relay.clone()),
            ("links", status.links.to_string()),
            ("peers", status.peers.to_string()),
            ("tracks", list(&status.tracks)),
            ("incarnation", status.incarnation.to_string()),
        ],
    )
}

/// Who is in the mesh.
pub(crate) fn peers(style: Style, peers: &Peers) -> String {
    if peers.peers.is_empty() {
        return "no other peer is known\n".to_owned();
    }
    let row = |peer: &Peer| {
        let address = match peer.addresses.as_slice() {
            [] => "-".to_owned(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} +{}", rest.len()),
        };
        vec![
            or_dash(peer.label.as_deref()),
            short(&peer.peer_id).to_owned(),
            peer.state.clone(),
            if peer.linked { "yes" } else { "-" }.to_owned(),
            peer.rtt_ms.map_or("-".to_owned(), milliseconds),
            format!("{}/{}", peer.slots_free, peer.capacity),
            address,
        ]
    };
    let rows: Vec<_> = peers.peers.iter().map(row).collect();
    table(style, &["LABEL", "PEER", "STATE", "LINKED", "RTT", "FREE", "ADDRESS"], &rows)
}

/// What is published and followed.
pub(crate) fn tracks(style: Style, tracks: &Tracks) -> String {
    if tracks.tracks.is_empty() {
        return "no track is known\n".to_owned();
    }
    let row = |track: &Track| {
        let here = track.here.as_ref();
        vec![
            track.track.clone(),
            track.state.clone(),
            track.origin.as_deref().map_or("-", short).to_owned(),
            track.members.to_string(),
            here.map_or("-".to_owned(), |here| {
                if here.role == here.state { here.role.clone() } else { format!("{}, {}", here.role, here.state) }
            }),
            here.and_then(mode).unwrap_or("-".to_owned()),
            here.map_or("-".to_owned(), |here| here.ring_next.to_string()),
            here.map_or("-".to_owned(), |here| here.missing.to_string()),
        ]
    };
    let rows: Vec<_> = tracks.tracks.iter().map(row).collect();
    table(style, &["TRACK", "STATE", "ORIGIN", "MEMBERS", "HERE", "MODE", "NEXT ID", "MISSING"], &rows)
}

/// How a track is published; that it is signed goes without saying.
fn mode(here: &TrackHere) -> Option<String> {
    let unsigned = if here.integrity.as_deref() == Some("none") { ", unsigned" } else { "" };
    Some(format!("{}{unsigned}", here.mode.as_deref()?))
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_a_row_each() {
        let peer = Peer {
            peer_id: "12D3KooWabcdefgh".to_owned(),
            label: None,
            tags: Default::default(),
            state: "alive".to_owned(),
            addresses: vec!["/ip4/10.0.0.1/tcp/1".to_owned(), "/ip4/10.0.0.1/udp/1/quic-v1".to_owned()],
            capacity: 8,
            slots_free: 3,
            linked: true,
            rtt_ms: Some(0.25),
        };
        let expected = "\
LABEL  PEER      STATE  LINKED  RTT     FREE  ADDRESS
-      abcdefgh  alive  yes     0.2 ms  3/8   /ip4/10.0.0.1/tcp/1 +1
";
        assert_eq!(peers(Style::PLAIN, &Peers { peers: vec![peer] }), expected);
        assert_eq!(peers(Style::PLAIN, &Peers { peers: vec![] }), "no other peer is known\n");
    }

    #[test]
    fn tracks_are_a_row_each() {
        let track = Track {
            track: "cam/1".to_owned(),
            origin: Some("12D3KooWabcdefgh".to_owned()),
            epoch: 4,
            state: "live".to_owned(),
            members: 3,
            here: None,
        };
        let expected = "\
TRACK  STATE  ORIGIN    MEMBERS  HERE  MODE  NEXT ID  MISSING
cam/1  live   abcdefgh  3        -     -     -        -
";
        assert_eq!(tracks(Style::PLAIN, &Tracks { tracks: vec![track] }), expected);
    }
}
