//! What a bench has found.

use super::{histogram::Histogram, tally::Tally};
use crate::{
    cli::{
        publish::mode_name,
        render::{amount, milliseconds, style::Style, table::pairs},
    },
    relay::Mode,
    views::reports::{BenchReport, BenchResults, Delivery, Fanout, LatencyMs, Publish, Subscribe},
};

impl Delivery {
    /// Rates count this share of the objects.
    pub(super) fn of(tally: &Tally, seconds: f64, share: f64) -> Self {
        Self {
            received: tally.objects,
            lost: tally.lost,
            doubled: tally.doubled,
            seconds: rounded(seconds),
            objects_per_s: per_second(tally.objects as f64 * share, seconds),
            mb_per_s: per_second(tally.bytes as f64 / 1e6 * share, seconds),
            latency_ms: LatencyMs::of(&tally.latency),
        }
    }
}

impl LatencyMs {
    fn of(nanoseconds: &Histogram) -> Self {
        let ms = |found: Option<u64>| found.map(|ns| rounded(ns as f64 / 1e6));
        Self { p50: ms(nanoseconds.percentile(50)), p99: ms(nanoseconds.percentile(99)), max: ms(nanoseconds.max()) }
    }

    fn text(self) -> String {
        let ms = |found: Option<f64>| match found {
            Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
            Some(ms) => milliseconds(ms),
            None => "-".to_owned(),
        };
        format!("p50 {}, p99 {}, longest {}", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

/// Rounded to thousandths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// How many a second, rounded; 0 if there was no time.
pub(super) fn per_second(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(amount / seconds) } else { 0.0 }
}

impl BenchReport {
    /// The report for people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut lines = match &self.results {
            BenchResults::Fanout(found) => found.lines(),
            BenchResults::Publish(found) => found.lines(),
            BenchResults::Subscribe(found) => found.lines(),
        };
        if self.interrupted {
            lines.push(("note", "it was interrupted".to_owned()));
        }
        pairs(style, &lines)
    }
}

