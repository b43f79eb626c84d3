//! The world: hosts, the network between them, and the one queue of what happens.
//!
//! Virtual time, one thread, nothing but the seed decides. The machines are those of the program;
//! what the program does around them with sockets and tasks is done here with queues, by the same
//! rules: one link a pair, ordered streams, bounded queues.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{LocalPeer, MeshName, PeerId, TrackName};
use banyan_node::{
    mesh::{self, Config, Control, Mesh, Session},
    relay::Mode,
};

use crate::{
    check::Checks,
    conn::{ConnId, Conns, Packet, Use},
    host::{Arrival, Host, Process},
    keys::{SimKeys, index_of, peer_id},
    measure::Measure,
    net::{Network, Weather},
    queue::{MS, Nanos, Queue},
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

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    Arrive {
        host: u32,
        life: u32,
        arrival: Arrival,
    },
    /// A packet gets to one end of a connection.
    Deliver {
        conn: ConnId,
        side: usize,
        packet: Packet,
        size: usize,
    },
    /// A host that was stalled goes on.
    Wake(u32),
}

/// A dial that nobody answers is given up.
const DIAL_TIMEOUT: Nanos = 5_000 * MS;
/// Packets that wait for a partition to heal; a sender that has more gives the link up.
const HELD_MAX: usize = 1024;

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
        host_of(self, peer)
    }

    /// Whether anything between two hosts waits for the network to heal, or for TCP to try again.
    pub(crate) fn is_held(&self, a: u32, b: u32) -> bool {
        self.conns.ids().into_iter().filter_map(|id| self.conns.get(id)).any(|conn| {
            (conn.ends == [a, b] || conn.ends == [b, a])
                && conn.pipes.iter().any(|pipe| !pipe.held.is_empty() || pipe.last > self.now + 100 * MS)
        })
    }

    /// Events handled.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    // --- Hosts -------------------------------------------------------------------------------

    /// Adds a host that does not run yet. Returns its number.
    pub fn add_host(&mut self) -> u32 {
        let index = u32::try_from(self.hosts.len()).expect("fewer than 2^32 hosts");
        let wall_ms = self.seeds.u64(..4_000_000_000_000);
        self.hosts.push(Host::new(peer_id(self.options.seed, index), wall_ms));
        index
    }

    /// Starts the program on a host. Its bootstrap addresses are those of these hosts.
    pub fn start(&mut self, host: u32, bootstraps: &[u32], configure: impl FnOnce(&mut Config)) {
        let (now, rng, instance) = (self.instant(), self.seeds.fork(), self.seeds.u64(1..));
        let place = &mut self.hosts[host as usize];
        assert!(place.process.is_none(), "host {host} runs already");
        // As the program does: greater than what is stored, and than the clock says.
        let incarnation = place.disk.read().map_or(0, |stored| stored + 1).max(place.wall_ms);
        place.disk.write(incarnation);
        place.disk.sync();
        let mut config = Config::new(MeshName::new("sim").expect("valid"));
        config.bootstraps = bootstraps.len();
        configure(&mut config);
        let local = LocalPeer { peer: place.peer, incarnation };
        let mut mesh = Mesh::new(local, config, Arc::new(SimKeys(place.peer)), rng, now);
        mesh.handle_input(now, mesh::Input::Addresses(vec![address_of(host)]));
        place.life += 1;
        place.powered = true;
        place.doomed = None;
        place.stalled_until = 0;
        place.process = Some(Process {
            mesh,
            instance,
            bootstraps: bootstraps.to_vec(),
            links: BTreeMap::new(),
            dials: BTreeMap::new(),
            tracks: BTreeMap::new(),
            ticking: false,
            liar: None,
            timer: Nanos::MAX,
        });
        self.note(1, u64::from(host), incarnation);
        self.say(|| format!("{host} starts with incarnation {incarnation}"));
        self.checks.born(host, incarnation);
        self.after(host);
    }

    /// The process dies: its connections are closed by the system.
    pub fn crash(&mut self, host: u32) {
        self.stop(host, true);
    }

    /// The power goes: nobody is told.
    pub fn power_off(&mut self, host: u32) {
        self.stop(host, false);
        let place = &mut self.hosts[host as usize];
        place.powered = false;
        place.disk.lose_power();
    }

    /// The process crashes in the midst of one of the next steps.
    pub fn doom(&mut self, host: u32) {
        self.hosts[host as usize].doomed = Some(self.rng.u32(1..40));
    }

    fn stop(&mut self, host: u32, tell: bool) {
        self.note(2, u64::from(host), u64::from(tell));
        self.say(|| format!("{host} {}", if tell { "crashes" } else { "loses power" }));
        let place = &mut self.hosts[host as usize];
        if place.process.take().is_none() {
            return;
        }
        place.backlog.clear();
        place.stalled_until = 0;
        place.doomed = None;
        // Its clock may be set anew before it starts again, backwards too.
        place.wall_ms = if self.seeds.u8(..4) == 0 { self.seeds.u64(..4_000_000_000_000) } else { place.wall_ms + 1 };
        for id in self.conns.ids() {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            for side in 0..2 {
                if conn.ends[side] == host && conn.open[side] {
                    conn.open[side] = false;
                    if tell {
                        self.transmit(id, 1 - side, Packet::Fin, 0);
                    }
                    break;
                }
            }
            self.bury_conn(id);
        }
        self.checks.died(host);
        self.measure.died(host);
    }

    /// The process stands still for a while, as if it got no time.
    pub fn stall(&mut self, host: u32, time: Nanos) {
        self.note(3, u64::from(host), time);
        self.say(|| format!("{host} stalls for {} ms", time / MS));
        let until = self.now + time;
        let place = &mut self.hosts[host as usize];
        if place.process.is_some() {
            place.stalled_until = place.stalled_until.max(until);
        }
    }

    /// The process needs this long for each thing that it does.
    pub fn slow_down(&mut self, host: u32, cost: Nanos) {
        self.hosts[host as usize].cost = cost;
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
        let epoch = self.with_mesh_quiet(host, |mesh, now| mesh.publish(now, track));
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

    // --- Time ----------------------------------------------------------------------------------

    /// Lets time pass.
    pub fn run(&mut self, time: Nanos) {
        let end = self.now + time;
        while let Some((at, event)) = self.queue.pop_until(end) {
            self.now = self.now.max(at);
            self.step(event);
        }
        self.now = end;
    }

    /// Lets time pass until something holds, looking every millisecond at most. Says whether it holds.
    pub fn run_until(&mut self, limit: Nanos, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if holds(self) {
                return true;
            }
            let pause = (limit / 1000).clamp(MS, 50 * MS);
            self.run(pause.min(end - self.now));
        }
        holds(self)
    }

    fn step(&mut self, event: Event) {
        self.steps += 1;
        match event {
            Event::Arrive { host, life, arrival } => {
                if self.hosts[host as usize].life == life {
                    self.arrive(host, life, arrival);
                }
            }
            Event::Deliver { conn, side, packet, size } => self.deliver(conn, side, packet, size),
            Event::Wake(host) => self.wake(host),
        }
    }

    fn arrive(&mut self, host: u32, life: u32, arrival: Arrival) {
        let place = &mut self.hosts[host as usize];
        if place.process.is_none() {
            return;
        }
        if place.stalled_until > self.now || !place.backlog.is_empty() {
            if place.backlog.is_empty() {
                self.queue.push(place.stalled_until, Event::Wake(host));
            }
            place.backlog.push_back((life, arrival));
            return;
        }
        self.work(host, arrival);
    }

    fn wake(&mut self, host: u32) {
        loop {
            let place = &mut self.hosts[host as usize];
            if place.process.is_none() || place.backlog.is_empty() {
                return;
            }
            if place.stalled_until > self.now {
                let at = place.stalled_until;
                return self.queue.push(at, Event::Wake(host));
            }
            let Some((life, arrival)) = place.backlog.pop_front() else {
                return;
            };
            if life == place.life {
                self.work(host, arrival);
            }
        }
    }

    fn work(&mut self, host: u32, arrival: Arrival) {
        let place = &mut self.hosts[host as usize];
        if place.cost > 0 {
            place.stalled_until = self.now + place.cost;
        }
        self.handle(host, arrival);
        self.after(host);
    }

    /// Carries out what a machine wants, sets its timer, checks.
    pub(crate) fn after(&mut self, host: u32) {
        self.carry_out(host);
        let (base, now) = (self.base, self.now);
        let place = &mut self.hosts[host as usize];
        let life = place.life;
        if let Some(process) = place.process.as_mut()
            && let Some(at) = process.mesh.poll_timeout()
        {
            let at = u64::try_from(at.saturating_duration_since(base).as_nanos()).expect("within centuries").max(now);
            if at < process.timer {
                process.timer = at;
                self.queue.push(at, Event::Arrive { host, life, arrival: Arrival::Timer });
            }
        }
        if self.options.strict {
            self.check_step(host);
        }
    }

    pub(crate) fn on_timer(&mut self, host: u32) {
        let (now, virtual_now) = (self.instant(), self.now);
        let Some(process) = self.hosts[host as usize].process.as_mut() else {
            return;
        };
        if process.timer > virtual_now {
            // It was set anew meanwhile.
            return;
        }
        process.timer = Nanos::MAX;
        if process.mesh.poll_timeout().is_some_and(|at| at <= now) {
            process.mesh.handle_timeout(now);
        }
    }

    // --- Packets ---------------------------------------------------------------------------------

    /// Sends a packet to side `to` of a connection. Says whether there was room for it.
    pub(crate) fn transmit(&mut self, id: ConnId, to: usize, packet: Packet, size: usize) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(id) else {
            return true;
        };
        let (from_host, to_host) = (conn.ends[1 - to], conn.ends[to]);
        let pipe = &mut conn.pipes[to];
        if !pipe.held.is_empty() || !self.net.reaches(from_host, to_host) {
            if pipe.held.is_empty() {
                pipe.held_since = now;
            }
            let room = pipe.held.len() < HELD_MAX || matches!(packet, Packet::Fin);
            if room {
                pipe.in_flight += size;
                pipe.held.push_back((packet, size));
            }
            return room;
        }
        // Headers of Ethernet, IP and TCP.
        let wire = (size + 66) as u64 * self.net.weather.ns_per_byte;
        let host = &mut self.hosts[from_host as usize];
        host.egress_free = host.egress_free.max(now) + wire;
        let at = (host.egress_free + self.net.transit(from_host, to_host)).max(pipe.last);
        pipe.last = at;
        pipe.in_flight += size;
        self.queue.push(at, Event::Deliver { conn: id, side: to, packet, size });
        true
    }

    fn deliver(&mut self, id: ConnId, side: usize, packet: Packet, size: usize) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.pipes[side].in_flight = conn.pipes[side].in_flight.saturating_sub(size);
        let (host, other, life) = (conn.ends[side], conn.ends[1 - side], conn.lives[side]);
        let (open, other_open, other_life) = (conn.open[side], conn.open[1 - side], conn.lives[1 - side]);
        let data = conn.what != Use::Link;
        self.note(5, u64::from(host) << 32 | u64::from(other), size as u64);
        if data && other_open && matches!(packet, Packet::Frames(_)) {
            let at = self.now + self.net.base_latency(host, other);
            let arrival = Arrival::Writable(id);
            self.queue.push(at, Event::Arrive { host: other, life: other_life, arrival });
        }
        let fin = matches!(packet, Packet::Fin);
        if open {
            if fin && let Some(conn) = self.conns.get_mut(id) {
                conn.open[side] = false;
            }
            self.arrive(host, life, Arrival::Packet { conn: id, other, link: !data, packet });
        } else if !fin && other_open && self.hosts[host as usize].powered {
            // Nobody listens here any more: the system says so.
            self.transmit(id, 1 - side, Packet::Fin, 0);
        }
        self.bury_conn(id);
    }

    /// Forgets a connection that is closed at both ends.
    pub(crate) fn bury_conn(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.open == [false; 2]) {
            self.conns.remove(id);
        }
    }

    /// Closes this host's end; the other end hears of it after what was sent before.
    pub(crate) fn close_end(&mut self, id: ConnId, host: u32) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let side = conn.side(host);
        if std::mem::replace(&mut conn.open[side], false) {
            self.transmit(id, 1 - side, Packet::Fin, 0);
        }
        self.bury_conn(id);
    }

    /// The network is whole again: what was held goes on, as late as TCP happens to try again.
    pub fn heal(&mut self) {
        self.net.heal();
        self.flush_held();
    }

    /// Sends what was held wherever the way is free again.
    pub fn flush_held(&mut self) {
        for id in self.conns.ids() {
            for side in 0..2 {
                let Some(conn) = self.conns.get_mut(id) else { continue };
                let (from, to) = (conn.ends[1 - side], conn.ends[side]);
                if conn.pipes[side].held.is_empty() || !self.net.reaches(from, to) {
                    continue;
                }
                let pipe = &mut conn.pipes[side];
                let outage = self.now - pipe.held_since;
                let retry = self.now + self.seeds.u64(..=outage.min(4_000 * MS) / 2);
                pipe.last = pipe.last.max(retry);
                let held = std::mem::take(&mut pipe.held);
                for (packet, size) in held {
                    if let Some(conn) = self.conns.get_mut(id) {
                        let pipe = &mut conn.pipes[side];
                        pipe.in_flight = pipe.in_flight.saturating_sub(size);
                    }
                    self.transmit(id, side, packet, size);
                }
            }
        }
    }

    // --- Dials -----------------------------------------------------------------------------------

    pub(crate) fn dial(&mut self, host: u32, to: u32, purpose: crate::host::DialFor) {
        let dial = self.next_dial;
        self.next_dial += 1;
        let (now, place) = (self.now, &mut self.hosts[host as usize]);
        place.traffic.dials += 1;
        let life = place.life;
        let Some(process) = place.process.as_mut() else {
            return;
        };
        process.dials.insert(dial, purpose);
        let session = Session { instance: process.instance, incarnation: process.mesh.incarnation(), dialer: false };
        let failed = Arrival::DialFailed { dial };
        self.queue.push(now + DIAL_TIMEOUT, Event::Arrive { host, life, arrival: failed });
        if to == host || !(self.net.reaches(host, to) && self.net.reaches(to, host)) {
            if to == host {
                let failed = Arrival::DialFailed { dial };
                self.queue.push(now + MS, Event::Arrive { host, life, arrival: failed });
            }
            return;
        }
        let one_way = self.net.transit(host, to);
        let target = &self.hosts[to as usize];
        if target.process.is_some() {
            // Three halves of a round trip: TCP, then what the handshake of TLS and the greeting need.
            let arrival = Arrival::Dialled { from: host, from_life: life, dial, session };
            self.queue.push(now + 3 * one_way, Event::Arrive { host: to, life: target.life, arrival });
        } else if target.powered {
            let failed = Arrival::DialFailed { dial };
            self.queue.push(now + 2 * one_way, Event::Arrive { host, life, arrival: failed });
        }
    }

    pub(crate) fn on_dialled(&mut self, host: u32, from: u32, from_life: u32, dial: u64, session: Session) {
        let gone = self.hosts[from as usize].life != from_life || self.hosts[from as usize].process.is_none();
        if gone || !(self.net.reaches(host, from) && self.net.reaches(from, host)) {
            return;
        }
        let life = self.hosts[host as usize].life;
        let conn = self.conns.add([from, host], [from_life, life], Use::Link);
        let done = self.now + self.net.transit(host, from);
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.pipes[0].last = done;
            conn.pipes[1].last = done;
        }
        let Some(process) = self.hosts[host as usize].process.as_ref() else {
            return;
        };
        let own = Session { instance: process.instance, incarnation: process.mesh.incarnation(), dialer: true };
        let arrival = Arrival::DialDone { to: host, dial, conn, session: own };
        self.queue.push(done, Event::Arrive { host: from, life: from_life, arrival });
        self.on_greeted(host, from, conn, session, None);
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

    /// Encodes a message if every message is to be; returns it with its size on the wire.
    pub(crate) fn encode(&mut self, message: Control) -> (Control, usize) {
        if self.options.wire {
            let bytes = message.encode();
            self.trace.note_bytes(&bytes);
            let message = Control::decode(&bytes).expect("what is encoded can be decoded");
            return (message, bytes.len() + 4);
        }
        let size = encoded_len(&message) + 4;
        (message, size)
    }

    /// The id of a host.
    #[must_use]
    pub fn peer(&self, host: u32) -> PeerId {
        self.hosts[host as usize].peer
    }
}

/// The number of the host of an id, if there is one.
pub(crate) fn host_of(world: &World, peer: &PeerId) -> Option<u32> {
    let index = index_of(peer);
    world.hosts.get(index as usize).filter(|host| host.peer == *peer).map(|_| index)
}

/// The address that a host announces.
pub(crate) fn address_of(host: u32) -> String {
    let [_, a, b, c] = host.to_be_bytes();
    format!("/ip4/10.{a}.{b}.{c}/tcp/4001")
}

/// The length of a message's CBOR, without making it.
fn encoded_len(message: &Control) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    ciborium::into_writer(message, &mut count).expect("counting does not fail");
    count.0
}
