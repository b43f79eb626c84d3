use std::collections::BTreeMap;

use banyan_gossip::{
    Presence, RelayPolicy, Role,
    op::{Op, SignedOp},
};

use super::*;

const fn peer(number: u16) -> PeerId {
    let mut key = [0; 32];
    [key[0], key[1]] = number.to_be_bytes();
    PeerId::from_key_bytes(key)
}

const ORIGIN: PeerId = peer(1);
const SOURCE: Source = Source { epoch: 4, origin: ORIGIN };

/// A mesh as the table of peer 50 shows it.
struct Mesh {
    table: PeerTable,
    track: TrackName,
    linked: BTreeMap<PeerId, Duration>,
    config: Config,
}

struct Rtts<'a>(&'a BTreeMap<PeerId, Duration>);

impl Links for Rtts<'_> {
    fn linked(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.0.get(peer).copied()
    }
}

impl Mesh {
    /// The origin, with this many free slots.
    fn new(free: u16) -> Self {
        let track = TrackName::new("cam/1").expect("a valid name");
        let table = PeerTable::default();
        let mut mesh = Self { table, track, linked: BTreeMap::new(), config: Config::default() };
        let entry = TrackEntry { role: Role::Origin, depth: Some(0), ..mesh.entry(0, None, free) };
        mesh.add(1, free, entry);
        mesh
    }

    fn entry(&self, depth: u8, parent: Option<u16>, free: u16) -> TrackEntry {
        TrackEntry {
            role: Role::Member,
            origin: Some(ORIGIN),
            epoch: SOURCE.epoch,
            depth: Some(depth),
            parent: parent.map(peer),
            children: 0,
            free,
            volunteer: false,
        }
    }

    fn member(&mut self, number: u16, depth: u8, parent: u16, free: u16) {
        let entry = self.entry(depth, Some(parent), free);
        self.add(number, free, entry);
    }

    fn add(&mut self, number: u16, free: u16, entry: TrackEntry) {
        self.add_on(number, free, self.track.clone(), entry);
    }

    fn add_on(&mut self, number: u16, free: u16, track: TrackName, entry: TrackEntry) {
        let row = Row {
            peer: peer(number),
            incarnation: 1,
            version: 1,
            presence: Presence::Alive,
            label: None,
            addresses: Vec::new(),
            tags: BTreeMap::new(),
            capacity: 40,
            free,
            relay: RelayPolicy::default(),
            tracks: [(track, entry)].into(),
            library: None,
        };
        self.table.merge_row(std::time::Instant::now(), SignedOp::new(Op::Row(row), [0; 64]));
    }

    fn survey(&self, seed: u64, change: impl FnOnce(&mut Query<'_>)) -> Survey {
        self.ask(change, |query| survey(query, 8, &mut fastrand::Rng::with_seed(seed)))
    }

    fn ask<T>(&self, change: impl FnOnce(&mut Query<'_>), ask: impl FnOnce(&Query<'_>) -> T) -> T {
        let standing = |_: &Row| Standing::Open;
        let mut query = Query {
            me: peer(50),
            track: &self.track,
            source: SOURCE,
            config: &self.config,
            peers: &self.table,
            links: &Rtts(&self.linked),
            height: 0,
            deepest: u8::MAX,
            repair: false,
            avoid: None,
            desperate: true,
            standing: &standing,
        };
        change(&mut query);
        ask(&query)
    }

    fn drawn(&self, change: impl FnOnce(&mut Query<'_>)) -> Vec<PeerId> {
        let mut drawn = self.survey(1, change).drawn;
        drawn.sort_unstable();
        drawn
    }

    /// How often each is drawn first.
    fn firsts(&self, draws: u64) -> BTreeMap<PeerId, u64> {
        let mut firsts = BTreeMap::new();
        for seed in 0..draws {
            *firsts.entry(self.survey(seed, |_| {}).drawn[0]).or_insert(0) += 1;
        }
        firsts
    }
}

#[test]
fn full_peers_are_never_chosen_a1() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 0);
    mesh.member(11, 1, 1, 1);
    // Full on all tracks together, whatever the track's own entry says.
    mesh.add(12, 0, mesh.entry(1, Some(1), 3));
    assert_eq!(mesh.drawn(|_| {}), [peer(11)]);
}

