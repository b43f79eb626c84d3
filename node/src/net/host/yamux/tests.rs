use std::{future::poll_fn, time::Duration};

use futures::io::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::StreamMuxerExt;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::{
    session::{BACKLOG_MAX, STREAMS_MAX},
    *,
};

type Test = Muxer<Compat<DuplexStream>>;
const BYTES: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a connection that holds so many bytes.
fn pair(buffer: usize) -> (Test, Test) {
    let (a, b) = tokio::io::duplex(buffer);
    (Muxer::new(a.compat(), true), Muxer::new(b.compat(), false))
}

async fn open(muxer: &mut Test) -> Substream<Compat<DuplexStream>> {
    poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("opens")
}

async fn accept(muxer: &mut Test) -> Substream<Compat<DuplexStream>> {
    poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await.expect("comes")
}

/// Bytes that tell where they stand in their stream.
fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at / 251 + at) as u8).collect()
}

/// Writes a stream's worth, in pieces of any size.
async fn send(mut stream: impl AsyncWrite + Unpin) {
    let (mut at, mut piece) = (0, 1);
    while at < BYTES {
        let length = piece.min(BYTES - at);
        stream.write_all(&pattern(at, length)).await.expect("written");
        (at, piece) = (at + length, (piece * 3 + 1) % 700_000);
    }
    stream.close().await.expect("closed");
}

/// Reads it.
async fn receive(mut stream: impl AsyncRead + Unpin) {
    let (mut at, mut buffer) = (0, vec![0; 48 * 1024]);
    loop {
        match stream.read(&mut buffer).await.expect("read") {
            0 => break,
            count => {
                assert!(buffer[..count] == pattern(at, count), "other bytes from {at} on");
                at += count;
            }
        }
    }
    assert_eq!(at, BYTES);
}

/// Tells once all streams have come and the tasks of all are over.
fn tell_if_done(cx: &mut Context<'_>, work: &mut JoinSet<()>, all_came: bool, done: &mpsc::Sender<()>) {
    while let Poll::Ready(Some(result)) = work.poll_join_next(cx) {
        result.expect("stream task");
    }
    if all_came && work.is_empty() {
        let _ = done.try_send(());
    }
}

/// Opens `count` streams that send, and reads all that arrive. The senders fill their streams
/// before the connection is driven, so that it is full when the other end's first ping is read.
/// Tells when all of its streams were sent and all expected ones received, and drives on.
async fn drive(mut muxer: Test, count: usize, done: mpsc::Sender<()>) {
    let mut work = JoinSet::new();
    for _ in 0..count {
        let stream = open(&mut muxer).await;
        work.spawn(send(stream));
    }
    tokio::task::yield_now().await;
    let mut accepted = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Ok(stream)) = muxer.poll_inbound_unpin(cx) {
            accepted += 1;
            work.spawn(receive(stream));
        }
        let _ = muxer.poll_unpin(cx);
        tell_if_done(cx, &mut work, accepted == count, &done);
        Poll::<()>::Pending
    })
    .await;
}

/// The same at an end of the `yamux` crate.
async fn drive_other(io: DuplexStream, mode: yamux::Mode, count: usize, done: mpsc::Sender<()>) {
    let mut connection = yamux::Connection::new(io.compat(), yamux::Config::default(), mode);
    let (mut work, mut accepted, mut opened) = (JoinSet::new(), 0, 0);
    poll_fn(|cx| {
        while opened < count
            && let Poll::Ready(stream) = connection.poll_new_outbound(cx)
        {
            work.spawn(send(stream.expect("opens")));
            opened += 1;
        }
        while let Poll::Ready(Some(Ok(stream))) = connection.poll_next_inbound(cx) {
            accepted += 1;
            work.spawn(receive(stream));
        }
        tell_if_done(cx, &mut work, accepted == count, &done);
        Poll::<()>::Pending
    })
    .await;
}

async fn all_done(mut done: Vec<mpsc::Receiver<()>>) {
    let finished = async {
        for done in &mut done {
            done.recv().await.expect("a muxer's task runs until it is dropped");
        }
    };
    timeout(PATIENCE, finished).await.expect("no deadlock");
}

