//! What a run measures.

use std::collections::{BTreeMap, VecDeque};

use banyan_tree::{Event, MoveReason};
use serde::Serialize;

use crate::{
    host::Traffic,
    queue::{MS, Nanos, SECOND},
    world::World,
};

/// A repair that was made.
#[derive(Debug, Clone, Copy)]
pub struct Repair {
    /// When it was done.
    pub at: Nanos,
    /// Who was repaired.
    pub host: u32,
    /// From noticing that the parent is lost to the open stream of the new one.
    pub took: Nanos,
    /// Candidates asked.
    pub tries: u32,
}

/// Most values of a kind that are kept: 3 MiB, and more than short runs have.
const KEPT_MAX: usize = 100_000;

/// What a run measures.
#[derive(Debug, Default)]
pub struct Measure {
    wanted: BTreeMap<u32, Nanos>,
    /// How long hosts took from wanting a track to the first parent, and how many candidates they asked.
    attached: VecDeque<(Nanos, u32)>,
    repairs: VecDeque<Repair>,
    /// Parents that were lost and replaced.
    pub repaired: usize,
    /// Moves to a better place.
    pub moves: u64,
    /// Suspicions and deaths as hosts came to know of them.
    pub suspected: u64,
    /// See `suspected`.
    pub died: u64,
    /// When each host got an object last, and the longest time without one.
    pauses: BTreeMap<u32, (Nanos, Nanos)>,
}

impl Measure {
    pub(crate) fn wants(&mut self, host: u32, now: Nanos) {
        self.wanted.insert(host, now);
    }

    pub(crate) fn died(&mut self, host: u32) {
        self.wanted.remove(&host);
    }

    pub(crate) fn on_tree_event(&mut self, now: Nanos, host: u32, event: &Event) {
        let Event::Attached { reason, tries, took, .. } = event else {
            return;
        };
        if let Some(since) = self.wanted.remove(&host) {
            keep(&mut self.attached, (now - since, *tries));
            return;
        }
        match reason {
            MoveReason::MovedUp => self.moves += 1,
            MoveReason::Joined | MoveReason::OriginChanged | MoveReason::Shed => {}
            _ => {
                let took = Nanos::try_from(took.as_nanos()).unwrap_or(Nanos::MAX);
                keep(&mut self.repairs, Repair { at: now, host, took, tries: *tries });
                self.repaired += 1;
            }
        }
    }

    pub(crate) fn on_gossip_event(&mut self, event: &banyan_gossip::Event) {
        match event {
            banyan_gossip::Event::Suspected { .. } => self.suspected += 1,
            banyan_gossip::Event::Died { .. } => self.died += 1,
            _ => {}
        }
    }

    pub(crate) fn on_object(&mut self, now: Nanos, host: u32) {
        let (last, longest) = self.pauses.entry(host).or_insert((now, 0));
        (*last, *longest) = (now, (now - *last).max(*longest));
    }

    /// Forgets the longest time without an object of each host.
    pub fn forget_pauses(&mut self) {
        self.pauses.values_mut().for_each(|(_, longest)| *longest = 0);
    }

    /// The longest time without an object of a host, over all tracks and since they were forgotten.
    #[must_use]
    pub fn longest_pause(&self, host: u32) -> Nanos {
        self.pauses.get(&host).map_or(0, |(_, longest)| *longest)
    }

    /// Hosts that want a track and have no parent yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.wanted.len()
    }

    /// Repairs done since then.
    pub fn repairs_since(&self, at: Nanos) -> impl Iterator<Item = &Repair> {
        self.repairs.iter().filter(move |repair| repair.at >= at)
    }
}

/// Adds a value; of too many, the oldest goes.
fn keep<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == KEPT_MAX {
        values.pop_front();
    }
    values.push_back(value);
}

/// The value below which this share of all lies, in the unit given; `None` of nothing.
#[must_use]
pub fn percentile(values: &[Nanos], share: f64, unit: Nanos) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).map(|value| *value as f64 / unit as f64)
}

/// What a run tells.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// Hosts.
    pub nodes: usize,
    /// The seed.
    pub seed: u64,
    /// The number of everything that happened.
    pub trace: String,
    /// Virtual seconds.
    pub virtual_s: f64,
    /// What was measured.
    pub values: BTreeMap<String, f64>,
}

