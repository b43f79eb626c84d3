//! What a node counts while it runs, for its [metrics](crate::api). Everything else that they tell is
//! looked up when they are read.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{mesh::Control, views::Event};

/// Why a repair is needed.
const CAUSES: [&str; 4] = ["parent_lost", "parent_silent", "parent_gone", "other"];

/// One label.
pub(crate) type Label = [(&'static str, &'static str); 1];
type Message = [(&'static str, &'static str); 2];

/// Counters of one node. Labels take few values, all of them named in this program.
#[derive(Debug)]
pub(crate) struct Meters {
    /// When the node started.
    pub(crate) started: SystemTime,
    /// All below, under their names.
    pub(crate) registry: Registry,
    /// What the host's library counts, under `libp2p_…`.
    pub(crate) host: Arc<Registry>,
    turns: Histogram,
    gaps: Histogram,
    attaches: Histogram,
    repairs: Family<Label, Counter>,
    events: Family<Label, Counter>,
    messages: Family<Message, Counter>,
    bytes: Family<Message, Counter>,
    queue: Gauge,
}

impl Meters {
    pub(crate) fn new(host: Arc<Registry>) -> Self {
        let mut registry = Registry::with_prefix("banyan");
        // 10 µs … 2.6 s; 5 ms … 10 s.
        let turns = Histogram::new(exponential_buckets(1e-5, 4.0, 10));
        let [gaps, attaches] = [(); 2].map(|()| Histogram::new(exponential_buckets(0.005, 2.0, 12)));
        let (repairs, events) = (Family::<Label, Counter>::default(), Family::default());
        // So that a first repair is seen as a rise.
        CAUSES.iter().for_each(|cause| drop(repairs.get_or_create(&[("cause", *cause)])));
        let (messages, bytes, queue) = (Family::default(), Family::default(), Gauge::default());
        let seconds = || Unit::Seconds;
        registry.register_with_unit("loop_turn", "Time of one turn of the main loop", seconds(), turns.clone());
        let help = "Time from the last object before a parent was lost to the first after it";
        registry.register_with_unit("repair_gap", help, seconds(), gaps.clone());
        let help = "Time from noticing that a parent is lost to the open stream from the next";
        registry.register_with_unit("repair_attach", help, seconds(), attaches.clone());
        registry.register("repairs", "Repairs after a parent was lost, by cause", repairs.clone());
        registry.register("events", "What happened on the node, by kind", events.clone());
        let help = "Control messages, by direction and kind";
        registry.register("control_messages", help, messages.clone());
        let help = "Bytes of control messages, by direction and kind";
        registry.register_with_unit("control", help, Unit::Bytes, bytes.clone());
        let help = "Bytes of control messages that wait to be written";
        registry.register_with_unit("control_queue", help, Unit::Bytes, queue.clone());
        let started = SystemTime::now();
        Self { started, registry, host, turns, gaps, attaches, repairs, events, messages, bytes, queue }
    }

    /// The main loop has turned once.
    pub(crate) fn on_turn(&self, took: Duration) {
        self.turns.observe(took.as_secs_f64());
    }

    pub(crate) fn on_event(&self, event: &Event) {
        self.events.get_or_create(&[("event", event.kind())]).inc();
        if let Event::Repaired { reason, gap_ms, attach_ms, .. } = event {
            let cause = CAUSES.into_iter().find(|cause| cause == reason).unwrap_or("other");
            self.repairs.get_or_create(&[("cause", cause)]).inc();
            self.gaps.observe(gap_ms / 1e3);
            self.attaches.observe(attach_ms / 1e3);
        }
    }

    pub(crate) fn on_received(&self, message: &Control, bytes: usize) {
        self.on_message("in", message, bytes);
    }

    pub(crate) fn on_sent(&self, message: &Control, bytes: usize) {
        self.on_message("out", message, bytes);
    }

    fn on_message(&self, direction: &'static str, message: &Control, bytes: usize) {
        let kind = match message {
            Control::Gossip(_) => "gossip",
            Control::Tree { .. } => "tree",
            Control::Report { .. } => "report",
            Control::Ping(_) | Control::Pong(_) => "ping",
            _ => "other",
        };
        let labels = [("direction", direction), ("kind", kind)];
        self.messages.get_or_create(&labels).inc();
        self.bytes.get_or_create(&labels).inc_by(bytes as u64);
    }

    /// Counts bytes that wait to be written, until the answer is dropped.
    pub(crate) fn queued(&self, bytes: usize) -> Queued {
        let bytes = i64::try_from(bytes).expect("a message is far below 4 GiB");
        self.queue.inc_by(bytes);
        Queued { bytes, queue: self.queue.clone() }
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

/// Bytes that wait to be written.
#[derive(Debug)]
pub(crate) struct Queued {
    bytes: i64,
    queue: Gauge,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.dec_by(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(meters: &Meters) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &meters.registry).expect("writing to memory");
        text
    }

    #[test]
    fn bytes_wait_until_they_are_dropped() {
        let meters = Meters::default();
        let (a, b) = (meters.queued(5), meters.queued(7));
        assert!(text(&meters).contains("\nbanyan_control_queue_bytes 12\n"), "{}", text(&meters));
        drop((a, b));
        assert!(text(&meters).contains("\nbanyan_control_queue_bytes 0\n"), "{}", text(&meters));
    }

    #[test]
    fn repairs_are_counted_by_cause_and_unknown_causes_together() {
        let meters = Meters::default();
        for reason in ["parent_lost", "moon phase", "parent_lost"] {
            let (track, reason) = ("t".to_owned(), reason.to_owned());
            meters.on_event(&Event::Repaired { track, reason, gap_ms: 80.0, attach_ms: 7.0 });
        }
        let text = text(&meters);
        for line in [
            "banyan_repairs_total{cause=\"parent_lost\"} 2",
            "banyan_repairs_total{cause=\"other\"} 1",
            "banyan_repair_gap_seconds_count 3",
            "banyan_repair_gap_seconds_bucket{le=\"0.08\"} 3",
            "banyan_events_total{event=\"repaired\"} 3",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
