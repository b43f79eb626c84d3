//! How often one host may fail to be admitted before it is not listened to for a while.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Failures that a host may make at once.
const BURST: u32 = 100;
/// A failure is forgotten after this time.
const REFILL: Duration = Duration::from_millis(100);
/// Failures that an admitted connection makes good: of hosts with many nodes some dials always break off.
const CREDIT: u32 = 4;
/// Hosts that are remembered, about 100 bytes each.
const HOSTS_MAX: usize = 4096;

/// A bucket of failures for each host (an IPv4 address, or an IPv6 network of 64 bits).
#[derive(Debug, Default)]
pub struct Gate {
    /// When the last failure of a host will be forgotten.
    until: BTreeMap<[u8; 8], Instant>,
}

impl Gate {
    /// Whether connections of a host are listened to.
    #[must_use]
    pub fn admits(&self, now: Instant, host: IpAddr) -> bool {
        self.until.get(&network(host)).is_none_or(|until| until.saturating_duration_since(now) <= REFILL * (BURST - 1))
    }

    /// A connection of a host was not admitted.
    pub fn failed(&mut self, now: Instant, host: IpAddr) {
        let network = network(host);
        if self.until.len() >= HOSTS_MAX && !self.until.contains_key(&network) {
            self.until.retain(|_, until| *until > now);
            // All of them fail: forget whoever is nearest to being forgotten.
            if self.until.len() >= HOSTS_MAX
                && let Some(host) = self.until.iter().min_by_key(|(_, until)| **until).map(|(host, _)| *host)
            {
                self.until.remove(&host);
            }
        }
        let until = self.until.entry(network).or_insert(now);
        *until = ((*until).max(now) + REFILL).min(now + REFILL * BURST);
    }

    /// A connection of a host was admitted.
    pub fn succeeded(&mut self, now: Instant, host: IpAddr) {
        let network = network(host);
        if let Some(until) = self.until.get_mut(&network) {
            match until.checked_sub(REFILL * CREDIT).filter(|until| *until > now) {
                Some(earlier) => *until = earlier,
                None => drop(self.until.remove(&network)),
            }
        }
    }

    /// Hosts that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether nobody has failed lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

fn network(host: IpAddr) -> [u8; 8] {
    let bits = match host.to_canonical() {
        IpAddr::V4(host) => host.to_ipv6_mapped().octets(),
        IpAddr::V6(host) => {
            let mut octets = host.octets();
            octets.rotate_right(8); // the network is what counts
            octets
        }
    };
    *bits.last_chunk().expect("an address has 16 bytes")
}
