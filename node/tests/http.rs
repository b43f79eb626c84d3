//! The page, health and metrics, over TCP and over the unix socket.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use banyan_node::{
    Item, Node, PublishOptions, SubscribeOptions,
    api::{self, http::Http},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A node's port for browsers.
struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Port {
    async fn open(node: &Node) -> Self {
        let http = Http::bind(([127, 0, 0, 1], 0).into()).await.expect("a port is free");
        let (address, stop) = (http.address(), CancellationToken::new());
        let server = tokio::spawn(api::serve_http(node.clone(), http, stop.clone().cancelled_owned()));
        Self { address, stop, server }
    }

    async fn ask(&self, line: &str, headers: &str) -> (u16, String, String) {
        ask(TcpStream::connect(self.address).await.expect("it listens"), line, headers).await
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path}"), &format!("host: {}\r\n", self.address)).await
    }

    async fn close(self) {
        self.stop.cancel();
        timeout(LIMIT, self.server).await.expect("it stops in time").expect("it does not panic");
    }
}

/// Status, head and body of an answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str, headers: &str) -> (u16, String, String) {
    let request = format!("{line} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("it ends in time").expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn code(body: &str) -> String {
    let view: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert!(view["data"]["hint"].is_string(), "{body}");
    view["data"]["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn page_needs_nothing_but_the_node_e3() {
    let served = Served::start().await;
    let port = Port::open(&served.node).await;
    let (status, head, page) = port.get("/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
    assert!(head.contains("content-type: text/html") && head.contains("x-content-type-options: nosniff"), "{head}");
    let parts = page.split(['"', '\'']).filter(|part| part.starts_with("/page/"));
    let parts: BTreeSet<&str> = parts.collect();
    assert_eq!(parts.len(), 3, "script, style, icon: {parts:?}");
    let mut wanted: Vec<String> = parts.into_iter().map(str::to_owned).collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = wanted.pop() {
        let (status, _, text) = port.get(&path).await;
        assert_eq!(status, 200, "{path}");
        let foreign =
            |text: &str| text.contains("https://") || text.replace("http://www.w3.org/", "").contains("http://");
        assert!(!foreign(&text) && !foreign(&page), "{path} asks others");
        let imports = text.split('\'').filter_map(|part| part.strip_prefix("./")).filter(|part| part.ends_with(".js"));
        wanted.extend(imports.map(|part| format!("/page/{part}")).filter(|path| seen.insert(path.clone())));
    }
    assert!(seen.len() >= 4, "{seen:?}");
    let unix = UnixStream::connect(&served.path).await.expect("the node listens");
    assert_eq!(ask(unix, "GET /", "host: banyan\r\n").await.2, page);
    port.close().await;
    served.stop().await;
}

#[tokio::test]
async fn port_shows_and_changes_nothing_e3() {
    let served = Served::start().await;
    let port = Port::open(&served.node).await;
    let own = format!("host: {}\r\n", port.address);
    let (status, head, _) = port.ask("GET /v1/status", &own).await;
    assert_eq!(status, 200);
    assert!(head.contains("cross-origin-resource-policy: same-origin"), "{head}");
    assert!(!head.contains("access-control-allow"), "{head}");
    for (line, headers, wanted) in [
        ("GET /v1/status", "host: evil.example\r\n".to_owned(), (403, "foreign_host")),
        ("GET /v1/status", format!("{own}origin: http://evil.example\r\n"), (403, "foreign_origin")),
        ("GET /metrics", format!("{own}sec-fetch-site: cross-site\r\n"), (403, "foreign_origin")),
        ("PUT /v1/tracks/a/publish", format!("{own}content-length: 0\r\n"), (405, "read_only")),
        ("POST /v1/library/get", format!("{own}content-length: 0\r\n"), (405, "read_only")),
        ("GET /v1/log/lines", own.clone(), (403, "socket_only")),
        ("GET /nothing", own.clone(), (404, "unknown_route")),
        ("GET /readyz?min_peers=x", own.clone(), (400, "invalid_argument")),
        ("GET /livez?x=1", own.clone(), (400, "invalid_argument")),
    ] {
        let (status, head, body) = port.ask(line, &headers).await;
        assert_eq!((status, code(&body).as_str()), wanted, "{line}: {head}");
    }
    port.close().await;
    served.stop().await;
}

#[tokio::test]
async fn health_follows_the_node() {
    let served = Served::start().await;
    let port = Port::open(&served.node).await;
    let (status, _, body) = port.get("/livez").await;
    assert_eq!(status, 200, "{body}");
    eventually("it listens", async || port.get("/readyz").await.0 == 200).await;
    let (status, _, body) = port.get("/readyz?min_peers=1").await;
    assert_eq!((status, code(&body).as_str()), (503, "not_ready"));
    let address = served.node.status().await.expect("it runs").addresses[0].clone();
    let other = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").bootstrap(address).start().await;
    eventually("it knows a peer", async || port.get("/readyz?min_peers=1").await.0 == 200).await;
    other.expect("it starts").shutdown().await;
    served.node.shutdown().await;
    let (status, _, body) = port.get("/livez").await;
    assert_eq!((status, code(&body).as_str()), (503, "shutting_down"));
    port.close().await;
}

async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !look().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Metrics as a scraper reads them: samples by name and labels, and what their families are.
struct Metrics {
    samples: BTreeMap<String, f64>,
    families: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let mut metrics = Self { samples: BTreeMap::new(), families: BTreeMap::new(), units: BTreeMap::new() };
        let text = text.strip_suffix("# EOF\n").expect("it ends as it must");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(metrics.families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is there twice");
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').expect("a name and a unit");
                metrics.units.insert(name.to_owned(), unit.to_owned());
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
                assert!(metrics.samples.insert(name.to_owned(), value).is_none(), "{name} is there twice");
            }
        }
        metrics
    }

    async fn read(port: &Port) -> Self {
        let (status, head, body) = port.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
        Self::parse(&body)
    }

    fn value(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", self.samples.keys()))
    }

    /// Names of samples, without labels.
    fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|name| name.split('{').next().expect("there is a first part")).collect()
    }
}

