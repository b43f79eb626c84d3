//! What nodes say of why things are as they are, over their sockets.

mod common;

use std::time::Duration;

use banyan_node::{From, Item, PublishOptions, SubscribeOptions, TrackName};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(30);

/// The status and the whole body of an answer.
async fn request(served: &Served, path: &str, header: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(&served.path).await.expect("the node listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("it ends in time").expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

async fn view(served: &Served, path: &str) -> (u16, Value) {
    let (status, body) = request(served, path, "").await;
    let mut json: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
    (status, json["data"].take())
}

/// Asks again and again until the answer is as it should be.
async fn until(served: &Served, path: &str, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (_, data) = view(served, path).await;
        if is(&data) {
            return data;
        }
        assert!(Instant::now() < deadline, "{path}: {data:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// An origin that feeds one, and two that follow it.
struct Chain {
    nodes: Vec<Served>,
}

impl Chain {
    async fn start() -> Self {
        let label = |name: &str| name.parse().expect("it is a label");
        let origin = Served::start_with(|node| node.label(label("origin")).root_slots(1)).await;
        let address = until(&origin, "/v1/status", |status| status["addresses"][0].is_string()).await["addresses"][0]
            .as_str()
            .expect("it is text")
            .to_owned();
        let mut nodes = vec![origin];
        for name in ["first", "second"] {
            nodes.push(Served::start_with(|node| node.label(label(name)).bootstrap(&address)).await);
        }
        for node in &nodes {
            until(node, "/v1/status", |status| status["peers"] == 2).await;
        }
        Self { nodes }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_is_explained_from_the_loss_to_the_first_object_a9() {
    let mut chain = Chain::start().await;
    let track: TrackName = "cam/1".parse().expect("it is a name");
    let origin = chain.nodes[0].node.clone();
    let mut publisher = origin.publish(track.clone(), PublishOptions::default()).await.expect("it is free");
    let publishing = tokio::spawn(async move {
        while publisher.send(Bytes::from_static(b"x")).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    for node in &chain.nodes[1..] {
        let options = SubscribeOptions { from: From::Latest };
        let mut subscriber = node.node.subscribe(track.clone(), options).await.expect("there is room");
        tokio::spawn(async move { while !matches!(subscriber.next().await, Item::End(_)) {} });
    }
    let mut below = None;
    for (index, node) in chain.nodes.iter().enumerate().skip(1) {
        let why = until(node, "/v1/why/cam/1", |why| why["state"] == "attached").await;
        assert_eq!((&why["kind"], &why["origin"]["label"]), (&Value::from("track"), &Value::from("origin")));
        assert!(why["moves"].as_array().is_some_and(|moves| moves.iter().any(|m| m["event"] == "parent_changed")));
        assert!(why["candidates"].as_array().is_some_and(|all| all.iter().any(|one| one["verdict"] == "parent")));
        if why["depth"] == 2 {
            below = Some(index);
        }
    }
    let below = below.expect("the origin feeds only one");
    let relay = chain.nodes.swap_remove(3 - below);
    let child = chain.nodes.pop().expect("it is the last that is left beside the origin");
    let name = view(&relay, "/v1/status").await.1["label"].clone();
    relay.stop().await;
    let log = until(&child, "/v1/repairs", |log| log["repairs"][0]["state"] == "repaired").await;
    let repair = &log["repairs"][0];
    assert_eq!((&repair["from"]["label"], &repair["to"]["label"]), (&name, &Value::from("origin")), "{repair:#}");
    assert_eq!(repair["missing"], 0, "{repair:#}");
    for field in ["attach_ms", "gap_ms", "tries", "replayed", "unix_ms"] {
        assert!(repair[field].is_number(), "{field}: {repair:#}");
    }
    let (_, peer) = view(&child, &format!("/v1/why/{}", name.as_str().expect("it has a label"))).await;
    assert_eq!((&peer["kind"], &peer["link"]), (&Value::from("peer"), &Value::Null), "{peer:#}");
    publishing.abort();
    child.stop().await;
    for node in chain.nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_named_by_id_part_of_it_or_label() {
    let chain = Chain::start().await;
    let (_, peer) = view(&chain.nodes[0], "/v1/peers/first").await;
    let id = peer["peer_id"].as_str().expect("it is text").to_owned();
    for name in [&id, &id[id.len() - 8..], &id[..id.len() - 1]] {
        assert_eq!(view(&chain.nodes[1], &format!("/v1/peers/{name}")).await.1["peer_id"], id.as_str(), "{name}");
    }
    assert_eq!(view(&chain.nodes[1], "/v1/peers/first").await.1["me"], true);
    for (path, status, code) in [
        ("/v1/peers/nobody", 404, "unknown_peer"),
        ("/v1/peers/12D", 400, "ambiguous"),
        ("/v1/why/nobody", 404, "not_found"),
        ("/v1/why/track:first", 404, "not_found"),
        ("/v1/why/a%00", 400, "invalid_argument"),
        ("/v1/repairs?x=1", 400, "invalid_argument"),
    ] {
        let (found, error) = view(&chain.nodes[0], path).await;
        assert_eq!((found, error["code"].as_str()), (status, Some(code)), "{path}: {error}");
        assert!(error["hint"].is_string(), "{path}: {error}");
    }
    for node in chain.nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reader_sees_what_happened_and_goes_on_where_it_was() {
    let chain = Chain::start().await;
    let ids =
        |body: &str| -> Vec<u64> { body.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect() };
    let all = ids(&request(&chain.nodes[0], "/v1/events?since=all&follow=false", "").await.1);
    assert!(all.len() >= 4 && all.iter().copied().eq(0..all.len() as u64), "{all:?}");
    let later = ids(&request(&chain.nodes[0], "/v1/events?follow=false", "last-event-id: 1\r\n").await.1);
    assert_eq!(later[..2], [2, 3]);
    for node in chain.nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_alone_has_repaired_nothing() {
    let served = Served::start().await;
    assert_eq!(view(&served, "/v1/repairs").await, (200, serde_json::json!({"total": 0, "repairs": []})));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_goes_to_the_peer_and_back() {
    let mut chain = Chain::start().await;
    let (status, ping) = view(&chain.nodes[1], "/v1/peers/second/ping").await;
    assert_eq!((status, &ping["peer"]["label"]), (200, &Value::from("second")), "{ping}");
    assert_eq!(ping["version"], env!("CARGO_PKG_VERSION"));
    let number = |name: &str| ping[name].as_f64().unwrap_or_else(|| panic!("{name}: {ping}"));
    assert!(number("rtt_ms") > 0.0 && number("clock_ahead_ms").abs() <= number("rtt_ms") + 2.0, "{ping}");
    let (status, error) = view(&chain.nodes[1], "/v1/peers/first/ping").await;
    assert_eq!((status, error["code"].as_str()), (504, Some("timeout")), "nobody pings itself: {error}");
    chain.nodes.pop().expect("the second").stop().await;
    let (status, error) = view(&chain.nodes[1], "/v1/peers/second/ping").await;
    assert_eq!((status, error["code"].as_str()), (504, Some("timeout")), "it is gone: {error}");
    for node in chain.nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_it_is_so_or_says_what_lacks() {
    let alone = Served::start().await;
    let (_, waited) = view(&alone, "/v1/wait/ready").await;
    assert_eq!((&waited["met"], &waited["missing"]), (&Value::from(true), &Value::Null));
    let (_, waited) = view(&alone, "/v1/wait/peers=1?timeout=0.1").await;
    assert_eq!((&waited["met"], &waited["missing"]), (&Value::from(false), &Value::from("0 of 1 peers are known")));
    for path in ["/v1/wait/peace", "/v1/wait/ready?timeout=0", "/v1/wait/track=a..b"] {
        assert_eq!(view(&alone, path).await.0, 400, "{path}");
    }
    let waiting = view(&alone, "/v1/wait/track=cam%2F1");
    let publishing = async {
        let publisher = alone.node.publish("cam/1".parse().expect("a name"), PublishOptions::default()).await;
        // Lives until both are done.
        publisher.expect("it is free")
    };
    let ((_, waited), _publisher) = tokio::join!(waiting, publishing);
    assert_eq!(waited["met"], true, "{waited}");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkup_looks_at_the_node_and_asks_its_peers() {
    let chain = Chain::start().await;
    let (_, checkup) = view(&chain.nodes[0], "/v1/doctor").await;
    let level = |check: &str| {
        let findings = checkup["findings"].as_array().expect("a list");
        findings.iter().find(|finding| finding["check"] == check).map(|finding| finding["level"].clone())
    };
    for check in ["node", "peers", "clock", "version", "reachable", "mesh", "identity", "tracks", "open_files"] {
        assert_eq!(level(check), Some(Value::from("ok")), "{check}: {checkup:#}");
    }
    for node in chain.nodes {
        node.stop().await;
    }
}
