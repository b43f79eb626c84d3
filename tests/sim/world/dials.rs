//! Dials: how a link comes to be.

use banyan_node::mesh::Session;

use super::{Event, World};
use crate::{
    conn::Use,
    host::{Arrival, DialFor},
    queue::{MS, Nanos},
};

/// A dial that nobody answers is given up.
const DIAL_TIMEOUT: Nanos = 5_000 * MS;

impl World {
    pub(crate) fn dial(&mut self, host: u32, to: u32, purpose: DialFor) {
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
}
