//! What peers are told of as it changes: pieces that come, packages that go, what becomes of what they push here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use banyan_gossip::PeerId;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{Shared, lock, pushed::Taken};
use crate::library::{
    bitfield::PieceSet,
    manifest::PackageId,
    piece::Piece,
    wire::{Answer, CHUNK_BYTES, RANGES_MAX, put_chunk},
};

/// Packages that a peer may follow and push at a time.
const FOLLOWS_MAX: usize = 256;
/// How often those who follow a download are told of new pieces.
const HAS_EVERY: Duration = Duration::from_millis(100);

impl Shared {
    /// Tells of new pieces of downloads, and of packages that are gone.
    pub(super) async fn tell_followers(
        self: &Arc<Self>,
        peer: PeerId,
        answers: &mpsc::Sender<Vec<u8>>,
        follows: &Mutex<Follows>,
    ) -> () {
        let mut tick = interval(HAS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut out = Vec::new();
            {
                let mut following = lock(follows);
                for (id, taken) in &mut following.pushed {
                    self.tell_pusher(peer, *id, taken, &mut out);
                }
                following.packages.retain(|id, follow| {
                    let Some(held) = self.held(follow.package) else {
                        Answer::Gone(*id).put(&mut out);
                        return false;
                    };
                    if !follow.told.is_full() {
                        put_more(*id, &mut follow.told, self.told(&peer, &held), &mut out);
                    }
                    true
                });
            }
            if !out.is_empty() && answers.send(out).await.is_err() {
                return;
            }
        }
    }
}

/// A package that a peer follows.
#[derive(Debug)]
pub(super) struct Follow {
    pub(super) package: PackageId,
    pub(super) told: PieceSet,
}

/// What a peer is told of as it changes.
#[derive(Debug, Default)]
pub(super) struct Follows {
    pub(super) packages: BTreeMap<u64, Follow>,
    /// What it pushes here.
    pub(super) pushed: BTreeMap<u64, Taken>,
}

impl Follows {
    pub(super) fn is_full(&self) -> bool {
        self.packages.len() + self.pushed.len() >= FOLLOWS_MAX
    }
}

/// Tells of the pieces that are there and were not told of.
pub(super) fn put_more(id: u64, told: &mut PieceSet, have: PieceSet, out: &mut Vec<u8>) {
    if have.len() != told.len() || have.count() == told.count() {
        return;
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for Piece(piece) in have.iter().filter(|piece| !told.contains(*piece)) {
        match ranges.last_mut() {
            Some((_, end)) if *end == piece => *end += 1,
            _ => ranges.push((piece, piece + 1)),
        }
    }
    for ranges in ranges.chunks(RANGES_MAX) {
        Answer::Has(id, ranges.to_vec()).put(out);
    }
    *told = have;
}

pub(super) async fn send_blob(id: u64, bytes: &[u8], answers: &mpsc::Sender<Vec<u8>>) {
    let mut out = Vec::new();
    Answer::Blob(id, bytes.len() as u64).put(&mut out);
    for chunk in bytes.chunks(CHUNK_BYTES) {
        put_chunk(&mut out, id, chunk);
        if answers.send(std::mem::take(&mut out)).await.is_err() {
            return;
        }
    }
    if !out.is_empty() {
        let _ = answers.send(out).await;
    }
}