#[tokio::test]
async fn both_directions_full_at_once_do_not_deadlock() {
    for buffer in [64, 4096, 1024 * 1024] {
        let (a, b) = pair(buffer);
        let (mut both, mut done) = (JoinSet::new(), Vec::new());
        for muxer in [a, b] {
            let (sender, receiver) = mpsc::channel(1);
            both.spawn(drive(muxer, 4, sender));
            done.push(receiver);
        }
        all_done(done).await;
    }
}

#[tokio::test]
async fn it_understands_another_implementation_at_both_ends() {
    for dialled in [true, false] {
        let (a, b) = tokio::io::duplex(256 * 1024);
        let ((one, first), (other, second)) = (mpsc::channel(1), mpsc::channel(1));
        let mode = if dialled { yamux::Mode::Server } else { yamux::Mode::Client };
        let mut both = JoinSet::new();
        both.spawn(drive(Muxer::new(a.compat(), dialled), 4, one));
        both.spawn(drive_other(b, mode, 4, other));
        all_done(vec![first, second]).await;
    }
}

/// A stream whose reader is woken by the socket.
struct Driving(Substream<Compat<DuplexStream>>);

impl AsyncWrite for Driving {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl AsyncRead for Driving {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        driving(|| Pin::new(&mut self.0).poll_read(cx, buffer))
    }
}

/// Both ends of a connection, with a stream on it.
async fn linked() -> ((Test, Driving), (Test, Driving)) {
    let (mut a, mut b) = pair(16 * 1024);
    let mut stream = open(&mut a).await;
    stream.write_all(b"!").await.expect("written");
    stream.flush().await.expect("sent");
    let mut came = accept(&mut b).await;
    came.read_exact(&mut [0]).await.expect("came");
    ((a, Driving(stream)), (b, Driving(came)))
}

/// Sends much while as much comes, says so, and reads on: what was sent need not have left yet.
async fn exchange(stream: Driving, done: oneshot::Sender<()>) {
    let (mut reading, mut writing) = stream.split();
    let send = async {
        writing.write_all(&vec![7; BYTES]).await.expect("written");
        writing.flush().await.expect("flushed");
    };
    let receive = async {
        let mut total = 0;
        let mut buffer = vec![0; 16 * 1024];
        while total < BYTES {
            total += reading.read(&mut buffer).await.expect("read");
        }
    };
    futures::join!(send, receive);
    done.send(()).expect("it is waited for");
    let _ = reading.read(&mut [0]).await;
}

/// The connections' own tasks accept nothing and are polled for what is owed to nobody's stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_drive_their_connection() {
    let ((mut a, stream), (mut b, came)) = linked().await;
    let ((one, other), (first, second)) = (oneshot::channel(), oneshot::channel());
    let ends = [tokio::spawn(exchange(stream, one)), tokio::spawn(exchange(came, first))];
    let tasks = [
        tokio::spawn(async move { poll_fn(|cx| a.poll_unpin(cx)).await.map(drop) }),
        tokio::spawn(async move { poll_fn(|cx| b.poll_unpin(cx)).await.map(drop) }),
    ];
    let done = futures::future::join(other, second);
    let (one, other) = timeout(PATIENCE, done).await.expect("every byte comes");
    one.and(other).expect("both end well");
    ends.iter().for_each(tokio::task::JoinHandle::abort);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_connection_whose_driver_is_gone_wakes_its_own_task() {
    let ((mut a, stream), (mut b, mut came)) = linked().await;
    // The reader waits, and then is gone.
    assert!(futures::poll!(came.read(&mut [0])).is_pending());
    drop((stream, came));
    let mut next = open(&mut a).await;
    let accepted = tokio::spawn(async move {
        let stream = accept(&mut b).await;
        (b, stream)
    });
    tokio::task::yield_now().await;
    next.write_all(b"!").await.expect("written");
    next.flush().await.expect("sent");
    timeout(PATIENCE, accepted).await.expect("is woken").expect("accepts");
}