#[test]
fn peers_at_the_depth_limit_are_never_chosen_a1_a5() {
    let mut mesh = Mesh::new(0);
    mesh.config.max_depth = 6;
    mesh.member(10, 5, 2, 1);
    mesh.member(11, 6, 2, 1);
    assert_eq!(mesh.drawn(|_| {}), [peer(10)]);
    let survey = mesh.survey(1, |query| query.height = 1);
    assert_eq!((survey.drawn, survey.too_deep), (vec![], true), "the whole subtree has to fit");
}

#[test]
fn other_tracks_and_publications_are_never_chosen_a10() {
    let mut mesh = Mesh::new(0);
    let other = TrackName::new("cam/2").expect("a valid name");
    mesh.add_on(10, 3, other, mesh.entry(1, Some(1), 3));
    mesh.add(11, 3, TrackEntry { epoch: SOURCE.epoch - 1, ..mesh.entry(1, Some(1), 3) });
    mesh.add(12, 3, TrackEntry { origin: Some(peer(2)), ..mesh.entry(1, Some(1), 3) });
    mesh.add(13, 3, TrackEntry { depth: None, ..mesh.entry(1, Some(1), 3) });
    mesh.member(50, 1, 1, 3);
    assert_eq!(mesh.drawn(|_| {}), []);
    mesh.member(14, 1, 1, 3);
    assert_eq!(mesh.drawn(|_| {}), [peer(14)]);
}

#[test]
fn descendants_are_never_chosen_a7() {
    let mut mesh = Mesh::new(0);
    for (number, depth, parent) in [(51, 2, 50), (52, 3, 51), (53, 4, 52), (54, 5, 53)] {
        mesh.member(number, depth, parent, 2);
    }
    mesh.member(60, 4, 61, 2);
    let survey = mesh.survey(1, |_| {});
    assert_eq!((survey.drawn, survey.below), (vec![peer(60)], true));
}

#[test]
fn shallower_peers_are_preferred_and_fuller_ones_less_a1() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 2);
    mesh.member(11, 3, 9, 2);
    let shallow = mesh.firsts(2_000)[&peer(10)];
    // 16 : 1.
    assert!((1_830..=1_930).contains(&shallow), "{shallow}");

    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 3);
    mesh.member(11, 1, 1, 1);
    let emptier = mesh.firsts(2_000)[&peer(10)];
    assert!((1_420..=1_580).contains(&emptier), "{emptier}");
}

#[test]
fn equals_are_drawn_equally_a1() {
    let mut mesh = Mesh::new(0);
    for number in 10..20 {
        mesh.member(number, 1, 1, 4);
    }
    let firsts = mesh.firsts(2_000);
    assert!(firsts.len() == 10 && firsts.values().all(|count| (140..=260).contains(count)), "{firsts:?}");
}

#[test]
fn capacity_that_nobody_has_is_not_believed_a4() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 32);
    mesh.add(11, u16::MAX, mesh.entry(1, Some(1), u16::MAX));
    let firsts = mesh.firsts(2_000);
    assert!((900..=1_100).contains(&firsts[&peer(11)]), "{firsts:?}");
}

#[test]
fn slow_links_weigh_less() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 4);
    mesh.member(11, 1, 1, 4);
    mesh.linked = [(peer(10), Duration::ZERO), (peer(11), Duration::from_millis(30))].into();
    let near = mesh.firsts(2_000)[&peer(10)];
    // 4 : 1.
    assert!((1_540..=1_660).contains(&near), "{near}");
}

#[test]
fn subtree_of_the_lost_parent_comes_last() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 1, 1, 0);
    mesh.member(20, 2, 10, 3);
    mesh.member(21, 3, 20, 3);
    let avoid = |query: &mut Query<'_>| query.avoid = Some(peer(10));
    assert_eq!(mesh.drawn(avoid), [peer(20), peer(21)], "better than nobody");
    assert_eq!(mesh.drawn(|query| (query.avoid, query.desperate) = (Some(peer(10)), false)), []);
    mesh.member(30, 4, 31, 1);
    assert_eq!(mesh.drawn(avoid), [peer(30)]);
}

#[test]
fn fragments_come_last() {
    let mut mesh = Mesh::new(0);
    mesh.add(10, 3, TrackEntry { depth: None, ..mesh.entry(1, None, 3) });
    mesh.member(20, 2, 10, 3);
    assert_eq!(mesh.drawn(|_| {}), [peer(20)]);
    mesh.member(30, 4, 31, 1);
    assert_eq!(mesh.drawn(|_| {}), [peer(30)]);
}

