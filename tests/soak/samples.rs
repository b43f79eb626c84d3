//! What was measured when, as a file of comma-separated values.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use crate::stream::percentile_ms;

/// One line.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) seconds: f64,
    /// Nodes that run.
    pub(super) up: usize,
    /// Objects published, and received by all subscribers.
    pub(super) sent: u64,
    pub(super) objects: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Times that a subscriber began.
    pub(super) lives: u64,
    /// Bytes; the mean of the elders, and the most of any node.
    pub(super) rss_elders: u64,
    pub(super) rss_max: u64,
    pub(super) files_elders: f64,
    pub(super) files_max: usize,
    /// Means of the elders.
    pub(super) tombstones: f64,
    pub(super) links: f64,
    /// Bytes of control messages that wait, over all elders.
    pub(super) queued: f64,
    /// Bytes of the largest ring of an elder.
    pub(super) ring: f64,
    /// Processor time of an elder so far.
    pub(super) cpu_s: f64,
    /// From publishing to the subscriber, since the sample before.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) longest_ms: f64,
}

impl Sample {
    pub(super) fn latency(&mut self, took_us: &mut [u32]) {
        self.p50_ms = percentile_ms(took_us, 0.5);
        self.p99_ms = percentile_ms(took_us, 0.99);
        self.longest_ms = percentile_ms(took_us, 1.0);
    }

    fn fields(&self) -> [(&'static str, f64); 19] {
        [
            ("seconds", self.seconds),
            ("up", self.up as f64),
            ("sent", self.sent as f64),
            ("objects", self.objects as f64),
            ("lost", self.lost as f64),
            ("doubled", self.doubled as f64),
            ("lives", self.lives as f64),
            ("rss_elders", self.rss_elders as f64),
            ("rss_max", self.rss_max as f64),
            ("files_elders", self.files_elders),
            ("files_max", self.files_max as f64),
            ("tombstones", self.tombstones),
            ("links", self.links),
            ("queued", self.queued),
            ("ring", self.ring),
            ("cpu_s", self.cpu_s),
            ("p50_ms", self.p50_ms),
            ("p99_ms", self.p99_ms),
            ("longest_ms", self.longest_ms),
        ]
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        format!(
            "{:6.0} s  {} up  {} objects, {} lost, {} doubled  rss {:.1} MiB (max {:.1})  files {:.0} (max {})  \
             tombstones {:.0}  queued {:.0}  p50 {:.1} ms  p99 {:.1} ms  longest {:.0} ms",
            self.seconds,
            self.up,
            self.objects,
            self.lost,
            self.doubled,
            self.rss_elders as f64 / 1048576.0,
            self.rss_max as f64 / 1048576.0,
            self.files_elders,
            self.files_max,
            self.tombstones,
            self.queued,
            self.p50_ms,
            self.p99_ms,
            self.longest_ms
        )
    }
}

/// All of them, written as they come.
#[derive(Debug)]
pub(super) struct Samples {
    file: File,
    all: Vec<Sample>,
}

impl Samples {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        let names: Vec<&str> = Sample::default().fields().iter().map(|(name, _)| *name).collect();
        writeln!(file, "{}", names.join(","))?;
        Ok(Self { file, all: Vec::new() })
    }

    pub(super) fn add(&mut self, sample: Sample) -> io::Result<()> {
        let values: Vec<String> =
            sample.fields().iter().map(|(_, value)| format!("{}", (value * 1e3).round() / 1e3)).collect();
        writeln!(self.file, "{}", values.join(","))?;
        self.all.push(sample);
        Ok(())
    }

    pub(super) fn all(&self) -> &[Sample] {
        &self.all
    }

    pub(super) fn between(&self, from: Duration, to: Duration) -> Vec<Sample> {
        let range = from.as_secs_f64()..=to.as_secs_f64();
        self.all.iter().filter(|sample| range.contains(&sample.seconds)).cloned().collect()
    }
}
