//! What `banyan demo` and `banyan bench` report. No node shows these.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;
use crate::relay::Mode;

/// The result of a demo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DemoReport {
    /// Nodes started.
    pub nodes: u16,
    /// Nodes killed.
    pub killed: u16,
    /// Objects published.
    pub objects: u64,
    /// Payload bytes published.
    pub bytes: u64,
    /// Objects that survivors did not get, all together.
    pub lost: u64,
    /// Objects that survivors got again.
    pub duplicates: u64,
    /// Objects that nodes got over the network a second time, and dropped.
    pub dropped: u64,
    /// Times that ids were skipped at survivors.
    pub gaps: u64,
    /// Times that a node went on at another parent after it had lost one.
    pub repairs: usize,
    /// From the last object before a loss to the first after it.
    pub repair_ms: RepairMs,
    /// The longest time between two objects at each survivor before the first failure.
    pub calm_ms: RepairMs,
    /// The same after each failure.
    pub gap_ms: RepairMs,
    /// Deepest level of the tree in any sample.
    pub depth_max: u8,
    /// Most children of a node in any sample.
    pub children_max: u16,
    /// Most children allowed.
    pub capacity: u16,
    /// Whether what each survivor received has the SHA-256 of what was published.
    pub sha256_ok: bool,
    /// From the first object to the end of the last survivor's stream.
    pub seconds: f64,
}

impl View for DemoReport {
    const SCHEMA: &'static str = "banyan.demo/v1";
}

/// How long repairs took, in milliseconds; nothing if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepairMs {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// The result of a bench.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BenchReport {
    /// What it found.
    #[serde(flatten)]
    pub results: BenchResults,
    /// Whether it was ended before its time.
    pub interrupted: bool,
}

impl View for BenchReport {
    const SCHEMA: &'static str = "banyan.bench/v1";
}

/// What each bench finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "bench", rename_all = "lowercase")]
pub enum BenchResults {
    /// Of `bench fanout`.
    Fanout(Fanout),
    /// Of `bench publish`.
    Publish(Publish),
    /// Of `bench subscribe`.
    Subscribe(Subscribe),
}

/// What `bench fanout` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fanout {
    /// Nodes, the publisher counted.
    pub nodes: u16,
    /// Most others that a node feeds.
    pub capacity: u16,
    /// Deepest level of the tree when everything was sent.
    pub depth: u8,
    /// What happens to a subscriber that cannot keep up.
    pub mode: Mode,
    /// Bytes of an object.
    pub size: usize,
    /// Objects a second that were asked for.
    pub rate: Option<u32>,
    /// Objects published.
    pub sent: u64,
    /// At all receivers; rates are those of one.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// 10^6 payload bytes a second at all receivers together.
    pub mb_per_s_all: f64,
    /// Processor time of the whole process, in seconds.
    pub cpu_s: f64,
    /// The same for each GiB of payload delivered.
    pub cpu_s_per_gib: Option<f64>,
    /// Most memory resident at any time in the whole process.
    pub memory_peak_bytes: Option<u64>,
}

/// What `bench publish` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Publish {
    /// The track.
    pub track: String,
    /// What happens to a subscriber that cannot keep up.
    pub mode: Mode,
    /// Bytes of an object.
    pub size: usize,
    /// Objects a second that were asked for.
    pub rate: Option<u32>,
    /// Objects that the node took.
    pub sent: u64,
    /// From the first object until the node had taken the last.
    pub seconds: f64,
    /// Objects a second.
    pub objects_per_s: f64,
    /// 10^6 payload bytes a second.
    pub mb_per_s: f64,
}

/// What `bench subscribe` finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribe {
    /// The track.
    pub track: String,
    /// Payload bytes received.
    pub bytes: u64,
    /// Objects that came before they were sent, by the clocks of the two ends.
    pub early: u64,
    /// What arrived.
    #[serde(flatten)]
    pub delivery: Delivery,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Objects, none twice.
    pub received: u64,
    /// Objects that did not come.
    pub lost: u64,
    /// Objects that came again, or late.
    pub doubled: u64,
    /// The time that rates are over.
    pub seconds: f64,
    /// Objects a second.
    pub objects_per_s: f64,
    /// 10^6 payload bytes a second.
    pub mb_per_s: f64,
    /// How long objects were under way.
    pub latency_ms: LatencyMs,
}

/// How long objects were under way, in milliseconds; nothing if none came.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyMs {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}
