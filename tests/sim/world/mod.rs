//! The world: hosts, the network between them, and the one queue of what happens.
//!
//! Virtual time, one thread, nothing but the seed decides. The machines are those of the program;
//! what the program does around them with sockets and tasks is done here with queues, by the same
//! rules: one link a pair, ordered streams, bounded queues.

mod dials;
mod life;
mod time;
mod transit;

use std::time::{Duration, Instant};

use banyan_gossip::{PeerId, TrackName};
use banyan_node::{
    mesh::Mesh,
    relay::{Integrity, Mode, Terms},
};

pub(crate) use time::Event;

use crate::{
    check::Checks,
    conn::Conns,
    host::Host,
    keys::index_of,
    measure::Measure,
    net::{Network, Weather},
    queue::{Nanos, Queue},
    trace::Trace,
};

/// What a run is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Every message is encoded and decoded.
    pub wire: bool,
    /// Check everything after every step; otherwise only when asked.
    pub strict: bool,
    /// Say what happens, on standard error.
    pub log: bool,
    /// The network.
    pub weather: Weather,
}

impl Options {
    /// A LAN.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, wire: false, strict: true, log: false, weather: Weather::default() }
    }
}

/// Everything.
pub struct World {
    pub(crate) options: Options,
    base: Instant,
    pub(crate) now: Nanos,
    pub(crate) queue: Queue<Event>,
    /// The hosts, in the order in which they were added.
    pub hosts: Vec<Host>,
    pub(crate) conns: Conns,
    /// The network.
    pub net: Network,
    /// For whoever writes a scenario.
    pub rng: fastrand::Rng,
    pub(crate) seeds: fastrand::Rng,
    /// What was seen.
    pub measure: Measure,
    pub(crate) checks: Checks,
    pub(crate) trace: Trace,
    next_dial: u64,
    pub(crate) steps: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("hosts", &self.hosts.len()).finish_non_exhaustive()
    }
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let net = Network::new(options.weather, rng.fork());
        Self {
            base: Instant::now() + Duration::from_secs(3600),
            now: 0,
            queue: Queue::default(),
            hosts: Vec::new(),
            conns: Conns::default(),
            net,
            seeds: rng.fork(),
            rng,
            measure: Measure::default(),
            checks: Checks::default(),
            trace: Trace::default(),
            next_dial: 0,
            steps: 0,
            options,
        }
    }

    // --- Looking ---------------------------------------------------------------------------

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> Nanos {
        self.now
    }

    /// Virtual time as the machines know it.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.base + Duration::from_nanos(self.now)
    }

    /// The machine of a host, if it runs.
    #[must_use]
    pub fn mesh(&self, host: u32) -> Option<&Mesh> {
        self.hosts[host as usize].mesh()
    }

    /// The hosts that run.
    pub fn running(&self) -> impl Iterator<Item = (u32, &Mesh)> {
        (0..).zip(&self.hosts).filter_map(|(index, host)| Some((index, host.mesh()?)))
    }

    /// Whether a host runs and is not stalled.
    #[must_use]
    pub fn is_awake(&self, host: u32) -> bool {
        let host = &self.hosts[host as usize];
        host.process.is_some() && host.stalled_until <= self.now
    }

    /// The number of everything that happened.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// The host of an id, if there is one.
    #[must_use]
    pub fn host_of(&self, peer: &PeerId) -> Option<u32> {
        let index = index_of(peer);
        self.hosts.get(index as usize).filter(|host| host.peer == *peer).map(|_| index)
    }

    /// Events handled.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    // --- Requests of users ---------------------------------------------------------------------

    /// Lets a process do something now.
    pub fn with_mesh<T>(&mut self, host: u32, act: impl FnOnce(&mut Mesh, Instant) -> T) -> Option<T> {
        let now = self.instant();
        let result = self.hosts[host as usize].process.as_mut().map(|process| act(&mut process.mesh, now));
        self.after(host);
        result
    }

    /// Publishes a track.
    pub fn publish(&mut self, host: u32, track: &TrackName, mode: Mode) -> bool {
        let epoch = self
            .with_mesh_quiet(host, |mesh, now| mesh.publish(now, track, Terms { mode, integrity: Integrity::None }));
        let Some(Ok(epoch)) = epoch else {
            self.after(host);
            return false;
        };
        self.begin_publication(host, track, epoch, mode);
        self.after(host);
        true
    }

    /// Subscribes to a track.
    pub fn subscribe(&mut self, host: u32, track: &TrackName) {
        self.open_subscription(host, track);
        self.measure.wants(host, self.now);
        self.with_mesh(host, |mesh, now| drop(mesh.subscribe(now, track)));
    }

    /// Leaves the mesh; the process ends when it has left.
    pub fn leave(&mut self, host: u32) {
        self.note(4, u64::from(host), 0);
        self.checks.leaving(host);
        self.measure.died(host);
        self.with_mesh(host, |mesh, now| mesh.leave(now));
    }

    fn with_mesh_quiet<T>(&mut self, host: u32, act: impl FnOnce(&mut Mesh, Instant) -> T) -> Option<T> {
        let now = self.instant();
        self.hosts[host as usize].process.as_mut().map(|process| act(&mut process.mesh, now))
    }

    // --- Notes -----------------------------------------------------------------------------------

    /// Says something if this run is to say what happens.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.options.log {
            eprintln!("{:9.3} {}", self.now as f64 / 1e6, what());
        }
    }

    pub(crate) fn note(&mut self, what: u64, a: u64, b: u64) {
        self.trace.note(self.now ^ what << 56);
        self.trace.note(a);
        self.trace.note(b);
    }

    /// The id of a host.
    #[must_use]
    pub fn peer(&self, host: u32) -> PeerId {
        self.hosts[host as usize].peer
    }
}
