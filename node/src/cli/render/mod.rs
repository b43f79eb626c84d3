//! How views look to people.

pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod library;
pub(crate) mod offload;
pub(crate) mod repairs;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod views;
pub(crate) mod why;

use std::collections::BTreeMap;

use crate::views::TreeView;

/// The part of a peer id that tells peers apart: its last eight characters.
pub(crate) fn short(peer_id: &str) -> &str {
    let start = peer_id.char_indices().rev().nth(7).map_or(0, |(index, _)| index);
    &peer_id[start..]
}

/// A number of bytes for people.
pub(crate) fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A duration in milliseconds for people.
pub(crate) fn milliseconds(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// A duration in seconds for people, in its two greatest units.
pub(crate) fn seconds(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// What the peers of a tree are called: their labels, or short ids.
pub(crate) fn names(tree: &TreeView) -> BTreeMap<&str, &str> {
    tree.nodes.iter().map(|node| (&*node.peer_id, node.label.as_deref().unwrap_or(short(&node.peer_id)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_durations_are_short() {
        assert_eq!(amount(1023), "1023 bytes");
        assert_eq!(amount(1536), "1.5 KiB");
        assert_eq!(amount(u64::MAX), "16384.0 PiB");
        assert_eq!(milliseconds(3.125), "3.1 ms");
        assert_eq!(milliseconds(412.4), "412 ms");
        assert_eq!(milliseconds(12_345.0), "12.3 s");
        assert_eq!([59, 61, 3661, 90_000].map(seconds), ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }

    #[test]
    fn short_ids_are_the_end_of_ids() {
        assert_eq!(short("12D3KooWabcdefgh"), "abcdefgh");
        assert_eq!(short("abc"), "abc");
        assert_eq!(short(""), "");
        assert_eq!(short("ééééééééé"), "éééééééé");
    }
}
