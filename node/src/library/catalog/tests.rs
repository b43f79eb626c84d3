use banyan_gossip::PeerId;
use proptest::prelude::*;

use super::{
    merged::{MergedCatalog, TakeError},
    *,
};

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

fn entry(package: u8, name: &str, version: &str, holding: Holding) -> Entry {
    let title = Title::new(name, version).expect("valid");
    Entry { package: PackageId([package; 32]), title, bytes: 1000 * u64::from(package), files: 3, holding }
}

fn catalog(revision: u64, entries: &[Entry]) -> Catalog {
    Catalog::new(revision, entries.to_vec()).expect("valid")
}

/// A peer announces a catalog, which is fetched.
fn offer(merged: &mut MergedCatalog, from: PeerId, catalog: &Catalog) -> Result<(), TakeError> {
    merged.handle_row(from, Some(catalog.digest()));
    merged.handle_catalog(&catalog.encode())
}

#[test]
fn a_catalog_survives_the_wire_d3() {
    let catalog = catalog(
        7,
        &[
            entry(9, "b", "2", Holding::Partial),
            entry(2, "a", "1", Holding::Installed),
            entry(5, "a", "1", Holding::Complete),
        ],
    );
    let bytes = catalog.encode();
    assert_eq!(Catalog::decode(&bytes), Ok(catalog.clone()));
    assert_eq!(catalog.digest(), LibraryDigest { revision: 7, digest: *blake3::hash(&bytes).as_bytes() });
    assert_eq!(catalog.entry(PackageId([9; 32])).map(|entry| entry.bytes), Some(9000));
    assert_eq!(catalog.entry(PackageId([3; 32])), None);
}

#[test]
fn catalogs_are_bounded_and_checked_d3() {
    let twice = [entry(1, "a", "1", Holding::Complete), entry(1, "b", "1", Holding::Complete)];
    assert_eq!(Catalog::new(0, twice.to_vec()), Err(CatalogError::Unsorted(PackageId([1; 32]))));
    let many = |count: usize, name: &str| {
        let package = |index: usize| PackageId(*blake3::hash(&index.to_be_bytes()).as_bytes());
        let entry = entry(1, name, "1", Holding::Complete);
        Catalog::new(0, (0..count).map(|index| Entry { package: package(index), ..entry.clone() }).collect())
    };
    assert!(many(ENTRIES_MAX, "x").is_ok());
    assert_eq!(many(ENTRIES_MAX + 1, "x"), Err(CatalogError::Large));
    assert_eq!(many(ENTRIES_MAX, &"x".repeat(256)), Err(CatalogError::Large));

    let good = catalog(1, &twice[..1]).encode();
    assert!(matches!(Catalog::decode(&[&good[..], &[0]].concat()), Err(CatalogError::Malformed(_))));
    assert!(matches!(Catalog::decode(&[&[0x83, 2], &good[2..]].concat()), Err(CatalogError::Malformed(_))));
    assert_eq!(Catalog::decode(&vec![0; CATALOG_BYTES_MAX + 1]), Err(CatalogError::Large));
    let wire = |name: &str, files| {
        let entry = WireEntry(PackageId([1; 32]), name.to_owned(), "1".to_owned(), 0, files, Holding::Complete);
        let mut bytes = Vec::new();
        ciborium::into_writer(&(FORMAT, 0u64, [entry]), &mut bytes).expect("writes");
        Catalog::decode(&bytes)
    };
    assert!(wire("x", 1).is_ok());
    assert_eq!(wire("", 1), Err(CatalogError::Entry(PackageId([1; 32]))));
    assert_eq!(wire("a\nb", 1), Err(CatalogError::Entry(PackageId([1; 32]))));
    assert_eq!(wire("x", 1_000_001), Err(CatalogError::Entry(PackageId([1; 32]))));
}

