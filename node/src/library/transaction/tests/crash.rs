//! Every operation is stopped before and after each of its steps on the disk, the power is lost with
//! any part of what was not synced, and recovery is stopped in the same way.

use std::{cell::RefCell, collections::BTreeSet};

use super::*;
use crate::library::store::sim::{Fault, Keep, What};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Open,
    Download,
    Install,
    Reinstall,
    Update,
    Uninstall,
    Remove,
}

/// Version in place, version installed.
type State = (Option<u64>, Option<u64>);

struct World {
    case: Case,
    origins: [Origin; 2],
    base: SimStore,
    before: State,
    after: State,
    /// What recovery makes of an image of the disk.
    recovered: RefCell<BTreeMap<[u8; 32], (State, bool)>>,
    /// Images from which every crash of the recovery was tried, and on which a download went on.
    tried: RefCell<BTreeSet<([u8; 32], Option<usize>)>>,
}

impl World {
    fn new(case: Case) -> Self {
        let origins = [Origin::new(1), Origin::new(2)];
        let (base, before, after) = match case {
            Case::Open => (SimStore::new(), (None, None), (None, None)),
            Case::Download => (SimStore::new(), (None, None), (Some(1), None)),
            Case::Install => (with_package(&origins[0], false), (Some(1), None), (Some(1), Some(1))),
            Case::Reinstall => (with_package(&origins[0], true), (Some(1), Some(1)), (Some(1), Some(1))),
            Case::Update => (with_package(&origins[0], true), (Some(1), Some(1)), (Some(2), Some(2))),
            Case::Uninstall => (with_package(&origins[0], true), (Some(1), Some(1)), (Some(1), None)),
            Case::Remove => (with_package(&origins[0], true), (Some(1), Some(1)), (None, None)),
        };
        Self { case, origins, base, before, after, recovered: RefCell::default(), tried: RefCell::default() }
    }

    /// What is fetched.
    fn origin(&self) -> &Origin {
        &self.origins[usize::from(self.case == Case::Update)]
    }

    fn run(&self, disk: &SimStore, saved: &mut Vec<Piece>) -> Result<(), TransactionError> {
        let (library, recovered) = Library::open(disk.clone(), "version.ini", ID)?;
        if let Some((_, error)) = recovered.failed.into_iter().next() {
            return Err(error);
        }
        match self.case {
            Case::Open => Ok(()),
            Case::Download => fetch(&library, self.origin(), saved)?.commit(None, &Cancel::default()),
            Case::Update => fetch(&library, self.origin(), saved)?.commit(COPY, &Cancel::default()),
            Case::Install | Case::Reinstall => install(&library, self.origin()),
            Case::Uninstall => library.uninstall("p"),
            Case::Remove => library.remove("p"),
        }
    }

    /// What a reader sees. Panics if anything is torn.
    fn look(&self, disk: &SimStore) -> State {
        // Without recovery, as one that runs beside the operation.
        let disk = disk.fork();
        let library =
            Library { store: disk.clone(), id: ID, sentinel: "version.ini".to_owned(), claims: Mutex::default() };
        let version = |dir: &str, owned: Option<PackageId>| {
            let index = self.origins.iter().position(|origin| Some(origin.id()) == owned).expect("has a marker");
            assert!(self.origins[index].is_in(&disk, dir), "{dir} is torn");
            index as u64 + 1
        };
        let Some(place) = library.place("p").expect("looks") else { return (None, None) };
        let in_place = version(&place, library.marker(&place, PACKAGE_MARKER).expect("looks"));
        let installed = library
            .installed_place("p")
            .expect("looks")
            .map(|local| version(&local, library.marker(&local, layout::INSTALLED_MARKER).expect("looks")));
        (Some(in_place), installed)
    }

    fn is_allowed(&self, state: State) -> bool {
        state == self.before || state == self.after
    }

