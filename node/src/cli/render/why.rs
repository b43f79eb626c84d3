//! Why a peer, or this node's place in a track, is as it is.

use super::{
    events::sentence,
    milliseconds,
    repairs::called,
    seconds,
    style::{Paint, Style},
    table::{pairs, table},
};
use crate::views::{
    Event,
    checkup::Ping,
    peers::PeerName,
    why::{Candidate, LinkDetail, NoLink, PeerDetail, PeerTrack, Search, Why, WhyTrack},
};

pub(crate) fn why(style: Style, why: &Why) -> String {
    match why {
        Why::Track(why) => track(style, why),
        Why::Peer(why) => peer(style, why),
    }
}

fn track(style: Style, why: &WhyTrack) -> String {
    let mut lines = vec![("track", why.track.clone()), ("here", here(why))];
    if let Some(origin) = &why.origin {
        lines.push(("origin", called(origin)));
    }
    if let Some(parent) = &why.parent {
        lines.push(("parent", format!("{}{}", called(parent), chosen(why))));
    }
    if !why.root_path.is_empty() {
        lines.push(("path", list(&why.root_path, " → ") + " → here"));
    }
    if why.role.is_some() {
        lines.push(("backups", list(&why.backups, ", ")));
        lines.push(("children", list(&why.children, ", ")));
    }
    if let Some(search) = &why.search {
        lines.push(("search", self::search(search)));
    }
    let mut text = pairs(style, &lines);
    if !why.candidates.is_empty() {
        let rows: Vec<_> = why.candidates.iter().map(candidate).collect();
        text.push('\n');
        text.push_str(&table(style, &["CANDIDATE", "VERDICT", "DEPTH", "FREE", "RTT", "WEIGHT", "WHY"], &rows));
        let rest = why.candidates_total - why.candidates.len().min(why.candidates_total);
        if rest > 0 {
            text.push_str(&style.line(&[(Paint::Dim, format!("and {rest} more"))]));
            text.push('\n');
        }
    }
    if !why.moves.is_empty() {
        let rows: Vec<_> = why.moves.iter().map(|past| vec![ago(past.ago_ms), sentence(&past.event)]).collect();
        text.push('\n');
        text.push_str(&table(style, &["AGO", "WHAT HAPPENED"], &rows));
    }
    text
}

fn here(why: &WhyTrack) -> String {
    let depth = why.depth.map(|depth| format!(" at depth {depth}")).unwrap_or_default();
    match &why.role {
        None => "no part in it: this node neither publishes nor follows nor relays it".to_owned(),
        Some(role) if *role == why.state => role.clone(),
        Some(role) => format!("{role}, {}{depth}", why.state),
    }
}

/// Why the parent is the one it is.
fn chosen(why: &WhyTrack) -> String {
    let parent = why.parent.as_ref().map(|parent| &parent.peer_id);
    let last = why.moves.iter().rev().find_map(|past| match &past.event {
        Event::ParentChanged { to, reason, tries, took_ms, .. } if Some(to) == parent => {
            let tries = if *tries == 1 { "1 asked".to_owned() } else { format!("{tries} asked") };
            Some(format!(" for {} ({reason}, {tries}, {})", ago(past.ago_ms), milliseconds(*took_ms)))
        }
        _ => None,
    });
    last.unwrap_or_default()
}

fn search(search: &Search) -> String {
    let who = search.peer.as_ref().map(called).unwrap_or_default();
    let waits = match search.waits_for.as_str() {
        "candidates" => "nobody can be asked now; looks again".to_owned(),
        "link" => format!("waits for a link to {who},"),
        "answer" => format!("waits for the answer of {who},"),
        "stream" => format!("waits for the stream from {who},"),
        _ => format!("is fed by {who} meanwhile; sees whether the old parent speaks up"),
    };
    let last = search.last_failure.as_ref().map(|reason| format!("; the last could not: {reason}")).unwrap_or_default();
    let volunteer =
        search.volunteer.as_ref().map(|peer| format!("; asked {} to volunteer", called(peer))).unwrap_or_default();
    let (since, left) = (ago(search.since_ms), milliseconds(search.left_ms));
    format!("{} for {since}, {} asked: {waits} within {left}{last}{volunteer}", search.reason, search.tries)
}

