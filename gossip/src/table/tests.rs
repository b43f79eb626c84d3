//! What is kept beside the entries is what the entries say.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    Presence, RelayPolicy, Role, TrackEntry,
    op::{Claim, OpId},
};

fn peer(index: u8) -> PeerId {
    PeerId::from_key_bytes([index; 32])
}

fn random_row(rng: &mut fastrand::Rng, index: u8) -> SignedOp {
    let tracks = ["a", "b", "c"].map(|name| TrackName::new(name).expect("valid"));
    let entry = |rng: &mut fastrand::Rng| TrackEntry {
        role: rng.choice([Role::Origin, Role::Member, Role::Member, Role::Ended]).expect("not empty"),
        origin: rng.bool().then(|| peer(rng.u8(..4))),
        epoch: rng.u64(..2),
        depth: rng.bool().then(|| rng.u8(..3)),
        parent: None,
        children: rng.u16(..2),
        free: rng.u16(..2),
        volunteer: rng.bool(),
    };
    let followed = tracks.into_iter().filter_map(|track| rng.bool().then(|| (track, entry(rng)))).collect();
    let row = Row {
        peer: peer(index),
        incarnation: rng.u64(1..4),
        version: rng.u64(1..9),
        presence: if rng.u8(..6) == 0 { Presence::Left } else { Presence::Alive },
        label: None,
        addresses: Vec::new(),
        tags: BTreeMap::new(),
        capacity: rng.u16(..3),
        free: rng.u16(..3),
        relay: RelayPolicy::default(),
        tracks: followed,
        library: None,
    };
    SignedOp::new(Op::Row(row), [index; 64])
}

fn random_death(rng: &mut fastrand::Rng, index: u8) -> SignedOp {
    let id = OpId { author: peer(200), incarnation: 1, version: 1 };
    let claim = Claim { id, suspect: peer(index), suspect_incarnation: rng.u64(1..4) };
    SignedOp::new(Op::Death(claim), [index; 64])
}

/// A table after random changes.
fn random_table(seed: u64) -> PeerTable {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut now = Instant::now();
    let mut table = PeerTable::new(seed);
    for _ in 0..rng.usize(..150) {
        now += Duration::from_secs(1);
        let index = rng.u8(..12);
        match rng.u8(..12) {
            0 => drop(table.merge_death(now, random_death(&mut rng, index), rng.bool())),
            1 => table.set_suspect(now, peer(index), rng.bool()),
            2 => table.unspare(now, peer(index)),
            3 if rng.bool() => table.remove(&peer(index)),
            4 => table.hush(now, Duration::from_secs(10)),
            5 => drop(table.forget(now, Duration::from_secs(20))),
            _ => drop(table.merge_row(now, random_row(&mut rng, index))),
        }
    }
    table
}

proptest! {
    #[test]
    fn index_sums_and_graves_are_those_of_the_entries(seed in any::<u64>()) {
        let table = random_table(seed);
        let mut rebuilt = Derived::new(seed);
        table.entries.iter().for_each(|(peer, entry)| rebuilt.add(*peer, entry));
        prop_assert_eq!(table.derived.tracks.picture(), rebuilt.tracks.picture());
        prop_assert_eq!(&table.derived.sums, &rebuilt.sums);
        prop_assert_eq!(&table.derived.graves, &rebuilt.graves);
        prop_assert_eq!(table.live_len(), table.iter_live().count());
        prop_assert_eq!(table.root(), table.bucket_sums().iter().fold(0, |sum, bucket| bucket.wrapping_add(sum)));
        let silent = |entry: &Entry| entry.buried().filter(|_| !entry.is_shared());
        let shared = |entry: &Entry| entry.buried().filter(|_| entry.is_shared());
        let last_silent = table.entries.values().filter_map(silent).max();
        prop_assert!(last_silent <= table.entries.values().filter_map(shared).min().or(last_silent));
    }

    #[test]
    fn candidates_come_by_depth_then_open_before_reserved_then_by_children_a1(seed in any::<u64>()) {
        let table = random_table(seed);
        for track in ["a", "b", "c"].map(|name| TrackName::new(name).expect("valid")) {
            for (epoch, origin, publication) in table.publications(&track) {
                let of = |row: &Row| row.tracks[&track].clone();
                let mine = |row: &&Row| row.tracks.get(&track).is_some_and(|entry| {
                    (entry.epoch, entry.publisher(row.peer)) == (epoch, Some(origin)) && entry.depth.is_some()
                });
                let attached: Vec<&Row> = table.iter_live().filter(mine).collect();
                prop_assert_eq!(publication.attached(), attached.len());
                for depth in 0..3 {
                    let at = |row: &&&Row| of(row).depth == Some(depth) && row.believed_free() > 0;
                    let open: Vec<&Row> = publication.open_at(depth).collect();
                    let reserved: Vec<&Row> = publication.reserved_at(depth).collect();
                    prop_assert!(open.iter().all(|row| of(row).free > 0 && at(&row)));
                    prop_assert!(open.is_sorted_by_key(|row| of(row).children));
                    prop_assert!(reserved.iter().all(|row| of(row).free == 0 && at(&row)));
                    prop_assert_eq!(open.len() + reserved.len(), attached.iter().filter(at).count());
                }
            }
        }
    }

    #[test]
    fn every_live_row_is_drawn_now_and_then_and_no_other(seed in any::<u64>()) {
        let table = random_table(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let drawn: std::collections::BTreeSet<PeerId> =
            (0..2_000).filter_map(|_| Some(table.sample_live(&mut rng)?.peer)).collect();
        prop_assert_eq!(drawn, table.iter_live().map(|row| row.peer).collect());
    }
}

#[test]
fn equal_candidates_come_in_another_order_for_every_node() {
    let orders = [1, 2, 3].map(|salt| {
        let mut table = PeerTable::new(salt);
        let track = TrackName::new("a").expect("valid");
        let (origin, entry) = (
            peer(1),
            TrackEntry {
                role: Role::Member,
                origin: Some(peer(1)),
                epoch: 1,
                depth: Some(1),
                parent: None,
                children: 0,
                free: 1,
                volunteer: false,
            },
        );
        for index in 10..40 {
            let mut rng = fastrand::Rng::with_seed(1);
            let Some(Op::Row(mut row)) = random_row(&mut rng, index).op().cloned() else { panic!("made as a row") };
            (row.presence, row.capacity, row.free) = (Presence::Alive, 1, 1);
            row.tracks = [(track.clone(), entry.clone())].into();
            table.merge_row(Instant::now(), SignedOp::new(Op::Row(row), [0; 64]));
        }
        let publication = table.publication(&track, 1, origin).expect("indexed");
        publication.open_at(1).map(|row| row.peer).collect::<Vec<_>>()
    });
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
}
