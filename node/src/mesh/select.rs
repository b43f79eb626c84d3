//! Which peer a person means: by id, by label, or by a part of the id that no other peer has.

use banyan_gossip::PeerId;

use super::{Mesh, inspect};
use crate::views::peers::PeerName;

/// Least characters of a part of an id.
const PART_MIN: usize = 3;

/// Most peers that are listed when a name may mean several.
const LISTED_MAX: usize = 16;

/// No peer is meant for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOne {
    /// None has this name.
    Unknown,
    /// Several do; some of them.
    Ambiguous(Vec<PeerName>),
}

/// The peer that is meant. A whole id or a label comes first; then the beginning or the end of an id.
///
/// # Errors
/// [`NotOne`].
pub fn peer(mesh: &Mesh, text: &str) -> Result<PeerId, NotOne> {
    let ids = || mesh.table().iter().map(|(_, row)| row.peer).chain([mesh.me()]);
    let called = |peer: &PeerId| inspect::name(mesh, peer).label.is_some_and(|label| label == text);
    let part = |id: &str| text.len() >= PART_MIN && (id.starts_with(text) || id.ends_with(text));
    let first = only(mesh, ids().filter(|peer| peer.to_string() == text).collect());
    first.or_else(|| only(mesh, ids().filter(called).collect())).unwrap_or_else(|| {
        only(mesh, ids().filter(|peer| part(&peer.to_string())).collect()).unwrap_or(Err(NotOne::Unknown))
    })
}

fn only(mesh: &Mesh, mut peers: Vec<PeerId>) -> Option<Result<PeerId, NotOne>> {
    peers.sort_unstable();
    peers.dedup();
    match peers[..] {
        [] => None,
        [peer] => Some(Ok(peer)),
        _ => {
            let names = peers.iter().take(LISTED_MAX).map(|peer| inspect::name(mesh, peer));
            Some(Err(NotOne::Ambiguous(names.collect())))
        }
    }
}
