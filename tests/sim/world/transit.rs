//! Packets under way: sent, held while the network is split, delivered; and the end of connections.

use super::{Event, World};
use crate::{
    conn::{Conn, ConnId, Packet, Use},
    host::Arrival,
    queue::MS,
};

/// Packets that wait for a partition to heal; a sender that has more gives the link up.
const HELD_MAX: usize = 1024;

impl World {
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

    pub(super) fn deliver(&mut self, id: ConnId, side: usize, packet: Packet, size: usize) {
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
        self.shut_end(id, host, true);
    }

    /// Closes this host's end; the other end hears of it only if it is told.
    pub(super) fn shut_end(&mut self, id: ConnId, host: u32, tell: bool) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let side = conn.side(host);
        if std::mem::replace(&mut conn.open[side], false) && tell {
            self.transmit(id, 1 - side, Packet::Fin, 0);
        }
        self.bury_conn(id);
    }

    /// Whether anything between two hosts waits for the network to heal, or for TCP to try again.
    pub(crate) fn is_held(&self, a: u32, b: u32) -> bool {
        self.conns.of(a).filter_map(|id| self.conns.get(id)).any(|conn| {
            conn.ends[1 - conn.side(a)] == b
                && conn.pipes.iter().any(|pipe| !pipe.held.is_empty() || pipe.last > self.now + 100 * MS)
        })
    }

    /// The network is whole again: what was held goes on, as late as TCP happens to try again.
    pub fn heal(&mut self) {
        self.net.heal();
        self.flush_held();
    }

    /// Sends what was held wherever the way is free again.
    pub fn flush_held(&mut self) {
        let holds = |(id, conn): (ConnId, &Conn)| conn.pipes.iter().any(|pipe| !pipe.held.is_empty()).then_some(id);
        for id in self.conns.iter().filter_map(holds).collect::<Vec<_>>() {
            for side in 0..2 {
                self.flush_pipe(id, side);
            }
        }
    }

    fn flush_pipe(&mut self, id: ConnId, side: usize) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let (from, to) = (conn.ends[1 - side], conn.ends[side]);
        let pipe = &mut conn.pipes[side];
        if pipe.held.is_empty() || !self.net.reaches(from, to) {
            return;
        }
        let outage = self.now - pipe.held_since;
        let retry = self.now + self.seeds.u64(..=outage.min(4_000 * MS) / 2);
        pipe.last = pipe.last.max(retry);
        let held = std::mem::take(&mut pipe.held);
        pipe.in_flight -= held.iter().map(|(_, size)| size).sum::<usize>();
        for (packet, size) in held {
            self.transmit(id, side, packet, size);
        }
    }
}
