//! The local HTTP API over a real socket, as any HTTP client sees it.

mod common;

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(20);

impl Served {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.expect("the node listens")
    }

    /// Sends a request as it is and reads until the end.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("it is taken");
        let mut answer = Vec::new();
        timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it ends in time").expect("it is answered");
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn request(&self, line: &str, body: &str) -> (u16, String) {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: banyan\r\nte: trailers\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = self.raw(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, body.to_owned())
    }

    async fn view(&self, line: &str, body: &str) -> (u16, String, Value) {
        let (status, body) = self.request(line, body).await;
        let mut json: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{line}: {error}: {body}"));
        let schema = json["schema"].as_str().expect("a schema").to_owned();
        (status, schema, json["data"].take())
    }
}

/// The payload of a chunked body, and its trailers.
fn unchunked(body: &str) -> (String, String) {
    let (mut payload, mut rest) = (String::new(), body);
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(size, 16).expect("it is hexadecimal");
        if size == 0 {
            return (payload, after.to_owned());
        }
        payload.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

#[tokio::test]
async fn views_and_errors_are_enveloped() {
    let served = Served::start().await;
    for (line, status, schema, code) in [
        ("GET /v1/status", 200, "banyan.status/v1", None),
        ("GET /v1/peers", 200, "banyan.peers/v1", None),
        ("GET /v1/tracks", 200, "banyan.tracks/v1", None),
        ("GET /v1/tracks/cam/1/tree", 404, "banyan.error/v1", Some("unknown_track")),
        ("GET /v1/tracks/cam/1/offload", 404, "banyan.error/v1", Some("unknown_track")),
        ("GET /v1/tracks/cam%2F1/tree", 404, "banyan.error/v1", Some("unknown_track")),
        ("GET /v1/library", 409, "banyan.error/v1", Some("no_library")),
        ("GET /v1/library/packages/a", 409, "banyan.error/v1", Some("no_library")),
        ("POST /v1/library/get", 409, "banyan.error/v1", Some("no_library")),
        ("GET /v1/library/", 404, "banyan.error/v1", Some("unknown_route")),
        ("GET /v1/library?x=1", 400, "banyan.error/v1", Some("invalid_argument")),
        ("GET /v1/library/get", 405, "banyan.error/v1", Some("method_not_allowed")),
        ("PUT /v1/library/roots", 405, "banyan.error/v1", Some("method_not_allowed")),
        ("GET /v1", 404, "banyan.error/v1", Some("unknown_route")),
        ("GET /v1/status/", 404, "banyan.error/v1", Some("unknown_route")),
        ("GET /v1/tracks/a", 404, "banyan.error/v1", Some("unknown_route")),
        ("GET /v1/tracks/", 404, "banyan.error/v1", Some("unknown_route")),
        ("GET /v1/status?x=1", 400, "banyan.error/v1", Some("invalid_argument")),
        ("GET /v1/tracks/a..b/tree", 400, "banyan.error/v1", Some("invalid_name")),
        ("GET /v1/tracks/a%ff/tree", 400, "banyan.error/v1", Some("invalid_name")),
        ("GET /v1/tracks/a/subscribe?from=x", 400, "banyan.error/v1", Some("invalid_argument")),
        ("PUT /v1/tracks/a/publish?framing=x", 400, "banyan.error/v1", Some("invalid_argument")),
        ("DELETE /v1/status", 405, "banyan.error/v1", Some("method_not_allowed")),
        ("GET /v1/tracks/a/publish", 405, "banyan.error/v1", Some("method_not_allowed")),
        ("POST /v1/tracks/a/subscribe", 405, "banyan.error/v1", Some("method_not_allowed")),
    ] {
        let (found, found_schema, data) = served.view(line, "").await;
        assert_eq!((found, found_schema.as_str()), (status, schema), "{line}: {data}");
        assert_eq!(data["code"].as_str(), code, "{line}: {data}");
        assert!(code.is_none() || data["hint"].is_string(), "{line}: {data}");
    }
    served.stop().await;
}

#[tokio::test]
async fn what_is_published_is_subscribed_with_its_end_in_the_trailers() {
    let served = Served::start().await;
    let subscribe = |framing: &str, rest: &str| {
        let line = format!("GET /v1/tracks/cam%2F1/subscribe?from=oldest&framing={framing}{rest}");
        let served = &served;
        async move { unchunked(&served.request(&line, "").await.1) }
    };
    let publish = served.view("PUT /v1/tracks/cam/1/publish?framing=lines&mode=reliable", "one\ntwo\n\nlast");
    let ((payload, trailers), (status, schema, published)) = tokio::join!(subscribe("lines", ""), publish);
    assert_eq!((status, schema.as_str()), (200, "banyan.published/v1"));
    assert_eq!((published["objects"].as_u64(), published["bytes"].as_u64()), (Some(4), Some(10)));
    assert_eq!(payload, "one\ntwo\n\nlast\n");
    assert!(trailers.contains("banyan-end: complete\r\n") && trailers.contains("banyan-missing: 0\r\n"), "{trailers}");
    let (payload, _) = subscribe("length", "").await;
    assert!(payload.starts_with("\0\0\0\0\0\0\0\0\0\0\0\x03one\0\0\0\0\0\0\0\x01\0\0\0\x03two"), "{payload:?}");
    assert_eq!(subscribe("bytes", "").await.0, "onetwolast");
    let nothing = served.request("GET /v1/tracks/none/subscribe?timeout=0.2", "").await.1;
    assert!(unchunked(&nothing).1.contains("banyan-end: timeout\r\n"), "{nothing}");
    served.stop().await;
}

#[tokio::test]
async fn track_of_a_client_that_is_gone_ends() {
    let served = Served::start().await;
    let mut publisher = served.connect().await;
    let head = "PUT /v1/tracks/a/publish?framing=lines HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n";
    publisher.write_all(head.as_bytes()).await.expect("it is taken");
    publisher.write_all(b"4\r\none\n\r\n").await.expect("it is taken");
    let deadline = Instant::now() + LIMIT;
    while served.view("GET /v1/tracks/a/tree", "").await.0 != 200 {
        assert!(Instant::now() < deadline, "the track is never published");
        sleep(Duration::from_millis(20)).await;
    }
    let (status, _, error) = served.view("PUT /v1/tracks/a/publish", "x").await;
    assert_eq!((status, error["code"].as_str()), (409, Some("already_published")));
    drop(publisher);
    let (payload, trailers) =
        unchunked(&served.request("GET /v1/tracks/a/subscribe?from=oldest&framing=lines", "").await.1);
    assert_eq!(payload, "one\n");
    assert!(trailers.contains("banyan-end: complete"), "{trailers}");
    served.stop().await;
}

#[tokio::test]
async fn refused_bodies_say_why_and_what_came_before_stands() {
    let served = Served::start().await;
    let (status, _, error) = served.view("PUT /v1/tracks/a/publish?framing=length", "\0\0\0\x01x\0\0\0\x05ab").await;
    assert_eq!((status, error["code"].as_str()), (422, Some("truncated")));
    assert_eq!(error["details"]["objects"], "1");
    let (status, _, error) = served.view("PUT /v1/tracks/b/publish?framing=length", "\x7f\0\0\0x").await;
    assert_eq!((status, error["code"].as_str()), (413, Some("object_too_large")));
    served.stop().await;
}

#[tokio::test]
async fn garbage_and_endless_heads_are_refused() {
    let served = Served::start().await;
    assert!(served.raw(b"\0\xff garbage\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    for (count, status) in [(64, "200"), (65, "431")] {
        // The host and the connection are two of them.
        let headers = "x: y\r\n".repeat(count - 2);
        let many = format!("GET /v1/status HTTP/1.1\r\nhost: b\r\nconnection: close\r\n{headers}\r\n");
        let answer = served.raw(many.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{count}: {answer}");
    }
    let long =
        format!("GET /v1/status HTTP/1.1\r\nhost: b\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(200 * 1024));
    assert!(served.raw(long.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(300_000));
    let answer = served.raw(endless.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(served.view("GET /v1/status", "").await.0, 200);
    served.stop().await;
}

#[tokio::test]
async fn connections_beyond_256_are_told_so_e3() {
    let served = Served::start().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: b\r\n\r\n").await.expect("it is taken");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("it is answered");
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    let (status, _, error) = served.view("GET /v1/status", "").await;
    assert_eq!((status, error["code"].as_str()), (503, Some("too_many_connections")));
    drop(open);
    let deadline = Instant::now() + LIMIT;
    while served.view("GET /v1/status", "").await.0 != 200 {
        assert!(Instant::now() < deadline, "closed connections never make room");
        sleep(Duration::from_millis(20)).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn streams_end_cleanly_when_the_node_shuts_down() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    let head = "GET /v1/tracks/a/subscribe HTTP/1.1\r\nhost: b\r\nte: trailers\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    stream.read_exact(&mut [0; 12]).await.expect("it is answered");
    let mut events = served.connect().await;
    events.write_all(b"GET /v1/events HTTP/1.1\r\nhost: b\r\n\r\n").await.expect("it is taken");
    events.read_exact(&mut [0; 12]).await.expect("it is answered");
    served.stop().await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("it ends cleanly");
    assert!(rest.contains("banyan-end: shutdown"), "{rest}");
    let mut rest = String::new();
    events.read_to_string(&mut rest).await.expect("it ends cleanly");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
}