#[test]
fn rows_that_go_in_a_circle_end_the_walk() {
    let mut mesh = Mesh::new(0);
    mesh.member(10, 2, 11, 3);
    mesh.member(11, 3, 10, 3);
    assert_eq!(mesh.drawn(|_| {}), [peer(10), peer(11)], "doubtful, but the parent decides");
    assert_eq!(mesh.drawn(|query| query.desperate = false), []);
}

#[test]
fn repair_may_ask_for_slots_that_are_kept_for_it() {
    let mut mesh = Mesh::new(0);
    mesh.add(10, 2, mesh.entry(1, Some(1), 0));
    assert_eq!(mesh.drawn(|_| {}), []);
    assert_eq!(mesh.drawn(|query| query.repair = true), [peer(10)]);
}

#[test]
fn slots_kept_for_repairs_do_not_hide_open_ones_below_them_a1() {
    let mut mesh = Mesh::new(0);
    let kept = mesh.entry(1, Some(1), 0);
    (100..200 + READ_MAX as u16).for_each(|number| mesh.add(number, 2, kept.clone()));
    mesh.member(10, 2, 100, 1);
    assert_eq!(mesh.drawn(|_| {}), [peer(10)]);
}

#[test]
fn a_walk_reads_a_bounded_number_of_rows_and_no_more_can_be_used_up() {
    let mut mesh = Mesh::new(0);
    let used_up = |row: &Row| if row.peer < peer(2_000) { Standing::UsedUp } else { Standing::Open };
    let survey = |mesh: &Mesh| {
        mesh.ask(|_| {}, |query| survey(&Query { standing: &used_up, ..*query }, 8, &mut fastrand::Rng::with_seed(1)))
    };
    (100..100 + READ_MAX as u16 - 1).for_each(|number| mesh.member(number, 1, 1, 2));
    mesh.member(2_000, 2, 100, 2);
    assert_eq!(survey(&mesh).drawn, [peer(2_000)]);
    mesh.member(99, 1, 1, 2);
    assert_eq!((survey(&mesh).drawn, survey(&mesh).used_up), (vec![], true));
    const { assert!(crate::upstream::SPENT_MAX < READ_MAX) };
}

#[test]
fn a_sample_is_even_over_depths_and_takes_only_what_fits() {
    let mut mesh = Mesh::new(1);
    (12..52).for_each(|number| mesh.member(number, 1 + number as u8 % 4, 1, 2));
    mesh.member(10, 5, 12, 2);
    mesh.member(11, 1, 1, 0);
    let mut drawn = BTreeMap::new();
    for seed in 0..2_000 {
        let one = |query: &Query<'_>| sample(query, 1, &mut fastrand::Rng::with_seed(seed));
        for peer in mesh.ask(|query| query.deepest = 4, one) {
            *drawn.entry(peer).or_insert(0) += 1;
        }
    }
    assert!(
        (12..52).filter(|number| *number != 50).all(|number| (20..=100).contains(&drawn[&peer(number)])),
        "{drawn:?}"
    );
    assert!(!drawn.contains_key(&peer(10)) && !drawn.contains_key(&peer(11)));
    let all = mesh.ask(|query| query.avoid = Some(ORIGIN), |query| sample(query, 8, &mut fastrand::Rng::with_seed(1)));
    assert_eq!(all, [], "not behind whom to avoid");
}

#[test]
fn greatest_publication_wins_and_ones_own_does_not_count() {
    let mut mesh = Mesh::new(0);
    let publication = |epoch| TrackEntry { role: Role::Origin, epoch, ..mesh.entry(0, None, 0) };
    let (older, newer, own) = (publication(3), publication(9), publication(12));
    let others = |origin: &PeerId| *origin != peer(50);
    mesh.add(2, 0, older);
    assert_eq!(greatest_source(&mesh.table, &mesh.track, others), Some(SOURCE));
    mesh.add(3, 0, newer);
    mesh.add(50, 0, own);
    let greatest = Source { epoch: 9, origin: peer(3) };
    assert_eq!(greatest_source(&mesh.table, &mesh.track, others), Some(greatest));
    assert!(is_published(&mesh.table, &mesh.track, SOURCE));
    assert!(!is_published(&mesh.table, &mesh.track, Source { epoch: 5, ..SOURCE }));
}
