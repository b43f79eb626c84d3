//! How fast a node serves packages while it feeds live tracks: what is live comes first.
//!
//! Who feeds a live track says how long its objects waited for the way to the child. When they waited long, packages
//! are sent at less than the rate so far from then on, and at more and more while nothing waits, slowly near the rate at
//! which they waited: as TCP shares a link, but with the track's objects in the place of lost packets. Without a live track packages go as fast as
//! they can. A child that is slow whatever is done about it holds up packages for a while only.

use std::time::{Duration, Instant};

/// So long an object may wait.
const LONG: Duration = Duration::from_millis(10);
/// What is sent after an object waited long, and after a track began, whose needs are not known yet, of what was sent
/// before.
const CUT: f64 = 0.5;
const CUT_FIRST: f64 = 0.25;
/// What was cut shows after this long.
const CUT_EVERY: Duration = Duration::from_millis(100);
/// What is sent more each second while nothing waits, of what is sent; near the rate at which objects waited, which
/// it must not try again and again.
const GROWTH: f64 = 0.4;
const GROWTH_NEAR: f64 = 0.02;
/// That near, of the rate at which objects waited.
const NEAR: f64 = 0.75;
/// Least rate, in bytes a second.
const RATE_MIN: f64 = 256.0 * 1024.0;
/// Objects that wait so long at the least rate do not wait because of packages.
const VAIN: Duration = Duration::from_secs(3);
/// How long that is remembered.
const VAIN_FOR: Duration = Duration::from_secs(10);
/// No live track is fed any more when none was for so long.
const FORGET: Duration = Duration::from_secs(2);
/// The rate so far is that of this time.
const WINDOW: Duration = Duration::from_millis(200);
/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The rate of one node's packages, to all peers.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; nothing while it is not limited.
    rate: Option<f64>,
    /// The rate at which objects of live tracks waited last.
    ceiling: f64,
    /// Bytes a second that went in the last window, and the window that is under way.
    measured: f64,
    window: (Instant, u64),
    /// When what was sent so far would have gone at the rate.
    due: Instant,
    /// A live track was fed.
    fed: Option<Instant>,
    /// The rate was changed.
    cut: Instant,
    grown: Instant,
    /// Since when objects wait although the rate is the least.
    vain_since: Option<Instant>,
    vain_until: Instant,
}

impl Pace {
    /// Not limited.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        let (rate, fed, vain_since) = (None, None, None);
        let window = (now, 0);
        Self {
            rate,
            ceiling: f64::INFINITY,
            measured: 0.0,
            window,
            due: now,
            fed,
            cut: now,
            grown: now,
            vain_since,
            vain_until: now,
        }
    }

    /// Objects of a live track went on their way to a child after they waited for so long.
    pub fn handle_live(&mut self, now: Instant, waited: Duration) {
        let begins = self.fed.replace(now).is_none_or(|fed| now.saturating_duration_since(fed) >= FORGET);
        let long = waited >= LONG;
        if !long {
            self.vain_since = None;
        }
        let since = now.saturating_duration_since(self.cut);
        if (begins || long && since >= CUT_EVERY) && now >= self.vain_until && self.is_sending(now) {
            self.cut = now;
            let before = self.rate.unwrap_or(self.measured);
            if long {
                self.ceiling = before;
            }
            let rate = (before * if begins { CUT_FIRST } else { CUT }).max(RATE_MIN);
            self.rate = Some(rate);
            if rate > RATE_MIN {
                self.vain_since = None;
            } else if now.saturating_duration_since(*self.vain_since.get_or_insert(now)) >= VAIN {
                (self.rate, self.vain_since) = (None, None);
                self.vain_until = now + VAIN_FOR;
            }
        }
    }

    /// How long to wait before these bytes of a package are sent.
    pub fn handle_bulk(&mut self, now: Instant, bytes: u64) -> Duration {
        self.measure(now, bytes);
        if self.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= FORGET) {
            (self.rate, self.ceiling) = (None, f64::INFINITY);
        }
        let Some(rate) = &mut self.rate else { return Duration::ZERO };
        let grown = self.grown.max(self.cut + CUT_EVERY);
        let growth = if *rate < self.ceiling * NEAR { GROWTH } else { GROWTH_NEAR };
        *rate *= 1.0 + growth * now.saturating_duration_since(grown).min(WAIT_MAX).as_secs_f64();
        self.grown = now;
        let wait = self.due.saturating_duration_since(now).min(WAIT_MAX);
        self.due = (now + wait) + Duration::from_secs_f64(bytes as f64 / *rate);
        wait
    }

    /// Whether packages were sent lately.
    fn is_sending(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.window.0) < WAIT_MAX + WINDOW
    }

    fn measure(&mut self, now: Instant, bytes: u64) {
        let (since, before) = self.window;
        let time = now.saturating_duration_since(since);
        if time >= WINDOW {
            self.measured = before as f64 / time.as_secs_f64();
            self.window = (now, bytes);
        } else {
            self.window.1 += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 128 * 1024;
    const STEP: Duration = Duration::from_millis(10);

    /// Sends blocks over a link that carries so much, each 10 ms an object of a live track, which waits long while
    /// the link carries more than `room`. Returns the bytes a second that were sent in the last second.
    fn run(pace: &mut Pace, now: &mut Instant, seconds: u64, link: f64, room: f64, live: bool) -> f64 {
        let (mut next, mut sent) = (*now, Vec::new());
        let end = *now + Duration::from_secs(seconds);
        let mut free = *now;
        while *now < end {
            while next <= *now {
                let at = next.max(free);
                let wait = pace.handle_bulk(at, BLOCK);
                free = at + wait + Duration::from_secs_f64(BLOCK as f64 / link);
                next = free;
                sent.push(at + wait);
            }
            let carried = |time: Duration| {
                let count = sent.iter().filter(|at| **at + time > *now && **at <= *now).count();
                count as f64 * BLOCK as f64 / time.as_secs_f64()
            };
            if live {
                let full = carried(Duration::from_millis(200)) > room;
                pace.handle_live(*now, if full { 2 * LONG } else { Duration::ZERO });
            }
            *now += STEP;
        }
        sent.iter().filter(|at| **at + Duration::from_secs(1) > *now).count() as f64 * BLOCK as f64
    }

    #[test]
    fn packages_take_what_live_tracks_leave_and_everything_without() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(run(&mut pace, &mut now, 2, 8e6, 8e6, false) > 7e6, "nothing is live");
        let beside = run(&mut pace, &mut now, 6, 8e6, 4e6, true);
        assert!((1.5e6..4.8e6).contains(&beside), "{beside} bytes a second of 4 million that are free");
        assert!(run(&mut pace, &mut now, 6, 8e6, 4e6, false) > 7e6, "nothing is live any more");
    }

    #[test]
    fn a_child_that_is_slow_by_itself_holds_packages_up_for_a_while_only() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        run(&mut pace, &mut now, 2, 8e6, 8e6, true);
        let rates: Vec<f64> = (0..12).map(|_| run(&mut pace, &mut now, 1, 8e6, -1.0, true)).collect();
        assert!(rates[2] < 1e6, "{rates:?}");
        assert!(rates[11] > 7e6, "{rates:?}");
    }
}
