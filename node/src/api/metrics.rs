//! `GET /metrics`: figures of the node as OpenMetrics text.
//!
//! Everything of Banyan's own is named `banyan_…` and is in base units; libp2p's is `libp2p_…`, the
//! process's `process_…`, as everywhere. Labels take few values; tracks are told apart up to 64.

use std::{fs, sync::atomic::AtomicU64, time::SystemTime};

use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::text::encode_registry,
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Registry, Unit},
};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::{Shared, error::ApiError, query};
use crate::{
    Node,
    net::{
        core::figures::{Figures, TrackFigures},
        meters::Label,
    },
    views::TrackHere,
};

/// The type that scrapers know.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&shared.node).await?).into_response())
}

async fn text(node: &Node) -> Result<String, ApiError> {
    let meters = node.meters();
    let mut now = Registry::with_prefix("banyan");
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    now.register("build", "Version of the program", Info::new(version));
    mesh(&mut now, &node.figures().await?);
    library(&mut now, node).await;
    let mut process = Registry::with_prefix("process");
    self::process(&mut process, meters.started);
    let own: String = [&now, &meters.registry, &process].into_iter().map(encoded).collect();
    // What identify counts is not recorded: strangers could choose the labels.
    let host = encoded(&meters.host);
    let host = host.split_inclusive('\n').filter(|line| !line.contains("libp2p_identify_"));
    Ok(own + &host.collect::<String>() + "# EOF\n")
}

fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    encode_registry(&mut text, registry).expect("writing to memory does not fail");
    text
}

fn mesh(registry: &mut Registry, figures: &Figures) {
    let Figures { status, peers, tracks } = figures;
    let states = Family::<Label, Gauge>::default();
    for (state, count) in peers {
        states.get_or_create(&[("state", state)]).set(integer(*count));
    }
    registry.register("peers", "Other peers known, by state", states);
    registry.register("links", "Peers linked directly", ConstGauge::new(integer(status.links)));
    let (offered, used) = (status.capacity, status.capacity.saturating_sub(status.slots_free));
    registry.register(
        "slots_offered",
        "Slots for children offered over all tracks",
        ConstGauge::new(i64::from(offered)),
    );
    registry.register("slots_used", "Slots taken by children, or kept for one", ConstGauge::new(i64::from(used)));
    registry.register("tracks", "Tracks that this node publishes or follows", ConstGauge::new(integer(tracks.len())));

    let mut gauges = Tracks { registry, tracks };
    gauges.gauge("attached", "Whether objects can come: 1 or 0", None, |here| {
        Some(f64::from(u8::from(here.depth.is_some())))
    });
    gauges.gauge("depth", "Distance from the origin", None, |here| here.depth.map(f64::from));
    gauges.gauge("children", "Peers that this node feeds", None, |here| Some(here.children.len() as f64));
    gauges.gauge("subscribers", "Local subscribers", None, |here| Some(here.subscribers as f64));
    gauges.gauge("ring", "Bytes kept to feed from, headers included", Some(Unit::Bytes), |here| {
        Some(here.ring_bytes as f64)
    });
    gauges.share("offload_intended", "Share of all children that peers other than this origin are to feed", 0);
    gauges.share("offload_measured", "Share of all forwarded bytes that peers other than this origin forwarded", 1);
    gauges.counter("received_objects", "Objects received or published", None, |here| here.objects);
    gauges.counter("received", "Payload bytes received or published", Some(Unit::Bytes), |here| here.bytes);
    gauges.counter("sent_objects", "Objects sent, each counted for every child", None, |here| here.sent_objects);
    gauges.counter("sent", "Payload bytes sent, counted for every child", Some(Unit::Bytes), |here| here.sent_bytes);
    gauges.counter("duplicate_objects", "Objects that came again", None, |here| here.duplicates);
    gauges.counter("missing_objects", "Objects that no ring in reach held any more", None, |here| here.missing);
}

/// Figures that every track has.
struct Tracks<'a> {
    registry: &'a mut Registry,
    tracks: &'a [TrackFigures],
}

type TrackLabel = [(&'static str, String); 1];

impl Tracks<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl Fn(&TrackHere) -> Option<f64>) {
        self.gauges(name, help, unit, |figures| figures.track.here.as_ref().and_then(&value));
    }

    fn share(&mut self, name: &str, help: &str, which: usize) {
        self.gauges(name, help, Some(Unit::Other("ratio".to_owned())), |figures| figures.offload[which]);
    }

    fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl Fn(&TrackFigures) -> Option<f64>) {
        let family = Family::<TrackLabel, Gauge<f64, AtomicU64>>::default();
        for figures in self.tracks {
            if let Some(value) = value(figures) {
                family.get_or_create(&label(figures)).set(value);
            }
        }
        self.register(name, help, unit, family);
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: impl Fn(&TrackHere) -> u64) {
        let family = Family::<TrackLabel, Counter>::default();
        for figures in self.tracks {
            if let Some(here) = &figures.track.here {
                family.get_or_create(&label(figures)).inc_by(value(here));
            }
        }
        self.register(name, help, unit, family);
    }

    fn register(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: impl prometheus_client::registry::Metric,
    ) {
        let name = format!("track_{name}");
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }
}

fn label(figures: &TrackFigures) -> TrackLabel {
    [("track", figures.track.track.clone())]
}

async fn library(registry: &mut Registry, node: &Node) {
    let Some(library) = node.library() else { return };
    let (Ok(view), Ok(jobs)) = (library.view().await, library.jobs().await) else { return };
    let packages = view.roots.iter().map(|root| root.packages).sum();
    registry.register(
        "library_packages",
        "Complete packages in the folders shared",
        ConstGauge::new(integer(packages)),
    );
    let (states, rate) = (Family::<Label, Gauge>::default(), jobs.jobs.iter().map(|job| job.rate).sum::<f64>());
    for job in &jobs.jobs {
        let known = ["running", "waiting", "done", "failed", "cancelled"];
        let state = known.into_iter().find(|state| *state == job.state).unwrap_or("other");
        states.get_or_create(&[("state", state)]).inc();
    }
    registry.register("library_jobs", "Jobs that run and the last that ended, by state", states);
    let help = "Bytes per second that jobs get through at present";
    registry.register("library_bytes_per_second", help, ConstGauge::new(rate));
}

/// What every process tells. What the system does not say is left out.
fn process(registry: &mut Registry, started: SystemTime) {
    let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    registry.register("start_time_seconds", "When it started, since 1970", ConstGauge::new(since));
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    registry.register_with_unit("cpu", "Processor time used", Unit::Seconds, ConstCounter::new(cpu));
    if let Some(bytes) = resident_bytes() {
        registry.register("resident_memory_bytes", "Memory in use", ConstGauge::new(bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        registry.register("open_fds", "Open files", ConstGauge::new(integer(open.count())));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        registry.register("max_fds", "Most files that may be open", ConstGauge::new(limit));
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