fn candidate(candidate: &Candidate) -> Vec<String> {
    let left = candidate.left_ms.map(|left| format!(", for {} yet", milliseconds(left))).unwrap_or_default();
    let backup = if candidate.backup { "; a backup" } else { "" };
    vec![
        called(&candidate.peer),
        candidate.verdict.clone(),
        candidate.depth.map_or_else(|| "-".to_owned(), |depth| depth.to_string()),
        candidate.free.to_string(),
        candidate.rtt_ms.map_or_else(|| if candidate.linked { "?" } else { "-" }.to_owned(), milliseconds),
        format!("{:.3}", candidate.weight),
        format!("{}{left}{backup}", candidate.reason),
    ]
}

/// All that is known of a peer.
pub(crate) fn peer(style: Style, peer: &PeerDetail) -> String {
    let mut lines = vec![
        ("peer", peer.peer_id.clone()),
        ("label", peer.label.clone().unwrap_or_else(|| "-".to_owned())),
        ("state", state(peer)),
        ("addresses", if peer.addresses.is_empty() { "-".to_owned() } else { peer.addresses.join(" ") }),
        ("slots", format!("{} of {} free, relays {}", peer.slots_free, peer.capacity, peer.relay)),
        ("incarnation", format!("{}, row {}", peer.incarnation, peer.version)),
    ];
    if !peer.tags.is_empty() {
        let tags: Vec<String> = peer.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(("tags", tags.join(" ")));
    }
    match (&peer.link, &peer.no_link) {
        (Some(link), _) => lines.push(("link", self::link(link))),
        (None, Some(reason)) => lines.push(("link", no_link(reason))),
        (None, None) => {}
    }
    let mut text = pairs(style, &lines);
    if !peer.tracks.is_empty() {
        let rows: Vec<_> = peer.tracks.iter().map(part).collect();
        text.push('\n');
        text.push_str(&table(style, &["TRACK", "ROLE", "DEPTH", "PARENT", "CHILDREN", "FREE", "TO THIS NODE"], &rows));
    }
    if !peer.events.is_empty() {
        let rows: Vec<_> =
            peer.events.iter().map(|event| vec![event.seq.to_string(), sentence(&event.event)]).collect();
        text.push('\n');
        text.push_str(&table(style, &["EVENT", "WHAT HAPPENED"], &rows));
    }
    text
}

fn state(peer: &PeerDetail) -> String {
    let me = if peer.me { ", this very node" } else { "" };
    let suspicion = peer.suspicion.as_ref().map(|suspicion| {
        let left = milliseconds(suspicion.left_ms);
        format!(", suspected by {} for {}; {left} to refute", list(&suspicion.by, ", "), ago(suspicion.since_ms))
    });
    format!("{}{me}{}", peer.state, suspicion.unwrap_or_default())
}

fn link(link: &LinkDetail) -> String {
    let who = if link.dialled { "this node" } else { "the peer" };
    let rtt = link.rtt_ms.map_or_else(|| "not measured yet".to_owned(), milliseconds);
    let uses = if link.uses.is_empty() { "to keep the mesh together".to_owned() } else { link.uses.join(", ") };
    let (up, heard) = (ago(link.since_ms), ago(link.silent_ms));
    format!("up for {up}, dialled by {who}, round trip {rtt}, heard {heard} ago; for: {uses}")
}

fn no_link(reason: &NoLink) -> String {
    let retry = reason.retry_ms.map(|left| format!(", again in {}", milliseconds(left))).unwrap_or_default();
    match reason.reason.as_str() {
        "self" => "none: it is this very node".to_owned(),
        "dialling" => "none yet: it is being dialled".to_owned(),
        "gone" => format!("none: it is gone{retry}"),
        "failed" => {
            let times = if reason.failures == 1 { "once".to_owned() } else { format!("{} times", reason.failures) };
            format!("none: lost or not to be had, {times} in a row{retry}")
        }
        "no_address" => "none: no address of it is known".to_owned(),
        _ => "none: it is not needed; what it says comes by way of others".to_owned(),
    }
}