#[test]
fn a_title_counts_once_with_its_peers_and_versions_d3() {
    let mut merged = MergedCatalog::new(peer(0));
    let quake = |package, version: &str, holding| entry(package, "Quake", version, holding);
    offer(
        &mut merged,
        peer(1),
        &catalog(1, &[quake(1, "1.0", Holding::Complete), quake(2, "1.1", Holding::Installed)]),
    )
    .expect("taken");
    offer(
        &mut merged,
        peer(2),
        &catalog(1, &[quake(2, "1.1", Holding::Complete), entry(4, "Doom", "1", Holding::Complete)]),
    )
    .expect("taken");
    offer(&mut merged, peer(3), &catalog(1, &[quake(2, "1.1", Holding::Partial)])).expect("taken");
    let own = catalog(5, &[quake(2, "1.1", Holding::Installed), entry(7, "Own", "1", Holding::Complete)]);

    let titles = merged.titles(&own);
    let names: Vec<_> = titles.iter().map(|title| (title.name.as_str(), title.peers)).collect();
    assert_eq!(names, [("Doom", 1), ("Own", 0), ("Quake", 2)]);
    let [old, new] = &titles[2].versions[..] else { panic!("two versions") };
    assert_eq!((old.version.as_str(), old.peers.as_slice(), old.here), ("1.0", &[peer(1)][..], None));
    assert_eq!((new.version.as_str(), new.bytes, new.files), ("1.1", 2000, 3));
    assert_eq!((new.peers.as_slice(), new.partial.as_slice()), (&[peer(1), peer(2)][..], &[peer(3)][..]));
    assert_eq!(new.here, Some(Holding::Installed));
    let holders: Vec<_> = merged.holders(PackageId([2; 32])).collect();
    assert_eq!(holders, [(peer(1), Holding::Installed), (peer(2), Holding::Complete), (peer(3), Holding::Partial)]);
}

#[test]
fn who_offers_a_package_with_another_size_than_it_has_is_found_and_what_is_here_has_its_own_d6() {
    let manifest = crate::library::manifest::Manifest::new(Vec::new()).expect("valid");
    let title = Title::new("Doom", "1").expect("valid");
    let right = Entry::new(&manifest, title, Holding::Complete);
    let (larger, more) = (Entry { bytes: 1, ..right.clone() }, Entry { files: 1, ..right.clone() });
    let mut merged = MergedCatalog::new(peer(0));
    for (from, entry) in [(1, larger), (2, right.clone()), (3, more)] {
        offer(&mut merged, peer(from), &catalog(1, &[entry])).expect("taken");
    }
    assert_eq!(merged.misstating(&manifest).collect::<Vec<_>>(), [peer(1), peer(3)]);
    let version = |own: &[Entry]| merged.titles(&catalog(1, own)).remove(0).versions.remove(0);
    assert_eq!((version(&[]).bytes, version(&[right]).bytes), (1, 0));
}

#[test]
fn a_node_never_lists_itself_as_a_peer_d3() {
    let mut merged = MergedCatalog::new(peer(0));
    let own = catalog(1, &[entry(1, "a", "1", Holding::Complete)]);
    assert_eq!(offer(&mut merged, peer(0), &own), Err(TakeError::Unknown));
    // Another has the very same catalog.
    offer(&mut merged, peer(1), &own).expect("taken");
    let titles = merged.titles(&own);
    assert_eq!(titles[0].versions[0].peers, [peer(1)]);
}

#[test]
fn a_catalog_is_replaced_by_what_is_announced_and_goes_with_its_peer_d3() {
    let mut merged = MergedCatalog::new(peer(0));
    let none = catalog(0, &[]);
    let names = |merged: &MergedCatalog| merged.titles(&none).into_iter().map(|title| title.name).collect::<Vec<_>>();
    let old = catalog(1, &[entry(1, "old", "1", Holding::Complete)]);
    let new = catalog(2, &[entry(2, "new", "1", Holding::Complete)]);
    offer(&mut merged, peer(1), &old).expect("taken");
    // The old one is listed until the new one is here; a late answer does not bring it back.
    merged.handle_row(peer(1), Some(new.digest()));
    assert_eq!(names(&merged), ["old"]);
    assert_eq!(merged.wanted(), [(new.digest().digest, vec![peer(1)])].into());
    assert_eq!(merged.handle_catalog(&old.encode()), Err(TakeError::Unknown));
    assert_eq!(merged.handle_catalog(&new.encode()), Ok(()));
    assert_eq!(names(&merged), ["new"]);
    assert!(merged.wanted().is_empty());
    // A peer with the same catalog: nothing to fetch.
    merged.handle_row(peer(2), Some(new.digest()));
    assert!(merged.wanted().is_empty());
    assert_eq!(merged.titles(&none)[0].peers, 2);
    merged.handle_row(peer(1), None);
    merged.handle_row(peer(2), None);
    assert!(names(&merged).is_empty());
}

