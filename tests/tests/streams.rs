//! Typed streams between real nodes over real sockets.

mod common;

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use banyan_node::{
    Node, StreamHandle,
    streams::{
        CloseBehavior, OpenError, Reliability, StreamConfig, StreamId, TrySendError, WINDOW_BYTES, stream_id_from_key,
    },
};
use bytes::Bytes;
use common::{eventually, mesh, within};

/// Two nodes that know each other; the first opens sessions if `smaller`, is asked to otherwise.
async fn two(smaller: bool) -> Vec<Node> {
    let mut nodes = mesh(2, |_, builder| builder).await;
    for node in &nodes {
        eventually("they know each other", async || (node.status().await.ok()?.links == 1).then_some(())).await;
    }
    if (nodes[0].peer_id() < nodes[1].peer_id()) != smaller {
        nodes.swap(0, 1);
    }
    nodes
}

async fn open(from: &Node, to: &Node, id: StreamId, config: StreamConfig) -> StreamHandle {
    eventually("the peer is known", async || match from.peer(to.peer_id()).open_stream(id, config).await {
        Ok(stream) => Some(stream),
        Err(OpenError::NotConnected) => None,
        Err(error) => panic!("{error}"),
    })
    .await
}

/// The same id opened at both ends.
async fn both(nodes: &[Node], id: u64, config: StreamConfig) -> (StreamHandle, StreamHandle) {
    let near = open(&nodes[0], &nodes[1], StreamId(id), config).await;
    (near, open(&nodes[1], &nodes[0], StreamId(id), config).await)
}

async fn read(stream: &StreamHandle) -> Option<Bytes> {
    within("a message", stream.recv()).await.expect("connected").map(|message| message.payload)
}

