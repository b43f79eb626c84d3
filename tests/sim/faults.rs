//! Random faults, aggressive enough that a small mesh is seldom whole.

use banyan_gossip::TrackName;
use banyan_node::mesh::Config;

use crate::{
    queue::{MS, Nanos},
    world::World,
};

/// What may go wrong, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Mean time between two faults.
    pub every: Nanos,
    /// The host that publishes is spared, so that there is something to lose.
    pub spare_origin: bool,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    CrashInAStep,
    PowerOff,
    Stall,
    Slow,
    Isolate,
    CutOneWay,
    Split,
    Heal,
    Loss,
    Capacity,
    Unsubscribe,
    Leave,
    StartAgain,
}

const ALL: &[Fault] = &[
    Fault::Crash,
    Fault::Crash,
    Fault::CrashInAStep,
    Fault::PowerOff,
    Fault::Stall,
    Fault::Stall,
    Fault::Slow,
    Fault::Isolate,
    Fault::CutOneWay,
    Fault::CutOneWay,
    Fault::Split,
    Fault::Heal,
    Fault::Heal,
    Fault::Loss,
    Fault::Capacity,
    Fault::Unsubscribe,
    Fault::Leave,
    Fault::StartAgain,
    Fault::StartAgain,
    Fault::StartAgain,
];

impl World {
    /// Lets faults happen for a while. Publishes an object now and then.
    pub fn suffer(&mut self, time: Nanos, faults: Faults, track: &TrackName, configure: &dyn Fn(&mut Config)) {
        let end = self.now() + time;
        let mut next_fault = self.now() + self.rng.u64(..2 * faults.every);
        while self.now() < end {
            let next_object = self.now() + 20 * MS;
            let until = next_fault.min(next_object).min(end);
            self.run(until - self.now());
            if self.now() >= next_fault {
                let kind = ALL[self.rng.usize(..ALL.len())];
                self.strike(kind, faults, track, configure);
                next_fault = self.now() + self.rng.u64(..2 * faults.every);
            } else {
                self.publish_object(0, track, 100);
            }
        }
    }

    fn strike(&mut self, kind: Fault, faults: Faults, track: &TrackName, configure: &dyn Fn(&mut Config)) {
        let count = self.hosts.len() as u32;
        let victim = self.rng.u32(u32::from(faults.spare_origin && count > 1)..count);
        let other = self.rng.u32(..count);
        self.note(16 + kind as u64, u64::from(victim), u64::from(other));
        self.say(|| format!("fault {kind:?} of {victim}, {other}"));
        // Nobody gets a process that stands still to do anything.
        if matches!(kind, Fault::Capacity | Fault::Unsubscribe | Fault::Leave) && !self.is_awake(victim) {
            return;
        }
        match kind {
            Fault::Crash => self.crash(victim),
            Fault::CrashInAStep => self.doom(victim),
            Fault::PowerOff => self.power_off(victim),
            Fault::Stall => {
                let time = self.rng.u64(50 * MS..3_000 * MS);
                self.stall(victim, time);
            }
            Fault::Slow => {
                let cost = if self.rng.bool() { self.rng.u64(MS / 10..2 * MS) } else { 0 };
                self.slow_down(victim, cost);
            }
            Fault::Isolate => self.net.isolate(victim, true),
            Fault::CutOneWay if victim != other => self.net.cut(victim, other),
            Fault::CutOneWay => {}
            Fault::Split => {
                let sides = (0..count).map(|_| self.rng.u8(..2)).collect();
                self.net.split(sides);
            }
            Fault::Heal => self.heal(),
            Fault::Loss => self.net.weather.loss = if self.rng.bool() { self.rng.u32(..200) } else { 0 },
            Fault::Capacity => {
                let capacity = self.rng.u16(..5);
                self.with_mesh(victim, |mesh, now| mesh.set_capacity(now, capacity));
            }
            Fault::Unsubscribe if victim != 0 => {
                if self.mesh(victim).is_some() && self.is_subscribed(victim, track) {
                    self.unsubscribe(victim, track);
                    if self.rng.bool() {
                        self.subscribe_again(victim, track);
                    }
                }
            }
            Fault::Unsubscribe => {}
            Fault::Leave => self.leave(victim),
            Fault::StartAgain => {
                for host in 0..count {
                    if self.mesh(host).is_none() && self.rng.bool() {
                        self.revive(host, track, configure);
                    }
                }
            }
        }
    }

    /// Starts a host that does not run; it takes part in the track again.
    pub fn revive(&mut self, host: u32, track: &TrackName, configure: &dyn Fn(&mut Config)) {
        let count = self.hosts.len() as u32;
        // The well-known address, and any other; both may be down themselves at the moment.
        let other = (host + self.rng.u32(1..count)) % count;
        let bootstraps = if host == 0 { vec![other] } else { vec![0, other] };
        self.start(host, &bootstraps, configure);
        if host == 0 {
            self.publish(0, track, banyan_node::relay::Mode::Live);
        } else {
            self.subscribe(host, track);
        }
    }

    fn subscribe_again(&mut self, host: u32, track: &TrackName) {
        if self.mesh(host).is_some() {
            self.subscribe(host, track);
        }
    }

    /// Ends all faults: the network is whole, everyone runs and is as fast as ever.
    pub fn end_faults(&mut self, track: &TrackName, configure: &dyn Fn(&mut Config)) {
        self.net.weather.loss = 0;
        self.heal();
        for host in 0..self.hosts.len() as u32 {
            self.slow_down(host, 0);
            self.hosts[host as usize].doomed = None;
            if self.mesh(host).is_none() {
                self.revive(host, track, configure);
            } else if host != 0 && !self.is_subscribed(host, track) {
                self.subscribe_again(host, track);
            }
        }
    }
}
