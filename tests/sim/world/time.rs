//! Time and the queue: what happens next, when a process comes to it, and what its machine wants then.

use super::World;
use crate::{
    conn::{ConnId, Packet},
    host::Arrival,
    queue::{MS, Nanos},
};

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

impl World {
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

    pub(super) fn arrive(&mut self, host: u32, life: u32, arrival: Arrival) {
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
}