#[test]
fn a_catalog_that_is_not_what_was_announced_is_not_fetched_for_ever_d3() {
    let mut merged = MergedCatalog::new(peer(0));
    let lie = LibraryDigest { revision: 9, ..catalog(1, &[]).digest() };
    merged.handle_row(peer(1), Some(lie));
    let taken = merged.handle_catalog(&catalog(1, &[]).encode());
    assert_eq!(taken, Err(TakeError::Revision { announced: 9, found: 1 }));
    merged.handle_row(peer(2), Some(LibraryDigest { revision: 1, digest: digest(b"no catalog") }));
    assert!(matches!(merged.handle_catalog(b"no catalog"), Err(TakeError::Invalid(_))));
    assert!(merged.wanted().is_empty());
    // With its next row it has another chance.
    offer(&mut merged, peer(2), &catalog(2, &[])).expect("taken");
}

#[test]
fn an_allow_list_names_titles_and_packages_d3() {
    let entries = [
        entry(1, "a", "1", Holding::Complete),
        entry(2, "b", "1", Holding::Complete),
        entry(3, "c", "1", Holding::Complete),
    ];
    let permitted = |list: AllowList| entries.each_ref().map(|entry| list.permits(entry));
    assert_eq!(permitted(AllowList::default()), [true; 3]);
    assert_eq!(permitted(AllowList { strict: true, ..AllowList::default() }), [false; 3]);
    let list = AllowList { names: ["a".to_owned()].into(), packages: [PackageId([3; 32])].into(), strict: false };
    assert_eq!(permitted(list), [true, false, true]);
}

proptest! {
    #[test]
    fn any_bytes_are_a_catalog_or_an_error(bytes in any::<Vec<u8>>()) {
        let _ = Catalog::decode(&bytes);
    }

    /// Whatever comes in whatever order, the listing is that of the newest rows whose catalogs came.
    #[test]
    fn the_merged_catalog_is_that_of_the_peers(steps in prop::collection::vec((1u8..4, 0u8..4, any::<bool>()), 0..40)) {
        let mut merged = MergedCatalog::new(peer(0));
        let mut model = std::collections::BTreeMap::new();
        let catalogs: Vec<_> = (1..4u8)
            .map(|number| catalog(number.into(), &(0..number).map(|package| entry(package, "t", "1", Holding::Complete)).collect::<Vec<_>>()))
            .collect();
        for (from, which, fetched) in steps {
            let Some(catalog) = catalogs.get(usize::from(which)) else {
                merged.handle_row(peer(from), None);
                model.remove(&from);
                continue;
            };
            merged.handle_row(peer(from), Some(catalog.digest()));
            model.entry(from).or_insert((which, None)).0 = which;
            let current = model.values().any(|(announced, held)| *announced == which && *held == Some(which));
            if fetched {
                prop_assert_eq!(merged.handle_catalog(&catalog.encode()), Ok(()));
            }
            if fetched || current {
                for (announced, held) in model.values_mut().filter(|(announced, _)| *announced == which) {
                    *held = Some(*announced);
                }
            }
        }
        let holders = |package: u8| {
            model.iter().filter(|(_, (_, held))| held.is_some_and(|which| package <= which)).map(|(from, _)| peer(*from)).collect::<Vec<_>>()
        };
        for package in 0..3 {
            let found: Vec<_> = merged.holders(PackageId([package; 32])).map(|(peer, _)| peer).collect();
            prop_assert_eq!(found, holders(package));
        }
    }
}

#[test]
fn catalog_that_found_no_room_is_asked_for_when_there_is_some_d3() {
    let package = |index: usize| PackageId(*blake3::hash(&index.to_be_bytes()).as_bytes());
    let same = entry(1, "x", "1", Holding::Complete);
    let mut entries: Vec<_> = (0..ENTRIES_MAX).map(|index| Entry { package: package(index), ..same.clone() }).collect();
    entries.sort_by_key(|entry| entry.package);
    let large = Catalog::new(1, entries).expect("valid");
    let mut merged = MergedCatalog::new(peer(0));
    let fit = u8::try_from(merged::MERGED_ENTRIES_MAX / ENTRIES_MAX).expect("few");
    (1..=fit + 1).for_each(|number| merged.handle_row(peer(number), Some(large.digest())));
    assert_eq!(merged.handle_catalog(&large.encode()), Err(TakeError::Full));
    assert!(merged.wanted().is_empty());
    merged.handle_row(peer(1), None);
    assert_eq!(merged.wanted().into_values().collect::<Vec<_>>(), [vec![peer(fit + 1)]]);
    assert_eq!(merged.handle_catalog(&large.encode()), Ok(()));
    assert!(merged.wanted().is_empty());
}