/// A node that has published to another one, and its metrics before and after.
async fn measured() -> (Metrics, Metrics) {
    let served = Served::start().await;
    let port = Port::open(&served.node).await;
    eventually("it listens", async || port.get("/readyz").await.0 == 200).await;
    let address = served.node.status().await.expect("it runs").addresses[0].clone();
    let other = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").bootstrap(address).start().await;
    let other = other.expect("it starts");
    eventually("it knows a peer", async || port.get("/readyz?min_peers=1").await.0 == 200).await;
    let track = || "cam/1".parse().expect("it is a name");
    let mut publisher = served.node.publish(track(), PublishOptions::default()).await.expect("it is free");
    let mut subscriber = other.subscribe(track(), SubscribeOptions::default()).await.expect("it runs");
    publisher.send("first".into()).await.expect("it is taken");
    let before = Metrics::read(&port).await;
    let feeding = || async { Metrics::read(&port).await.value("banyan_track_children{track=\"cam/1\"}") };
    eventually("the other is fed", async || feeding().await == 1.0).await;
    for _ in 0..10 {
        publisher.send(vec![7; 100].into()).await.expect("it is taken");
    }
    let mut got = 0;
    while got < 10 {
        let item = timeout(LIMIT, subscriber.next()).await.expect("it comes in time");
        got += usize::from(matches!(item, Item::Object { payload, .. } if payload.len() == 100));
    }
    // Rows and reports tell of the child a little later.
    eventually("all is counted", async || {
        let now = Metrics::read(&port).await.samples;
        let known = |name: &str| now.get(&format!("banyan_track_{name}{{track=\"cam/1\"}}")).copied();
        let told = known("offload_intended_ratio").is_some() && known("offload_measured_ratio").is_some();
        told && known("sent_bytes_total") >= Some(1000.0)
    })
    .await;
    let after = Metrics::read(&port).await;
    other.shutdown().await;
    port.close().await;
    served.stop().await;
    (before, after)
}

#[tokio::test]
async fn metrics_are_well_named_and_follow_a_stream() {
    let (before, after) = measured().await;
    for (family, kind) in &after.families {
        let known = ["banyan_", "process_", "libp2p_"].iter().any(|prefix| family.starts_with(prefix));
        assert!(known && !family.ends_with("_total"), "{family}");
        let of_family = |name: &str| match kind.as_str() {
            "counter" => name == format!("{family}_total"),
            "info" => name == format!("{family}_info"),
            "histogram" => ["_sum", "_count", "_bucket"].iter().any(|end| name == format!("{family}{end}")),
            _ => name == family,
        };
        assert!(after.names().into_iter().any(of_family), "{family} of type {kind} has no samples");
    }
    for (family, unit) in &after.units {
        assert!(family.ends_with(&format!("_{unit}")), "{family} is in {unit}");
        assert!(["seconds", "bytes", "ratio"].contains(&unit.as_str()), "{unit} is no base unit");
    }
    assert!(after.samples.keys().all(|name| !name.contains("12D3KooW")), "no labels for single peers");
    let grown = |name: &str| after.value(name) - before.samples.get(name).copied().unwrap_or_default();
    assert_eq!(grown("banyan_track_received_objects_total{track=\"cam/1\"}"), 10.0);
    assert_eq!(grown("banyan_track_received_bytes_total{track=\"cam/1\"}"), 1000.0);
    assert!(grown("banyan_track_sent_objects_total{track=\"cam/1\"}") >= 10.0);
    assert!(grown("banyan_loop_turn_seconds_count") > 0.0 && grown("process_cpu_seconds_total") > 0.0);
    assert!(grown("banyan_control_bytes_total{direction=\"in\",kind=\"gossip\"}") > 0.0);
    assert!(grown("banyan_control_messages_total{direction=\"out\",kind=\"tree\"}") > 0.0);
    assert_eq!(grown("banyan_events_total{event=\"child_joined\"}"), 1.0);
    let at = |name: &str| after.value(name);
    assert_eq!((at("banyan_peers{state=\"alive\"}"), at("banyan_links")), (1.0, 1.0));
    assert_eq!((at("banyan_slots_used"), at("banyan_track_depth{track=\"cam/1\"}")), (1.0, 0.0));
    assert_eq!(at("banyan_track_offload_intended_ratio{track=\"cam/1\"}"), 0.0, "the origin feeds all there are");
    assert!(at("banyan_track_ring_bytes{track=\"cam/1\"}") >= 1005.0);
}

#[tokio::test]
async fn dashboard_and_alerts_use_metrics_that_are_there() {
    let (_, metrics) = measured().await;
    let dashboard = include_str!("../../docs/monitoring/grafana.json");
    serde_json::from_str::<Value>(dashboard).expect("it is JSON");
    let names = metrics.names();
    for (file, text) in [("grafana.json", dashboard), ("alerts.yml", include_str!("../../docs/monitoring/alerts.yml"))]
    {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let used: BTreeSet<&str> =
            words.filter(|word| word.starts_with("banyan_") || word.starts_with("process_")).collect();
        assert!(used.len() > 4, "{file} uses {used:?}");
        for name in used {
            assert!(names.contains(name), "{file} uses {name}, which there is not");
        }
    }
}