/// Whoever reads a stream takes in the next one that is opened, and is not who accepts it.
#[tokio::test]
async fn a_stream_that_another_takes_in_is_accepted() {
    let ((mut a, _stream), (mut b, mut came)) = linked().await;
    let accepted = tokio::spawn(async move {
        let stream = accept(&mut b).await;
        (b, stream)
    });
    let reading = tokio::spawn(async move { came.read(&mut [0]).await });
    tokio::task::yield_now().await;
    let mut next = open(&mut a).await;
    next.write_all(b"!").await.expect("written");
    next.flush().await.expect("sent");
    timeout(PATIENCE, accepted).await.expect("it is woken").expect("accepts");
    reading.abort();
}

#[tokio::test]
async fn closing_towards_a_frozen_remote_ends() {
    let (a, _frozen) = tokio::io::duplex(64);
    let mut muxer: Test = Muxer::new(a.compat(), true);
    let mut stream = open(&mut muxer).await;
    stream.write_all(&[0; 10_000]).await.expect("queued");
    let closing = timeout(PATIENCE, poll_fn(|cx| muxer.poll_close_unpin(cx)));
    assert_eq!(closing.await.expect("in time").expect_err("not gracefully").kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn whoever_waits_on_a_stream_learns_that_the_connection_ends() {
    for by_remote in [false, true] {
        let (mut a, mut b) = pair(64 * 1024);
        let mut stream = open(&mut a).await;
        stream.write_all(b"!").await.expect("written");
        stream.flush().await.expect("sent");
        let waiting = tokio::spawn(async move { stream.read(&mut [0]).await });
        let came = accept(&mut b).await;
        tokio::task::yield_now().await;
        if by_remote {
            drop((b, came));
            assert!(timeout(PATIENCE, poll_fn(|cx| a.poll_unpin(cx))).await.expect("in time").is_err());
        } else {
            timeout(PATIENCE, poll_fn(|cx| a.poll_close_unpin(cx))).await.expect("in time").expect("closed");
        }
        timeout(PATIENCE, waiting).await.expect("is woken").expect("no panic").expect_err("nothing came");
    }
}

#[tokio::test]
async fn small_writes_leave_together() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut near: Test = Muxer::new(near.compat(), true);
    let mut stream = open(&mut near).await;
    for _ in 0..3 {
        stream.write_all(b"!").await.expect("written");
    }
    let mut bytes = vec![0; 64 * 1024];
    assert!(futures::poll!(std::pin::pin!(tokio::io::AsyncReadExt::read(&mut far, &mut bytes))).is_pending());
    stream.flush().await.expect("sent");
    let read = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut far, &mut bytes)).await.expect("in time");
    assert_eq!(read.expect("came"), 3 * (header::HEADER_BYTES + 1));
}

/// What was sent before a stream is dropped still comes, and the other end may not go on.
#[tokio::test]
async fn a_dropped_stream_is_reset_after_what_was_sent() {
    let ((mut a, mut stream), (_b, mut came)) = linked().await;
    stream.write_all(b"last").await.expect("written");
    stream.flush().await.expect("sent");
    drop(stream);
    let mut text = Vec::new();
    let read = futures::future::join(came.read_to_end(&mut text), async {
        let _ = futures::poll!(poll_fn(|cx| a.poll_unpin(cx)));
    });
    timeout(PATIENCE, read).await.expect("in time").0.expect("read");
    assert_eq!(text, b"last");
    assert_eq!(came.write(b"more").await.expect_err("nobody reads it").kind(), io::ErrorKind::BrokenPipe);
}

/// Two ends of a connection, of which the first knows no bound of streams.
struct Unbound {
    near: DuplexStream,
    far: Test,
    opened: u32,
}

impl Unbound {
    fn new() -> Self {
        let (near, far) = tokio::io::duplex(1024 * 1024);
        Self { near, far: Muxer::new(far.compat(), false), opened: 0 }
    }

    /// Opens a stream with a byte of data.
    async fn open(&mut self) {
        let header =
            header::Header { kind: header::Kind::Data, flags: header::SYN, stream: 1 + 2 * self.opened, length: 1 };
        self.opened += 1;
        tokio::io::AsyncWriteExt::write_all(&mut self.near, &header.encode()).await.expect("sent");
        tokio::io::AsyncWriteExt::write_all(&mut self.near, b"!").await.expect("sent");
    }

