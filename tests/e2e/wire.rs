//! A segment of Ethernet in this process: each host's frames pass through here, and are lost, delayed, reordered,
//! held to a rate or cut off as the host's conditions say. Works where the system has no `netem`.
//!
//! A host is a network namespace with one TAP device. Frames find their way by the last byte of the
//! hardware address, which is the host's number.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tappers::{Interface, Tap};

/// What happens to the frames that a host sends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions {
    /// Share of the frames that are lost.
    pub(crate) loss: f64,
    /// Every frame takes so long.
    pub(crate) delay: Duration,
    /// And up to so much longer, each drawn anew: frames overtake one another.
    pub(crate) jitter: Duration,
    /// Bits per second.
    pub(crate) rate: Option<u64>,
}

/// A frame waits for its turn at most so long; then there is no room for it.
const QUEUE_MAX: Duration = Duration::from_millis(200);
/// Longest frame, with its header.
const FRAME_BYTES_MAX: usize = 2048;

/// The segment.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Shared>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    due: Condvar,
}

#[derive(Default)]
struct State {
    ports: BTreeMap<u8, Port>,
    /// Frames from the one do not reach the other.
    cut: BTreeSet<(u8, u8)>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sent: u64,
}

struct Port {
    tap: Arc<Tap>,
    conditions: Conditions,
    /// When the frame before has left, at the rate.
    free_at: Instant,
}

/// In the order of its time, then of its number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    at: Instant,
    number: u64,
    to: u8,
    frame: Vec<u8>,
}

impl Wire {
    /// A segment without hosts.
    pub(crate) fn new() -> Self {
        let wire = Self::default();
        let deliverer = wire.clone();
        thread::spawn(move || deliverer.deliver());
        wire
    }

    /// Plugs a host in. The device is made in this process's namespace, to be moved to the host's.
    pub(crate) fn plug(&self, host: u8, device: &str) -> io::Result<()> {
        let tap = Arc::new(Tap::new_named(Interface::new(device)?)?);
        let port = Port { tap: Arc::clone(&tap), conditions: Conditions::default(), free_at: Instant::now() };
        self.lock().ports.insert(host, port);
        let wire = self.clone();
        thread::spawn(move || {
            let mut frame = [0; FRAME_BYTES_MAX];
            let mut rng = fastrand::Rng::with_seed(u64::from(host));
            // It fails when the host's namespace is gone.
            while let Ok(length) = tap.recv(&mut frame) {
                wire.take(host, &frame[..length], &mut rng);
            }
        });
        Ok(())
    }

    /// What happens from now on to frames of a host.
    pub(crate) fn set(&self, host: u8, conditions: Conditions) {
        if let Some(port) = self.lock().ports.get_mut(&host) {
            port.conditions = conditions;
        }
    }

    /// Cuts one direction between two hosts, or joins it again.
    pub(crate) fn cut(&self, from: u8, to: u8, cut: bool) {
        let pairs = &mut self.lock().cut;
        if cut {
            pairs.insert((from, to))
        } else {
            pairs.remove(&(from, to))
        };
    }

    fn take(&self, from: u8, frame: &[u8], rng: &mut fastrand::Rng) {
        let Some(to) = frame.get(..6) else { return };
        let mut state = self.lock();
        // A broadcast or multicast frame is lost once for everybody, as on a cable.
        let to = if to[0] & 1 == 1 { None } else { Some(to[5]) };
        let State { ports, cut, waiting, sent } = &mut *state;
        let now = Instant::now();
        let Some(port) = ports.get_mut(&from) else { return };
        let conditions = port.conditions;
        if rng.f64() < conditions.loss {
            return;
        }
        let mut at = now;
        if let Some(rate) = conditions.rate {
            let left = port.free_at.max(now) + Duration::from_secs_f64(frame.len() as f64 * 8.0 / rate as f64);
            if left - now > QUEUE_MAX {
                return;
            }
            port.free_at = left;
            at = left;
        }
        at += conditions.delay + conditions.jitter.mul_f64(rng.f64());
        let reached = ports.keys().filter(|host| match to {
            Some(to) => **host == to,
            None => **host != from,
        });
        let reached: Vec<u8> = reached.filter(|host| !cut.contains(&(from, **host))).copied().collect();
        for to in reached {
            *sent += 1;
            if at == now {
                // Who does not take it has no cable at the moment.
                let _ = ports[&to].tap.send(frame);
            } else {
                waiting.push(Reverse(Waiting { at, number: *sent, to, frame: frame.to_vec() }));
            }
        }
        drop(state);
        self.0.due.notify_one();
    }

    fn deliver(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let next = state.waiting.peek().map(|Reverse(frame)| frame.at);
            match next {
                Some(at) if at <= now => {
                    if let Some(Reverse(frame)) = state.waiting.pop()
                        && let Some(port) = state.ports.get(&frame.to)
                    {
                        let _ = port.tap.send(&frame.frame);
                    }
                }
                _ => {
                    let pause = next.map_or(Duration::from_secs(1), |at| at - now);
                    state = self.0.due.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
