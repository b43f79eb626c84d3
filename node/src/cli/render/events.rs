//! Events as sentences.

use super::{milliseconds, short};
use crate::{
    cli::exit::one_line,
    views::{Event, EventView},
};

/// An event on one line.
pub(crate) fn event(view: &EventView) -> String {
    let seconds = view.at_ms as f64 / 1000.0;
    one_line(&format!("{seconds:.3} {}", sentence(&view.event)))
}

/// An event as a sentence.
pub(crate) fn sentence(event: &Event) -> String {
    sentence_with(event, |peer| short(peer).to_owned())
}

/// The same; `name` says what a peer is called.
pub(crate) fn sentence_with(event: &Event, name: impl Fn(&str) -> String) -> String {
    match event {
        Event::PeerJoined { peer_id, label } => match label {
            Some(label) => format!("peer {} ({label}) joined", short(peer_id)),
            None => format!("peer {} joined", short(peer_id)),
        },
        Event::PeerSuspected { peer_id } => format!("peer {} is suspected of being gone", name(peer_id)),
        Event::PeerRefuted { peer_id } => format!("peer {} is there after all", name(peer_id)),
        Event::PeerLost { peer_id } => format!("peer {} is gone", name(peer_id)),
        Event::PeerLeft { peer_id } => format!("peer {} left", name(peer_id)),
        Event::Misbehaved { peer_id, reason } => format!("peer {} misbehaves: {reason}", name(peer_id)),
        Event::LinkUp { peer_id } => format!("link to {} is up", name(peer_id)),
        Event::LinkDown { peer_id, reason } => format!("link to {} is down: {reason}", name(peer_id)),
        Event::ParentChanged { track, from, to, depth, reason, tries, took_ms } => {
            let from = from.as_deref().map(|from| format!("from {} ", name(from))).unwrap_or_default();
            let took = milliseconds(*took_ms);
            let tries = if *tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
            format!("{track}: parent {from}to {} at depth {depth} ({reason}, {tries}, {took})", name(to))
        }
        Event::ParentLost { track, peer_id, reason } => format!("{track}: parent {} is lost: {reason}", name(peer_id)),
        Event::PeerLied { track, peer_id } => {
            format!("{track}: {} passes on what the origin has not signed, and is left", name(peer_id))
        }
        Event::Repaired { track, reason, gap_ms, attach_ms } => {
            let (gap, attach) = (milliseconds(*gap_ms), milliseconds(*attach_ms));
            format!("{track}: repaired, objects flow again after {gap} ({reason}, attached in {attach})")
        }
        Event::Stuck { track, reason } => format!("{track}: no parent: {reason}"),
        Event::ChildJoined { track, peer_id } => format!("{track}: child {} joined", name(peer_id)),
        Event::ChildLeft { track, peer_id, reason } => format!("{track}: child {} is gone: {reason}", name(peer_id)),
        Event::OriginChanged { track, origin, epoch } => {
            format!("{track}: published by {} in epoch {epoch}", name(origin))
        }
        Event::Gap { track, from, to } => {
            format!("{track}: {} objects are missing, from id {from}", to.saturating_sub(*from))
        }
        Event::BootstrapFailed { address, reason } => format!("cannot reach {address}: {reason}; trying again"),
        Event::LibraryJob { id, kind, name, state, phase, .. } => format!("job {id}: {kind} {name}: {state}, {phase}"),
        Event::LibraryChanged { packages } => format!("the mesh offers {packages} packages"),
        Event::User { from, name, payload, .. } if payload.is_empty() => format!("{name} (told by {})", short(from)),
        Event::User { from, name, payload, .. } => format!("{name}: {payload} (told by {})", short(from)),
        Event::Missed { events } => {
            format!("{events} events are missing here: they came too fast, or are no longer kept")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event) -> String {
        super::event(&EventView { seq: 3, at_ms: 12_345, event })
    }

    #[test]
    fn events_are_one_line_each() {
        let repaired = Event::Repaired {
            track: "cam/1".to_owned(),
            reason: "parent_lost".to_owned(),
            gap_ms: 83.4,
            attach_ms: 7.25,
        };
        assert_eq!(
            line(repaired),
            "12.345 cam/1: repaired, objects flow again after 83 ms (parent_lost, attached in 7.2 ms)"
        );
        let down = Event::LinkDown { peer_id: "12D3KooWabcdefgh".to_owned(), reason: "a\nb\u{1b}[2J".to_owned() };
        assert_eq!(line(down), "12.345 link to abcdefgh is down: a b?[2J");
        let gap = Event::Gap { track: "t".to_owned(), from: 5, to: 9 };
        assert_eq!(line(gap), "12.345 t: 4 objects are missing, from id 5");
    }
}