    /// Lets the other end take in everything that has come.
    async fn take_in(&mut self) -> Poll<io::Result<StreamMuxerEvent>> {
        let far = &mut self.far;
        let mut result = Poll::Pending;
        poll_fn(|cx| {
            for _ in 0..10 * STREAMS_MAX {
                if result.is_pending() {
                    result = far.poll_unpin(cx);
                }
            }
            Poll::Ready(())
        })
        .await;
        result
    }

    /// What the other end has sent so far, which is no data.
    async fn answers(&mut self) -> Vec<header::Header> {
        let (mut answers, mut bytes) = (Vec::new(), [0; header::HEADER_BYTES]);
        while let Poll::Ready(read) =
            futures::poll!(std::pin::pin!(tokio::io::AsyncReadExt::read_exact(&mut self.near, &mut bytes)))
        {
            read.expect("whole frames");
            answers.push(header::Header::decode(&bytes).expect("a header"));
        }
        answers
    }
}

proptest::proptest! {
    /// Frames of any kind with any bytes for data: the end that reads them may close, and does nothing else.
    #[test]
    fn nonsense_ends_a_connection_at_most(frames in proptest::collection::vec(nonsense(), 0..60), dialled: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1024 * 1024);
            let mut far: Test = Muxer::new(far.compat(), dialled);
            let _ = tokio::io::AsyncWriteExt::write_all(&mut near, &frames.concat()).await;
            let mut accepted = Vec::new();
            poll_fn(|cx| {
                for _ in 0..100 {
                    accepted.extend(match far.poll_inbound_unpin(cx) {
                        Poll::Ready(Ok(stream)) => Some(stream),
                        _ => None,
                    });
                    let _ = far.poll_unpin(cx);
                }
                Poll::Ready(())
            })
            .await;
            for stream in &mut accepted {
                let _ = futures::poll!(stream.read(&mut [0; 1000]));
                let _ = futures::poll!(stream.write(b"an answer"));
            }
        });
    }
}

/// A header that is nearly right, with some data.
fn nonsense() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let lengths = prop::sample::select(vec![0, 1, 12, 300, 300_000, u32::MAX]);
    (0u8..5, 0u16..16, 0u32..6, lengths, prop::collection::vec(any::<u8>(), 0..400)).prop_map(
        |(kind, flags, stream, length, data)| {
            let header = header::Header { kind: header::Kind::Data, flags, stream, length };
            let mut bytes = header.encode().to_vec();
            bytes[1] = kind;
            bytes.extend(data);
            bytes
        },
    )
}

// Without tokio's budget of a task, which would end before all has come.

#[tokio::test]
async fn streams_that_nobody_accepts_are_bounded_and_one_too_many_is_reset() {
    let test = async {
        let mut ends = Unbound::new();
        for _ in 0..=BACKLOG_MAX {
            ends.open().await;
        }
        assert!(ends.take_in().await.is_pending(), "the connection lives");
        let mut accepted = Vec::new();
        poll_fn(|cx| {
            while let Poll::Ready(stream) = ends.far.poll_inbound_unpin(cx) {
                accepted.push(stream.expect("the connection lives"));
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(accepted.len(), BACKLOG_MAX);
        let answers = ends.answers().await;
        let reset: Vec<_> =
            answers.iter().filter(|header| header.has(header::RST)).map(|header| header.stream).collect();
        assert_eq!(reset, [1 + 2 * BACKLOG_MAX as u32]);
    };
    tokio::task::unconstrained(test).await;
}

#[tokio::test]
async fn a_connection_carries_192_streams_and_who_opens_more_is_told_to_go() {
    let test = async {
        let (mut ends, mut accepted) = (Unbound::new(), Vec::new());
        for _ in 0..STREAMS_MAX {
            ends.open().await;
            accepted.push(accept(&mut ends.far).await);
        }
        assert!(ends.take_in().await.is_pending(), "it lives");
        ends.open().await;
        assert!(matches!(ends.take_in().await, Poll::Ready(Err(_))), "the connection ends");
        assert_eq!(ends.answers().await.last().map(|header| header.kind), Some(header::Kind::GoAway));
    };
    tokio::task::unconstrained(test).await;
}