/// Sends until there is no credit; how many messages went.
fn flood(stream: &StreamHandle, length: usize) -> usize {
    (0..).take_while(|_| stream.try_send(vec![0; length].into()).is_ok()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_work_whoever_opens_them_first_b1_b2() {
    for smaller in [true, false] {
        let nodes = two(smaller).await;
        let id = stream_id_from_key("greetings");
        let near = open(&nodes[0], &nodes[1], id, StreamConfig::default()).await;
        let sizes = [0, 1, 1000, 40_000, 3_000_000];
        let sender = near.clone();
        let sending = tokio::spawn(async move {
            for (at, size) in sizes.into_iter().enumerate() {
                sender.send(vec![at as u8; size].into()).await.expect("sends");
            }
        });
        let far = within("it comes", nodes[1].accept_stream()).await.expect("runs");
        assert_eq!((far.id(), far.peer_id()), (id, nodes[0].peer_id()));
        for (at, size) in sizes.into_iter().enumerate() {
            let message = within("a message", far.recv()).await.expect("connected").expect("open");
            assert_eq!((message.seq, message.payload.len()), (at as u64, size));
            assert!(message.payload.iter().all(|byte| *byte == at as u8));
        }
        sending.await.expect("sent");
        far.send(Bytes::from_static(b"thanks")).await.expect("sends back");
        assert_eq!(read(&near).await, Some(Bytes::from_static(b"thanks")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_may_open_at_once_b1() {
    for round in 0..10 {
        let nodes = two(round % 2 == 0).await;
        let config = StreamConfig::default();
        let (near, far) = within("both open", async {
            tokio::join!(
                open(&nodes[0], &nodes[1], StreamId(1), config),
                open(&nodes[1], &nodes[0], StreamId(1), config)
            )
        })
        .await;
        near.send(Bytes::from_static(b"a")).await.expect("sends");
        far.send(Bytes::from_static(b"b")).await.expect("sends");
        assert_eq!((read(&near).await, read(&far).await), (Some("b".into()), Some("a".into())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_again_is_the_same_stream_and_dropping_closes_nothing_b1() {
    let nodes = two(true).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
    near.send(Bytes::from_static(b"one")).await.expect("sends");
    drop(near);
    let again = open(&nodes[0], &nodes[1], StreamId(1), StreamConfig::default().fixed_window(5)).await;
    assert_eq!(again.stats().expect("is open").window, WINDOW_BYTES, "the first configuration stays");
    again.send(Bytes::from_static(b"two")).await.expect("sends");
    assert_eq!((read(&far).await, read(&far).await), (Some("one".into()), Some("two".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_peer_b1() {
    for smaller in [true, false] {
        let mut nodes = two(smaller).await;
        let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
        far.send(Bytes::from_static(b"last words")).await.expect("sends");
        eventually("they arrive", async || (near.stats()?.rx_pending == 1).then_some(())).await;
        let waiting = near.clone();
        let full = tokio::spawn(async move {
            loop {
                if let Err(error) = waiting.send(vec![0; 1000].into()).await {
                    return error;
                }
            }
        });
        nodes.remove(1).shutdown().await;
        assert_eq!(within("it is told", full).await.expect("no panic"), TrySendError::NotConnected);
        assert_eq!(near.try_send(Bytes::new()), Err(TrySendError::NotConnected));
        assert_eq!(read(&near).await, Some("last words".into()));
        assert_eq!(near.recv().await, Err(TrySendError::NotConnected));
        assert_eq!(far.try_send(Bytes::new()), Err(TrySendError::NotConnected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_a_stranger_or_oneself_b1() {
    let nodes = two(true).await;
    let stranger = banyan_node::PeerId::from_key_bytes([7; 32]);
    for id in [stranger, nodes[0].peer_id()] {
        let opened = nodes[0].peer(id).open_stream(StreamId(1), StreamConfig::default()).await;
        assert_eq!(opened.map(|_| ()), Err(OpenError::NotConnected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_stalls_the_sender_and_costs_a_window_b3_b4() {
    let nodes = two(true).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
    let (sent, sender) = (Arc::new(AtomicU64::new(0)), near.clone());
    let counter = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        while sender.send(vec![0; 1000].into()).await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let window = u64::from(WINDOW_BYTES);
    let most = window / 1011;
    eventually("the window is full", async || (far.stats()?.rx_pending as u64 == most).then_some(())).await;
    // A sibling goes to and fro: whatever the sender could still send would have come by then.
    let (ping, pong) = both(&nodes, 2, StreamConfig::default()).await;
    for _ in 0..100 {
        ping.send(Bytes::new()).await.expect("sends");
        read(&pong).await;
        pong.send(Bytes::new()).await.expect("sends");
        read(&ping).await;
    }
    let stats = far.stats().expect("is open");
    assert_eq!((sent.load(Ordering::Relaxed), stats.rx_pending as u64), (most, most));
    assert!(stats.rx_pending_bytes <= window && stats.rx_window == window, "{stats:?}");
    // It goes on as soon as somebody reads.
    let mut messages = Vec::new();
    while messages.len() < 1000 {
        within("more", far.recv_many(&mut messages, 100)).await.expect("connected");
    }
    near.close(CloseBehavior::DropAndClose).await.expect("closes");
    sending.await.expect("ends");
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_waits_is_woken_by_credit_and_by_nothing_else_b5() {
    let nodes = two(true).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default().fixed_window(10_000)).await;
    let filled = flood(&near, 989);
    assert_eq!((filled, near.try_send(vec![0; 989].into())), (10, Err(TrySendError::Backpressure)));
    let before = near.stats().expect("is open");
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut sending = pin!(near.send(vec![1; 989].into()));
    assert!(sending.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let (ping, pong) = both(&nodes, 2, StreamConfig::default()).await;
    for _ in 0..50 {
        ping.send(Bytes::new()).await.expect("sends");
        read(&pong).await;
    }
    assert_eq!(counter.0.load(Ordering::Relaxed), 0, "nobody polls while there is no credit");
    read(&far).await;
    eventually("it is woken", async || (counter.0.load(Ordering::Relaxed) == 1).then_some(())).await;
    assert_eq!(sending.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(())));
    assert_eq!(near.stats().expect("is open").tx_seq, before.tx_seq + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_send_costs_nothing_b3() {
    let nodes = two(true).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default().fixed_window(10_000)).await;
    flood(&near, 989);
    for _ in 0..5 {
        let cancelled = tokio::time::timeout(Duration::from_millis(1), near.send(vec![9; 989].into())).await;
        assert!(cancelled.is_err(), "there is no credit");
    }
    for _ in 0..10 {
        assert_eq!(read(&far).await, Some(vec![0; 989].into()));
    }
    eventually("all credit is back", async || (near.stats()?.credit_left == 10_000).then_some(())).await;
    assert_eq!(far.stats().expect("is open").rx_pending, 0, "nothing of the cancelled came");
    assert_eq!(flood(&near, 989), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_stream_and_a_greedy_one_slow_no_sibling_b6() {
    let nodes = two(true).await;
    let (stuck, _never_read) = both(&nodes, 1, StreamConfig::default()).await;
    tokio::spawn(async move { while stuck.send(vec![0; 1000].into()).await.is_ok() {} });
    // Two that are read, with weights 1 and 3, send all they can: each gets its share at least.
    let mut got = Vec::new();
    for (id, weight) in [(2, 1), (3, 3)] {
        let config = StreamConfig { weight, ..StreamConfig::default().fixed_window(4 << 20) };
        let (near, far) = both(&nodes, id, config).await;
        tokio::spawn(async move {
            loop {
                let mut batch: VecDeque<Bytes> = (0..64).map(|_| Bytes::from_static(&[0; 1000])).collect();
                if near.send_all(&mut batch).await.is_err() {
                    return;
                }
            }
        });
        let count = Arc::new(AtomicU64::new(0));
        got.push(Arc::clone(&count));
        tokio::spawn(async move {
            let mut messages = Vec::new();
            while let Ok(read @ 1..) = far.recv_many(&mut messages, 256).await {
                count.fetch_add(read as u64, Ordering::Relaxed);
                messages.clear();
            }
        });
    }
    let count = |at: usize| got[at].load(Ordering::Relaxed);
    eventually("both flow", async || (count(0) > 20_000 && count(1) > 20_000).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_delivers_everything_and_dropping_does_not_b7() {
    let nodes = two(false).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
    let sent = flood(&near, 100);
    within("the close", near.close(CloseBehavior::DrainThenClose)).await.expect("closes");
    assert_eq!(near.try_send(Bytes::new()), Err(TrySendError::NotConnected));
    for _ in 0..sent {
        assert_eq!(read(&far).await, Some(vec![0; 100].into()));
    }
    assert_eq!(read(&far).await, None);
    assert_eq!(far.recv().await, Err(TrySendError::NotConnected));

    let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
    flood(&near, 100);
    within("the close", near.close(CloseBehavior::DropAndClose)).await.expect("closes");
    assert_eq!(read(&far).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_can_be_polled_b8() {
    let nodes = two(true).await;
    let (near, far) = both(&nodes, 1, StreamConfig::default()).await;
    let sent = flood(&near, 1000) as u64;
    eventually("all has come", async || (far.stats()?.rx_seq == sent).then_some(())).await;
    let (tx, rx) = (near.stats().expect("is open"), far.stats().expect("is open"));
    assert_eq!((tx.tx_seq, tx.backpressure_events, rx.rx_pending as u64), (sent, 1, sent));
    assert_eq!(tx.credit_left + rx.rx_pending_bytes, u64::from(WINDOW_BYTES));
    let mut messages = Vec::new();
    far.recv_many(&mut messages, usize::MAX).await.expect("connected");
    eventually("grants come", async || (near.stats()?.grants_received > 0).then_some(())).await;
    assert!(far.stats().expect("is open").grants_sent >= near.stats().expect("is open").grants_received);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_id_begins_anew_b9() {
    let nodes = two(false).await;
    let config = StreamConfig { reliability: Reliability::FireAndForget, ..StreamConfig::default() };
    let mut old: Vec<StreamHandle> = Vec::new();
    for life in 0..20u8 {
        let (near, far) = both(&nodes, 1, config).await;
        assert!(old.iter().all(|handle| handle.try_send(Bytes::new()) == Err(TrySendError::NotConnected)));
        assert_eq!(near.stats().expect("is open").credit_left, u64::from(WINDOW_BYTES));
        near.send(vec![life].into()).await.expect("sends");
        let first = within("a message", far.recv()).await.expect("connected").expect("open");
        assert_eq!((first.seq, &first.payload[..]), (0, &[life][..]));
        flood(&near, 1000);
        near.close(CloseBehavior::DropAndClose).await.expect("closes");
        old.extend([near, far]);
    }
}
