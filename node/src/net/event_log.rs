//! What happened on the node: a bounded ring of past events, and everyone who follows the present.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use crate::views::{Event, EventView};

/// Past events kept at most.
const EVENTS_MAX: usize = 4_096;

/// Bytes of them as JSON at most.
const BYTES_MAX: usize = 1024 * 1024;

/// Events that a reader may be behind before it misses some.
const LAG_MAX: usize = 1_024;

/// Where a stream of events starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// With what happens next.
    #[default]
    Now,
    /// With the event after the one of this number. A number that the node has not reached yet comes
    /// from an earlier life of it: then with all that is kept.
    After(u64),
    /// With what happened so long ago.
    Ago(Duration),
    /// With the oldest event that is kept.
    Oldest,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct EventLog {
    started: Instant,
    live: broadcast::Sender<EventView>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    events: VecDeque<(EventView, usize)>,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// When the youngest event happened that is not kept any more.
    forgotten_ms: Option<u64>,
}

impl EventLog {
    pub(crate) fn new(started: Instant) -> Self {
        Self { started, live: broadcast::Sender::new(LAG_MAX), past: Mutex::default() }
    }

    /// Something happened.
    pub(crate) fn push(&self, now: Instant, event: Event) {
        let mut past = self.lock();
        let view = EventView { seq: past.next, at_ms: self.ms(now), event };
        past.push(view.clone());
        // Under the lock, so that a stream that begins meanwhile has each event once. Nobody listening is fine.
        let _ = self.live.send(view);
    }

    /// The events since then that are kept, after a [`Event::Missed`] if others are not, and those to come.
    pub(crate) fn since(&self, now: Instant, since: Since) -> (VecDeque<EventView>, broadcast::Receiver<EventView>) {
        let past = self.lock();
        let events = match since {
            Since::Now => VecDeque::new(),
            Since::After(seq) if seq < past.next => past.from(|view| view.seq > seq, Some(seq + 1)),
            Since::After(_) | Since::Oldest => past.from(|_| true, Some(0)),
            Since::Ago(ago) => {
                let from = self.ms(now.checked_sub(ago).unwrap_or(self.started));
                past.from(|view| view.at_ms >= from, past.forgotten_ms.filter(|at| *at >= from).map(|_| 0))
            }
        };
        (events, self.live.subscribe())
    }

    /// The last events of those wanted, the oldest first.
    pub(crate) fn last(&self, most: usize, wanted: impl Fn(&Event) -> bool) -> Vec<EventView> {
        let past = self.lock();
        let last = past.events.iter().rev().map(|(view, _)| view).filter(|view| wanted(&view.event)).take(most);
        let mut last: Vec<EventView> = last.cloned().collect();
        last.reverse();
        last
    }

    fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Past> {
        // Nothing panics while it is held.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn push(&mut self, view: EventView) {
        let bytes = json_bytes(&view);
        self.next += 1;
        self.bytes += bytes;
        self.events.push_back((view, bytes));
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some((view, bytes)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
            self.forgotten_ms = Some(view.at_ms);
        }
    }

    /// The number of the oldest event kept, or of the next.
    fn first(&self) -> u64 {
        self.events.front().map_or(self.next, |(view, _)| view.seq)
    }

    /// Those of the events kept that are wanted. `whole_from`: none from this number on may lack silently.
    fn from(&self, wanted: impl Fn(&EventView) -> bool, whole_from: Option<u64>) -> VecDeque<EventView> {
        let mut events: VecDeque<EventView> =
            self.events.iter().map(|(view, _)| view).filter(|view| wanted(view)).cloned().collect();
        if let Some(from) = whole_from.filter(|from| *from < self.first()) {
            let (seq, at_ms) = (self.first() - 1, self.forgotten_ms.unwrap_or_default());
            events.push_front(EventView { seq, at_ms, event: Event::Missed { events: self.first() - from } });
        }
        events
    }
}

/// The length of an event as JSON, without writing it.
fn json_bytes(view: &EventView) -> usize {
    let mut count = crate::count::Count::default();
    // An event has text keys alone.
    let _ = serde_json::to_writer(&mut count, view);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str) -> Event {
        Event::LinkDown { peer_id: "x".to_owned(), reason: reason.to_owned() }
    }

    fn log(events: u64) -> (Instant, EventLog) {
        let start = Instant::now();
        let log = EventLog::new(start);
        for at in 0..events {
            log.push(start + Duration::from_millis(at), event("gone"));
        }
        (start + Duration::from_millis(events), log)
    }

    fn seqs(events: &VecDeque<EventView>) -> Vec<u64> {
        events.iter().map(|view| view.seq).collect()
    }

    #[test]
    fn a_late_reader_gets_what_it_asks_for() {
        let (now, log) = log(5);
        assert_eq!(seqs(&log.since(now, Since::Now).0), [] as [u64; 0]);
        assert_eq!(seqs(&log.since(now, Since::After(2)).0), [3, 4]);
        assert_eq!(seqs(&log.since(now, Since::After(4)).0), [] as [u64; 0]);
        assert_eq!(seqs(&log.since(now, Since::After(99)).0), [0, 1, 2, 3, 4], "another life's number");
        assert_eq!(seqs(&log.since(now, Since::Ago(Duration::from_millis(2))).0), [3, 4]);
        assert_eq!(seqs(&log.since(now, Since::Ago(Duration::from_secs(99))).0), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_not_kept_is_told_as_missed() {
        let (now, log) = log(EVENTS_MAX as u64 + 10);
        for since in [Since::After(3), Since::Oldest, Since::Ago(Duration::from_secs(99))] {
            let events = log.since(now, since).0;
            let missed = if since == Since::After(3) { 6 } else { 10 };
            assert_eq!(events.len(), EVENTS_MAX + 1);
            assert_eq!((events[0].seq, &events[0].event), (9, &Event::Missed { events: missed }), "{since:?}");
            assert_eq!(events[1].seq, 10);
        }
        assert_eq!(seqs(&log.since(now, Since::After(9)).0)[..2], [10, 11], "nothing is missing after it");
    }

    #[test]
    fn large_events_do_not_grow_the_ring_without_limit() {
        let start = Instant::now();
        let log = EventLog::new(start);
        for _ in 0..100 {
            log.push(start, event(&"x".repeat(64 * 1024)));
        }
        assert!(log.since(start, Since::Oldest).0.len() < 20);
        assert!(log.lock().bytes <= BYTES_MAX);
    }

    #[tokio::test]
    async fn past_and_present_meet_without_a_hole_or_a_repetition() {
        let (now, log) = log(3);
        let (past, mut live) = log.since(now, Since::Oldest);
        log.push(now, event("later"));
        assert_eq!(seqs(&past), [0, 1, 2]);
        assert_eq!(live.recv().await.expect("it is there").seq, 3);
    }
}
