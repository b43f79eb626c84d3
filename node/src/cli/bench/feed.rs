//! What is published: objects of one size, each when it is due.
//!
//! An object starts with a stamp: what marks it as one of a bench, the publisher's run, its number within
//! the run from 0, and when it was made. Zeros follow, which nothing under way compresses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use tokio::{
    task::consume_budget,
    time::{Instant, sleep_until},
};

use super::args::Load;

/// Bytes of a stamp: the least size of an object.
pub(super) const STAMP_BYTES: usize = 24;
/// What a stamp starts with.
const MARK: u32 = u32::from_be_bytes(*b"bnch");

/// Nanoseconds since 1970 that never go back: the clock of the wall when it was made, from then on a
/// steady one. Copies agree to the nanosecond, other processes as well as the clock of the wall does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    start_ns: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_ns: nanoseconds(since) }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.start_ns.saturating_add(nanoseconds(self.start.elapsed()))
    }
}

/// Enough for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The first bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Drawn by each publisher, whose numbers start at 0.
    pub(super) run: u32,
    pub(super) number: u64,
    /// By the publisher's [`Clock`].
    pub(super) sent_ns: u64,
}

impl Stamp {
    /// Reads it; `None` if the object is none of a bench.
    pub(super) fn read(object: &[u8]) -> Option<Self> {
        let (mark, rest) = object.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        let [number, sent_ns] = [number, sent_ns].map(|word| u64::from_be_bytes(*word));
        (u32::from_be_bytes(*mark) == MARK).then_some(Self { run: u32::from_be_bytes(*run), number, sent_ns })
    }

    fn write(self, object: &mut BytesMut) {
        object.put_u32(MARK);
        object.put_u32(self.run);
        object.put_u64(self.number);
        object.put_u64(self.sent_ns);
    }
}

/// Makes objects.
#[derive(Debug)]
pub(super) struct Feed {
    clock: Clock,
    run: u32,
    number: u64,
    size: usize,
    rate: Option<u32>,
    start: Instant,
    end: Instant,
}

impl Feed {
    /// A feed that starts now.
    pub(super) fn start(load: &Load, clock: Clock) -> Self {
        let start = Instant::now();
        let (rate, end) = (load.rate, start + load.seconds);
        Self { clock, run: fastrand::u32(..), number: 0, size: load.size, rate, start, end }
    }

    /// Bytes of an object.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// When the next object is due.
    fn due_at(&self) -> Instant {
        let wait = self.rate.map(|rate| Duration::from_secs_f64(self.number as f64 / f64::from(rate)));
        self.start + wait.unwrap_or_default()
    }

    /// Whether the next object is due already.
    pub(super) fn is_due(&self) -> bool {
        let now = Instant::now();
        self.due_at() <= now && now < self.end
    }

    /// Waits until the next object is due; `false` when the time is over. Cancel-safe.
    pub(super) async fn due(&self) -> bool {
        let due_at = self.due_at();
        if due_at >= self.end || Instant::now() >= self.end {
            return false;
        }
        // What is never waited for must still let others have their turn.
        consume_budget().await;
        sleep_until(due_at).await;
        true
    }

    /// Appends the next object.
    pub(super) fn write(&mut self, out: &mut BytesMut) {
        let end = out.len() + self.size;
        Stamp { run: self.run, number: self.number, sent_ns: self.clock.now_ns() }.write(out);
        out.resize(end, 0);
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Mode;

    fn feed(size: usize, rate: Option<u32>, seconds: Duration) -> Feed {
        Feed::start(&Load { size, rate, seconds, mode: Mode::Reliable }, Clock::new())
    }

    #[test]
    fn stamps_are_read_back_and_other_objects_have_none() {
        let mut feed = feed(100, None, Duration::from_secs(1));
        let mut objects = BytesMut::new();
        feed.write(&mut objects);
        feed.write(&mut objects);
        assert_eq!(objects.len(), 200);
        let [first, second] = [&objects[..100], &objects[100..]].map(|object| Stamp::read(object).expect("it is one"));
        assert_eq!((first.number, second.number, first.run), (0, 1, second.run));
        assert!(first.sent_ns <= second.sent_ns);
        assert_eq!(Stamp::read(&objects[..STAMP_BYTES - 1]), None);
        assert_eq!(Stamp::read(&[0; 100]), None);
    }

    #[tokio::test]
    async fn no_more_objects_are_due_than_rate_and_time_say() {
        let mut feed = feed(STAMP_BYTES, Some(50), Duration::from_millis(100));
        let mut objects = BytesMut::new();
        while feed.due().await {
            assert!(feed.due_at() <= Instant::now(), "none is sent before it is due");
            feed.write(&mut objects);
        }
        assert!(objects.len() <= 5 * STAMP_BYTES);
    }
}