/// Names and values, one pair a line.
type Lines = Vec<(&'static str, String)>;

impl Fanout {
    fn lines(&self) -> Lines {
        let receivers = self.nodes.saturating_sub(1);
        let rate = rate(self.delivery.objects_per_s, self.delivery.mb_per_s);
        let mut lines = vec![
            ("tree", format!("{receivers} receivers, deepest level {}, capacity {}", self.depth, self.capacity)),
            ("sent", sent(self.sent, self.size, self.delivery.seconds, self.mode, self.rate)),
            ("each", rate),
            ("all", format!("{:.1} MB/s", self.mb_per_s_all)),
            ("latency", self.delivery.latency_ms.text()),
            ("received", self.delivery.text()),
        ];
        let each = self.cpu_s_per_gib.map(|s| format!(", {s:.2} s per delivered GiB")).unwrap_or_default();
        lines.push(("cpu", format!("{:.2} s{each}", self.cpu_s)));
        lines.extend(self.memory_peak_bytes.map(|bytes| ("memory", format!("{} at most", amount(bytes)))));
        lines
    }
}

impl Publish {
    fn lines(&self) -> Lines {
        vec![
            ("track", self.track.clone()),
            ("sent", sent(self.sent, self.size, self.seconds, self.mode, self.rate)),
            ("rate", rate(self.objects_per_s, self.mb_per_s)),
        ]
    }
}

impl Subscribe {
    fn lines(&self) -> Lines {
        let mut lines = vec![
            ("track", self.track.clone()),
            ("received", format!("{}, {} in {:.1} s", self.delivery.text(), amount(self.bytes), self.delivery.seconds)),
            ("rate", rate(self.delivery.objects_per_s, self.delivery.mb_per_s)),
            ("latency", self.delivery.latency_ms.text()),
        ];
        if self.early > 0 {
            let text =
                format!("{} objects came before they were sent: the clocks differ, latency is wrong", self.early);
            lines.push(("clocks", text));
        }
        lines
    }
}

impl Delivery {
    fn text(&self) -> String {
        format!("{} objects, {} lost, {} doubled", self.received, self.lost, self.doubled)
    }
}

fn sent(objects: u64, size: usize, seconds: f64, mode: Mode, rate: Option<u32>) -> String {
    let asked = rate.map(|rate| format!(", {rate} a second asked for")).unwrap_or_default();
    format!("{objects} objects of {} in {seconds:.1} s, {}{asked}", amount(size as u64), mode_name(mode))
}

fn rate(objects_per_s: f64, mb_per_s: f64) -> String {
    format!("{objects_per_s:.0} objects/s, {mb_per_s:.1} MB/s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::View;

    fn delivery() -> Delivery {
        let mut latency = Histogram::default();
        [100_000, 200_000, 12_345_678].into_iter().for_each(|ns| latency.record(ns));
        let tally = Tally { objects: 3000, bytes: 3_072_000, lost: 2, doubled: 1, latency, ..Tally::default() };
        Delivery::of(&tally, 2.0, 0.5)
    }

    fn fanout() -> BenchReport {
        let found = Fanout {
            nodes: 3,
            capacity: 2,
            depth: 1,
            mode: Mode::Reliable,
            size: 1024,
            rate: Some(750),
            sent: 1500,
            delivery: delivery(),
            mb_per_s_all: 1.536,
            cpu_s: 0.25,
            cpu_s_per_gib: Some(87.4),
            memory_peak_bytes: Some(32 << 20),
        };
        BenchReport { results: BenchResults::Fanout(found), interrupted: false }
    }

    fn keys(report: BenchReport) -> String {
        let json = serde_json::to_value(report.enveloped()).expect("it serialises");
        assert_eq!(json["schema"], "banyan.bench/v1");
        let mut keys: Vec<&str> = json["data"].as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    }

    #[test]
    fn keys_of_the_json_are_those_that_are_promised() {
        assert_eq!(
            keys(fanout()),
            "bench capacity cpu_s cpu_s_per_gib depth doubled interrupted latency_ms lost mb_per_s mb_per_s_all \
             memory_peak_bytes mode nodes objects_per_s rate received seconds sent size"
        );
        assert_eq!(keys(publish()), "bench interrupted mb_per_s mode objects_per_s rate seconds sent size track");
        assert_eq!(
            keys(subscribe(0)),
            "bench bytes doubled early interrupted latency_ms lost mb_per_s objects_per_s received seconds track"
        );
    }

    fn publish() -> BenchReport {
        let found = Publish {
            track: "a".to_owned(),
            mode: Mode::Live,
            size: 100,
            rate: None,
            sent: 10,
            seconds: 0.5,
            objects_per_s: 20.0,
            mb_per_s: 0.002,
        };
        BenchReport { results: BenchResults::Publish(found), interrupted: true }
    }

    fn subscribe(early: u64) -> BenchReport {
        let found = Subscribe { track: "a".to_owned(), bytes: 3_072_000, early, delivery: delivery() };
        BenchReport { results: BenchResults::Subscribe(found), interrupted: false }
    }

    #[test]
    fn rates_count_their_share_and_need_time() {
        let delivery = delivery();
        assert_eq!((delivery.objects_per_s, delivery.mb_per_s), (750.0, 0.768));
        assert_eq!(delivery.latency_ms.max, Some(12.346));
        assert_eq!(per_second(5.0, 0.0), 0.0);
        assert_eq!(Delivery::of(&Tally::default(), 0.0, 1.0).latency_ms, LatencyMs { p50: None, p99: None, max: None });
    }

    #[test]
    fn text_says_it_all() {
        let expected = "\
tree      2 receivers, deepest level 1, capacity 2
sent      1500 objects of 1.0 KiB in 2.0 s, reliable, 750 a second asked for
each      750 objects/s, 0.8 MB/s
all       1.5 MB/s
latency   p50 0.20 ms, p99 12 ms, longest 12 ms
received  3000 objects, 2 lost, 1 doubled
cpu       0.25 s, 87.40 s per delivered GiB
memory    32.0 MiB at most
";
        assert_eq!(fanout().text(Style::PLAIN), expected);
        let expected = "\
track  a
sent   10 objects of 100 bytes in 0.5 s, live
rate   20 objects/s, 0.0 MB/s
note   it was interrupted
";
        assert_eq!(publish().text(Style::PLAIN), expected);
        let expected = "\
track     a
received  3000 objects, 2 lost, 1 doubled, 2.9 MiB in 2.0 s
rate      750 objects/s, 0.8 MB/s
latency   p50 0.20 ms, p99 12 ms, longest 12 ms
clocks    7 objects came before they were sent: the clocks differ, latency is wrong
";
        assert_eq!(subscribe(7).text(Style::PLAIN), expected);
    }
}