fn part(part: &PeerTrack) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        part.track.clone(),
        part.role.clone(),
        part.depth.map_or_else(dash, |depth| depth.to_string()),
        part.parent.as_ref().map_or_else(dash, called),
        part.children.to_string(),
        part.free.to_string(),
        part.to_me.clone().unwrap_or_else(dash),
    ]
}

fn list(peers: &[PeerName], between: &str) -> String {
    if peers.is_empty() {
        return "-".to_owned();
    }
    peers.iter().map(called).collect::<Vec<_>>().join(between)
}

fn ago(ms: f64) -> String {
    if ms < 10_000.0 { milliseconds(ms) } else { seconds((ms / 1000.0) as u64) }
}

/// One round trip.
pub(crate) fn ping(style: Style, ping: &Ping) -> String {
    let connected = ping.connect_ms.map(|ms| format!(", linked in {}", milliseconds(ms))).unwrap_or_default();
    let way = if ping.clock_ahead_ms < 0.0 { "behind" } else { "ahead" };
    let (rtt, clock) = (milliseconds(ping.rtt_ms), milliseconds(ping.clock_ahead_ms.abs()));
    let line = format!("{}: {rtt}{connected}; its clock is {clock} {way}; banyan {}", called(&ping.peer), ping.version);
    style.line(&[(Paint::Plain, line.replace(char::is_control, "?"))]) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::why::Past;

    fn name(label: &str) -> PeerName {
        PeerName { peer_id: format!("12D3KooW{label:-<8}"), label: Some(label.to_owned()) }
    }

    fn sample() -> WhyTrack {
        let open = Candidate {
            peer: name("b"),
            verdict: "refused".to_owned(),
            reason: "it refused: full".to_owned(),
            left_ms: Some(1_500.0),
            depth: Some(1),
            free: 2,
            linked: true,
            rtt_ms: Some(0.5),
            weight: 0.5,
            backup: true,
        };
        let event = Event::ParentChanged {
            track: "t".to_owned(),
            from: None,
            to: name("a").peer_id,
            depth: 1,
            reason: "joined".to_owned(),
            tries: 1,
            took_ms: 3.0,
        };
        WhyTrack {
            track: "t".to_owned(),
            role: Some("leaf".to_owned()),
            state: "attached".to_owned(),
            origin: Some(name("a")),
            parent: Some(name("a")),
            depth: Some(1),
            root_path: vec![name("a")],
            backups: vec![name("b")],
            children: vec![],
            search: None,
            candidates: vec![open],
            candidates_total: 3,
            moves: vec![Past { ago_ms: 61_000.0, event }],
        }
    }

    #[test]
    fn a_place_in_a_track_is_explained() {
        let expected = "\
track     t
here      leaf, attached at depth 1
origin    a
parent    a for 1 min 1 s (joined, 1 asked, 3.0 ms)
path      a → here
backups   b
children  -

CANDIDATE  VERDICT  DEPTH  FREE  RTT     WEIGHT  WHY
b          refused  1      2     0.5 ms  0.500   it refused: full, for 1500 ms yet; a backup
and 2 more

AGO        WHAT HAPPENED
1 min 1 s  t: parent to a------- at depth 1 (joined, 1 try, 3.0 ms)
";
        assert_eq!(track(Style::PLAIN, &sample()), expected);
    }

    #[test]
    fn a_search_says_what_it_waits_for() {
        let looking = Search {
            reason: "parent_lost".to_owned(),
            since_ms: 120.0,
            tries: 2,
            waits_for: "answer".to_owned(),
            peer: Some(name("c")),
            left_ms: 40.0,
            last_failure: Some("every slot is taken".to_owned()),
            volunteer: None,
        };
        let expected = "parent_lost for 120 ms, 2 asked: waits for the answer of c, within 40 ms; \
                        the last could not: every slot is taken";
        assert_eq!(search(&looking), expected);
    }
}