    /// Recovers; what is left must be whole and nothing else. Says whether a download can go on.
    fn recover(&self, disk: &SimStore, context: &dyn std::fmt::Debug) -> (State, bool) {
        let image = disk.image();
        if let Some(known) = self.recovered.borrow().get(&image) {
            return *known;
        }
        let library = open(disk);
        let state = self.look(disk);
        assert!(self.is_allowed(state), "{context:?}: {state:?}");
        let paused = library.paused("p").expect("looks").is_some();
        let left = |dir| disk.list(dir).map(|entries| entries.len()).unwrap_or_default();
        assert_eq!((left(".banyan/get"), left(".banyan/do")), (usize::from(paused), 0), "{context:?}");
        let expected = 1 + usize::from(state.0.is_some());
        assert_eq!(left(""), expected, "{context:?}: {:?}", disk.list(""));
        self.recovered.borrow_mut().insert(image, (state, paused));
        (state, paused)
    }

    /// Crash at every step, and at every step of the recovery. Returns how many crashes that were.
    fn crash_everywhere(&self) -> u64 {
        let undisturbed = self.base.fork();
        self.run(&undisturbed, &mut Vec::new()).expect("works undisturbed");
        assert_eq!(self.look(&undisturbed), self.after);
        let mut points = 0;
        for at in 0.. {
            let mut ran_through = false;
            for what in [What::StopBefore, What::StopAfter] {
                let disk = self.base.fork();
                let first = disk.operations();
                disk.plan(Fault { at: first + at, what });
                let mut saved = Vec::new();
                let done = self.run(&disk, &mut saved).is_ok();
                ran_through |= done;
                let live = self.look(&disk);
                assert!(self.is_allowed(live) && (!done || live == self.after), "{at} {what:?}: {live:?}");
                let random = [Keep::Random(at)];
                for keep in [Keep::None, Keep::All, Keep::Content, Keep::Names].into_iter().chain(random) {
                    let context = (self.case, at, what, keep);
                    points += 1;
                    let after = disk.lose_power(keep);
                    assert!(self.is_allowed(self.look(&after)), "{context:?}: before the recovery");
                    // The other choices lead to images that are like these.
                    if what == What::StopAfter && matches!(keep, Keep::None | Keep::All | Keep::Random(_)) {
                        points += self.crash_recovery(&after, &context);
                    }
                    let (state, paused) = self.recover(&after, &context);
                    assert!(!done || state == self.after, "{context:?}: {state:?}");
                    if paused {
                        self.go_on(&after, &saved, &context);
                    } else if matches!(self.case, Case::Download | Case::Update) && state == self.before {
                        assert!(saved.is_empty(), "{context:?}: the download is lost");
                    }
                }
            }
            if ran_through {
                return points;
            }
        }
        unreachable!("every operation ends");
    }

    /// Recovery leads to the same state, wherever it is interrupted.
    fn crash_recovery(&self, disk: &SimStore, context: &dyn std::fmt::Debug) -> u64 {
        if !self.tried.borrow_mut().insert((disk.image(), None)) {
            return 0;
        }
        let whole = disk.fork();
        let expected = self.recover(&whole, context);
        assert_eq!(self.recover(&whole, context), expected, "{context:?}: a second recovery");
        let mut points = 0;
        for at in 0.. {
            let interrupted = disk.fork();
            let first = interrupted.operations();
            interrupted.plan(Fault { at: first + at, what: What::StopAfter });
            let opened = Library::open(interrupted.clone(), "version.ini", ID);
            assert!(self.is_allowed(self.look(&interrupted)), "{context:?}: within the recovery, {at}");
            for keep in [Keep::None, Keep::All, Keep::Random(at)] {
                points += 1;
                let context = (context, at, keep);
                assert_eq!(self.recover(&interrupted.lose_power(keep), &context), expected, "{context:?}");
            }
            if opened.is_ok_and(|(_, recovered)| recovered.failed.is_empty()) && interrupted.operations() <= first + at
            {
                return points;
            }
        }
        unreachable!("recovery ends");
    }