impl Report {
    /// Notes a value, rounded to what means something.
    pub fn set(&mut self, name: &str, value: f64) {
        self.values.insert(name.to_owned(), (value * 1000.0).round() / 1000.0);
    }

    /// Notes a value if there is one.
    pub fn set_some(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// A value that was noted.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }
}

impl World {
    /// Notes how hosts attached, and how deep the tree is beside how deep it had to be.
    pub fn report_attach(&self, report: &mut Report, capacity: u16) {
        let (took, tries): (Vec<Nanos>, Vec<u32>) = self.measure.attached.iter().copied().unzip();
        report.set_some("attach_p50_ms", percentile(&took, 0.5, MS));
        report.set_some("attach_p99_ms", percentile(&took, 0.99, MS));
        report.set_some("attach_max_ms", percentile(&took, 1.0, MS));
        report.set("tries_mean", f64::from(tries.iter().sum::<u32>()) / tries.len().max(1) as f64);
        self.report_depth(report, capacity);
    }

    /// Notes how deep the tree is beside how deep it had to be.
    pub fn report_depth(&self, report: &mut Report, capacity: u16) {
        let depth = |mesh: &banyan_node::mesh::Mesh| mesh.trees().filter_map(|(_, tree)| tree.depth()).max();
        let deepest = self.running().filter_map(|(_, mesh)| depth(mesh)).max().unwrap_or(0);
        let members = self.running().filter(|(_, mesh)| mesh.trees().next().is_some()).count();
        report.set("depth_max", f64::from(deepest));
        report.set("depth_optimum", f64::from(optimum_depth(members, capacity)));
    }

    /// Notes the repairs since then.
    pub fn report_repairs(&self, report: &mut Report, since: Nanos) {
        let took: Vec<Nanos> = self.measure.repairs_since(since).map(|repair| repair.took).collect();
        let first = self.measure.repairs_since(since).filter(|repair| repair.tries <= 1).count();
        report.set("repairs", took.len() as f64);
        report.set_some("repair_p50_ms", percentile(&took, 0.5, MS));
        report.set_some("repair_p99_ms", percentile(&took, 0.99, MS));
        report.set_some("repair_max_ms", percentile(&took, 1.0, MS));
        report.set("repair_first_try", first as f64 / took.len().max(1) as f64);
    }

    /// What all hosts together have sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.hosts.iter().fold(Traffic::default(), |sum, host| Traffic {
            messages: sum.messages + host.traffic.messages,
            bytes: sum.bytes + host.traffic.bytes,
            gossip_bytes: sum.gossip_bytes + host.traffic.gossip_bytes,
            tree_bytes: sum.tree_bytes + host.traffic.tree_bytes,
            dials: sum.dials + host.traffic.dials,
            data_bytes: sum.data_bytes + host.traffic.data_bytes,
        })
    }

    /// Notes the control traffic of a node and second since `before`, taken at `since`.
    pub fn report_traffic(&self, report: &mut Report, name: &str, before: Traffic, since: Nanos) {
        let now = self.traffic();
        let node_seconds = self.running().count().max(1) as f64 * (self.now - since) as f64 / SECOND as f64;
        report.set(&format!("{name}_messages_per_s"), (now.messages - before.messages) as f64 / node_seconds);
        let kbit = |now: u64, before: u64| (now - before) as f64 * 8.0 / 1000.0 / node_seconds;
        report.set(&format!("{name}_kbit_per_s"), kbit(now.bytes, before.bytes));
        report.set(&format!("{name}_gossip_kbit_per_s"), kbit(now.gossip_bytes, before.gossip_bytes));
        report.set(&format!("{name}_dials_per_s"), (now.dials - before.dials) as f64 / node_seconds);
    }
}

/// Levels that a tree of so many needs if every node takes as many as may join: all slots but those
/// that are kept for repairs.
#[must_use]
pub fn optimum_depth(members: usize, capacity: u16) -> u8 {
    let capacity = capacity - 2.min(capacity / 4);
    let (mut placed, mut level, mut depth) = (1_usize, 1_usize, 0_u8);
    while placed < members && capacity > 0 && depth < u8::MAX {
        level = level.saturating_mul(usize::from(capacity));
        placed = placed.saturating_add(level);
        depth += 1;
    }
    depth
}
