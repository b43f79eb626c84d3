//! The claims, each with a world that puts it to the test.

mod capacity_changes;
mod capacity_zero;
mod chain_of_four;
mod churn;
mod cold_crowd;
mod flapping_link;
mod flash_crowd;
mod frozen_parent;
mod full_mesh;
mod kill_interior;
mod liar;
mod origin_restart;
mod quiet;
mod random;
mod rolling_restart;
mod setup;
mod split;
mod starved;
mod two_orphans;
mod volunteers;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{measure::Report, world::World};

/// What a scenario is run with.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Hosts.
    pub nodes: usize,
    /// Decides everything.
    pub seed: u64,
    /// Every message is encoded and decoded.
    pub wire: bool,
    /// Rows that a table holds at most; the program's default if not given.
    pub table_rows: Option<usize>,
    /// Share of the interior that is killed, in percent, where a scenario kills.
    pub kill: u32,
    /// Check after every step also in large worlds.
    pub strict: bool,
    /// Say what happens.
    pub log: bool,
}

/// A claim and the world that puts it to the test.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What must hold.
    pub claim: &'static str,
    /// Hosts that the tests run it with.
    pub nodes: usize,
    run: fn(&mut World, &Params, &mut Report),
}

/// All of them.
pub const ALL: &[Scenario] = &[
    flash_crowd::SCENARIO,
    cold_crowd::SCENARIO,
    kill_interior::SCENARIO,
    rolling_restart::SCENARIO,
    split::SCENARIO,
    flapping_link::SCENARIO,
    liar::SCENARIO,
    frozen_parent::SCENARIO,
    origin_restart::SCENARIO,
    capacity_zero::SCENARIO,
    capacity_changes::SCENARIO,
    full_mesh::SCENARIO,
    volunteers::SCENARIO,
    churn::SCENARIO,
    two_orphans::SCENARIO,
    chain_of_four::SCENARIO,
    starved::SCENARIO,
    quiet::SCENARIO,
    random::SCENARIO,
];

/// Worlds up to this size are checked after every step.
const STRICT_MAX: usize = 100;

/// The scenario of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Params {
    /// What the tests use.
    #[must_use]
    pub const fn new(nodes: usize, seed: u64) -> Self {
        Self { nodes, seed, wire: false, table_rows: None, kill: 30, strict: false, log: false }
    }

    /// The command that repeats this run.
    fn replay(&self, name: &str) -> String {
        let Self { nodes, seed, .. } = self;
        let mut line = format!("cargo run --release -p banyan-tests --bin sim -- {name} --nodes {nodes} --seed {seed}");
        if self.kill != 30 {
            line += &format!(" --kill {}", self.kill);
        }
        if let Some(rows) = self.table_rows {
            line += &format!(" --table-rows {rows}");
        }
        if self.wire {
            line += " --wire";
        }
        line
    }
}

impl Scenario {
    /// Runs it.
    ///
    /// # Errors
    /// One line that says what is violated and how to see it again.
    pub fn run(&self, params: &Params) -> Result<Report, String> {
        let replay = params.replay(self.name);
        let run = || {
            let mut world = World::new(crate::world::Options {
                wire: params.wire,
                log: params.log,
                strict: params.strict || params.nodes <= STRICT_MAX,
                ..crate::world::Options::new(params.seed)
            });
            world.set_replay(replay.clone());
            let mut report =
                Report { scenario: self.name.to_owned(), nodes: params.nodes, seed: params.seed, ..Report::default() };
            (self.run)(&mut world, params, &mut report);
            report.trace = format!("{:016x}", world.trace());
            report.virtual_s = world.now() as f64 / 1e9;
            report.set("events", world.steps() as f64);
            report
        };
        catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let what = panic.downcast_ref::<String>().cloned();
            let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
            let what = what.unwrap_or_else(|| "a panic without words".to_owned()).replace('\n', " ");
            if what.contains("replay: ") { what } else { format!("{what}; replay: {replay}") }
        })
    }
}

/// Demands that a value that was measured is at most this.
fn demand(world: &World, report: &Report, name: &str, most: f64) {
    match report.get(name) {
        Some(value) if value <= most => {}
        value => world.violated(&format!("{name} is {value:?}, at most {most} was claimed")),
    }
}