    /// A download goes on with what the journal tells of, and ends well.
    fn go_on(&self, disk: &SimStore, saved: &[Piece], context: &dyn std::fmt::Debug) {
        if !self.tried.borrow_mut().insert((disk.image(), Some(saved.len()))) {
            return;
        }
        let library = open(disk);
        let download = library.download("p", Arc::clone(&self.origin().manifest)).expect("goes on");
        for piece in saved {
            assert!(download.have().contains(*piece), "{context:?}: {piece:?} is lost");
        }
        for piece in download.have().iter() {
            assert_eq!(download.read_piece(piece).expect("reads"), self.origin().piece(piece), "{context:?}");
        }
        drop(download);
        let durable = disk.lose_power(Keep::None);
        self.run(disk, &mut Vec::new()).expect("ends well");
        assert_eq!(self.look(disk), self.after, "{context:?}");
        // Opening it has not spoilt what was durable, either.
        self.run(&durable, &mut Vec::new()).expect("ends well");
        assert_eq!(self.look(&durable), self.after, "{context:?}");
    }

    /// One operation after the other fails; then it is tried again, or the power is lost.
    fn fail_everywhere(&self) -> u64 {
        let mut points = 0;
        for at in 0.. {
            let mut ran_through = false;
            for what in [What::Full, What::Io] {
                let context = (self.case, at, what);
                points += 1;
                let disk = self.base.fork();
                let first = disk.operations();
                disk.plan(Fault { at: first + at, what });
                let mut saved = Vec::new();
                let outcome = self.run(&disk, &mut saved);
                ran_through |= disk.operations() <= first + at;
                let state = self.look(&disk);
                assert!(self.is_allowed(state), "{context:?}: {state:?}");
                assert!(outcome.is_err() || state == self.after, "{context:?}: {state:?}");
                for keep in [Keep::None, Keep::All, Keep::Random(at)] {
                    let after = disk.lose_power(keep);
                    let (recovered, paused) = self.recover(&after, &context);
                    assert!(outcome.is_err() || recovered == self.after, "{context:?} {keep:?}: {recovered:?}");
                    if paused {
                        self.go_on(&after, &saved, &context);
                    }
                }
                if outcome.is_err() {
                    self.try_again(&disk, &context);
                }
            }
            if ran_through {
                return points;
            }
        }
        unreachable!("every operation ends");
    }

    fn try_again(&self, disk: &SimStore, context: &dyn std::fmt::Debug) {
        match self.run(disk, &mut Vec::new()) {
            Ok(()) => {}
            // The first attempt was decided, and is finished now.
            Err(TransactionError::NotInstalled(_)) if self.case == Case::Uninstall => {}
            Err(TransactionError::NoPackage(_)) if self.case == Case::Remove => {}
            Err(error) => panic!("{context:?}: {error}"),
        }
        assert_eq!(self.look(disk), self.after, "{context:?}: not even at the second attempt");
        let (state, _) = self.recover(&disk.lose_power(Keep::None), context);
        assert_eq!(state, self.after, "{context:?}: not durable at the second attempt");
    }
}

fn check(case: Case, points_min: u64) {
    let world = World::new(case);
    let (crashes, failures) = (world.crash_everywhere(), world.fail_everywhere());
    println!("{case:?}: {crashes} crashes, {failures} failures");
    assert!(crashes > points_min && failures > 10, "{case:?}: only {crashes} crashes, {failures} failures");
}

#[test]
fn opening_a_library_outlives_every_crash_d8() {
    check(Case::Open, 100);
}

#[test]
fn download_and_commit_outlive_every_crash_d4_d7() {
    check(Case::Download, 1000);
}

#[test]
fn install_outlives_every_crash_d8() {
    check(Case::Install, 1000);
}

#[test]
fn install_over_another_outlives_every_crash_d8() {
    check(Case::Reinstall, 1000);
}

#[test]
fn update_keeps_the_old_version_through_every_crash_d8() {
    check(Case::Update, 1000);
}

#[test]
fn uninstall_outlives_every_crash_d8() {
    check(Case::Uninstall, 1000);
}

#[test]
fn removal_outlives_every_crash_d8() {
    check(Case::Remove, 1000);
}
