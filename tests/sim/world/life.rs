//! Hosts and their life: they start, crash, lose power, stand still.

use std::{collections::BTreeMap, sync::Arc};

use banyan_gossip::{LocalPeer, MeshName};
use banyan_node::mesh::{self, Config, Mesh};

use super::World;
use crate::{
    host::{Host, Process},
    keys::{SimKeys, peer_id},
    queue::{MS, Nanos},
};

impl World {
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

    /// The process crashes in the midst of one of the next steps; if it writes to its disk before, the
    /// power goes, and what it wrote is not synced.
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
        for id in self.conns.of(host).collect::<Vec<_>>() {
            self.shut_end(id, host, tell);
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
}

/// The address that a host announces.
fn address_of(host: u32) -> String {
    let [_, a, b, c] = host.to_be_bytes();
    format!("/ip4/10.{a}.{b}.{c}/tcp/4001")
}
