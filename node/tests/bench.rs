//! `banyan bench` as users run it: what it prints, and that its numbers agree.

mod common;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(100);

fn start(line: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.arg("bench").args(line.split_whitespace()).args(["--format", "json"]);
    for variable in ["BANYAN_SOCKET", "BANYAN_MESH"] {
        command.env_remove(variable);
    }
    let pipes = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.kill_on_drop(true).spawn().expect("the program starts")
}

async fn end(child: Child) -> (Option<i32>, Output) {
    let output = timeout(LIMIT, child.wait_with_output()).await.expect("it ends in time").expect("it ends");
    (output.status.code(), output)
}

/// What a bench printed that ended well.
async fn results(child: Child) -> Value {
    let (code, output) = end(child).await;
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mut json: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(json["schema"], "banyan.bench/v1");
    json["data"].take()
}

fn number(data: &Value, key: &str) -> f64 {
    data[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {data}"))
}

fn assert_latency(data: &Value) {
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| number(&data["latency_ms"], key));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{data}");
}

/// Waits until the node has a part in track `b`.
async fn until(served: &Served, what: &str) {
    let look = async {
        loop {
            let tracks = served.node.tracks().await.expect("the node runs").tracks;
            let follows = tracks.iter().any(|track| track.track == "b" && track.here.is_some());
            if follows {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

#[tokio::test]
async fn fanout_reaches_everyone_and_says_what_it_cost() {
    let data = results(start("fanout --nodes 3 --size 64 --rate 200 --seconds 0.5")).await;
    assert_eq!((&data["bench"], &data["mode"]), (&"fanout".into(), &"reliable".into()));
    let sent = number(&data, "sent");
    assert!(0.0 < sent && sent <= 100.0, "{data}");
    assert_eq!(number(&data, "received"), 2.0 * sent);
    assert_eq!((number(&data, "lost"), number(&data, "doubled")), (0.0, 0.0));
    assert!(number(&data, "depth") >= 1.0 && number(&data, "cpu_s_per_gib") > 0.0, "{data}");
    assert_eq!(data["interrupted"], false);
    assert_latency(&data);
}

#[tokio::test]
async fn fanout_without_a_rate_is_held_up_by_the_track_and_loses_nothing() {
    let data = results(start("fanout --nodes 3 --size 16KiB --seconds 0.3")).await;
    assert_eq!(number(&data, "received"), 2.0 * number(&data, "sent"));
    assert!(data["rate"].is_null() && number(&data, "mb_per_s_all") > number(&data, "mb_per_s"), "{data}");
}

#[tokio::test]
async fn subscribe_counts_what_publish_sends_through_a_live_node() {
    let served = Served::start().await;
    let subscribe = start(&format!("subscribe b --seconds 60 --socket {}", served.path.display()));
    until(&served, "a subscription").await;
    let publish = start(&format!("publish b --size 100 --rate 100 --seconds 1 --socket {}", served.path.display()));
    let (published, received) = tokio::join!(results(publish), results(subscribe));
    assert_eq!((&published["bench"], &received["bench"]), (&"publish".into(), &"subscribe".into()));
    let sent = number(&published, "sent");
    assert!(0.0 < sent && sent <= 100.0, "{published}");
    assert_eq!((number(&received, "received"), number(&received, "bytes")), (sent, 100.0 * sent));
    assert_eq!((number(&received, "lost"), number(&received, "doubled")), (0.0, 0.0));
    assert_latency(&received);
    served.stop().await;
}

#[tokio::test]
async fn signal_ends_a_bench_early_with_its_results() {
    let served = Served::start().await;
    let publish = start(&format!("publish b --size 1KiB --rate 50 --seconds 3600 --socket {}", served.path.display()));
    until(&served, "a publication").await;
    let subscribe = start(&format!("subscribe b --seconds 0.3 --socket {}", served.path.display()));
    let received = results(subscribe).await;
    assert!(number(&received, "seconds") >= 0.3 && number(&received, "received") > 0.0, "{received}");
    let id = publish.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("it runs").success());
    let published = results(publish).await;
    assert_eq!(published["interrupted"], true);
    assert!(number(&published, "sent") > 0.0 && number(&published, "seconds") < 3600.0, "{published}");
    served.stop().await;
}

#[tokio::test]
async fn other_tracks_and_silence_have_their_exit_codes() {
    let served = Served::start().await;
    let (code, output) =
        end(start(&format!("subscribe silent --timeout 0.2 --socket {}", served.path.display()))).await;
    assert_eq!(code, Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    let subscribe = start(&format!("subscribe b --socket {}", served.path.display()));
    until(&served, "a subscription").await;
    let mut publisher = served.node.publish("b".parse().expect("valid"), Default::default()).await.expect("publishes");
    publisher.send("something else".into()).await.expect("it is sent");
    let (code, output) = end(subscribe).await;
    assert_eq!(code, Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other objects"));
    publisher.finish().await.expect("it ends");
    let (code, output) = end(start(&format!("subscribe b --timeout 0.2 --socket {}", served.path.display()))).await;
    assert_eq!(code, Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    served.stop().await;
}
