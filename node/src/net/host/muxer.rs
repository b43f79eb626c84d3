//! Yamux as the stream muxer of a connection, with large frames.
//!
//! `libp2p-yamux` does not expose the frame size of `yamux` (16 KiB by default); with 128 KiB a
//! hop carries 2–2.5 times as much. Its stream muxer is the model of this one.

use std::{
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use tokio::time::{Sleep, sleep};

use super::{
    driver::{Driven, into_io},
    substream::{Ends, Substream},
    unstick::Unstick,
};

/// Largest frame that is sent.
const FRAME_BYTES: usize = 128 * 1024;
/// Most streams of a connection: the data streams of both directions, and some of libp2p's own.
const STREAMS_MAX: usize = 192;
/// Receive windows of a connection, in all: each stream's starts at 256 KiB (48 MiB for all of them)
/// and may grow with what the path needs. The worst case of a connection's memory, reached only
/// if all streams have stopped being read.
const WINDOW_BYTES: usize = 64 * 1024 * 1024;
/// A graceful close ends after this time, since a frozen remote never lets it finish.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The upgrade to a [`Muxer`].
#[derive(Debug, Clone)]
pub(super) struct Yamux;

/// Yamux over one connection.
pub(super) struct Muxer<C: AsyncRead + AsyncWrite + Unpin> {
    driven: Arc<Driven<C>>,
    ends: Ends,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, mode: yamux::Mode) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(WINDOW_BYTES));
        config.set_split_send_size(FRAME_BYTES);
        let connection = yamux::Connection::new(Unstick::new(io), config, mode);
        Self { driven: Driven::new(connection), ends: Ends::default(), closing: None }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Substream<C>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        let Self { driven, ends, .. } = &mut *self;
        driven.whistle.register(cx.waker());
        let mut state = driven.lock();
        let mut next = state.next();
        if next.is_pending() {
            driven.poll(&mut state);
            next = state.next();
        }
        next.map_ok(|stream| ends.add(driven, stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        let Self { driven, ends, .. } = &mut *self;
        driven.whistle.register(cx.waker());
        let mut state = driven.lock();
        let Some(connection) = &mut state.connection else { return Poll::Pending };
        let stream = connection.poll_new_outbound(&mut driven.context()).map_err(into_io);
        stream.map_ok(|stream| ends.add(driven, stream))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.driven.whistle.register(cx.waker());
        let mut state = self.driven.lock();
        self.driven.poll(&mut state);
        match state.take_failed() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Pending,
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends.close();
        let mut state = self.driven.lock();
        state.closing = true;
        let Some(connection) = &mut state.connection else { return Poll::Ready(Ok(())) };
        if let Poll::Ready(result) = connection.poll_close(cx) {
            return Poll::Ready(result.map_err(into_io));
        }
        drop(state);
        let timer = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The connection goes with its muxer, whoever still holds a stream.
impl<C: AsyncRead + AsyncWrite + Unpin> Drop for Muxer<C> {
    fn drop(&mut self) {
        let connection = self.driven.lock().connection.take();
        drop(connection);
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, yamux::Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, yamux::Mode::Client)))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use futures::io::{AsyncReadExt, AsyncWriteExt};
    use libp2p::core::muxing::StreamMuxerExt;
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    use super::{
        super::driver::{BACKLOG_MAX, driving},
        *,
    };

    type Test = Muxer<Compat<tokio::io::DuplexStream>>;
    const BYTES: usize = 4 * 1024 * 1024;

    /// Opens `count` streams that send, and reads all that arrive. The senders fill their streams
    /// before the connection is driven, so that it is full when the other end's first ping is read.
    /// Tells when all of its streams were sent and all expected ones received, and drives on.
    async fn drive(mut muxer: Test, count: usize, done: tokio::sync::mpsc::Sender<()>) {
        let mut work = tokio::task::JoinSet::new();
        for _ in 0..count {
            let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("stream");
            work.spawn(async move {
                let chunk = vec![7; 64 * 1024];
                for _ in 0..BYTES / chunk.len() {
                    stream.write_all(&chunk).await.expect("written");
                }
                stream.close().await.expect("closed");
            });
        }
        tokio::task::yield_now().await;
        let mut accepted = 0;
        poll_fn(|cx| {
            while let Poll::Ready(Ok(mut stream)) = muxer.poll_inbound_unpin(cx) {
                accepted += 1;
                work.spawn(async move {
                    let (mut total, mut buffer) = (0, vec![0; 16 * 1024]);
                    loop {
                        match stream.read(&mut buffer).await.expect("read") {
                            0 => break,
                            count => total += count,
                        }
                    }
                    assert_eq!(total, BYTES);
                });
            }
            let _ = muxer.poll_unpin(cx);
            while let Poll::Ready(Some(result)) = work.poll_join_next(cx) {
                result.expect("stream task");
            }
            if accepted == count && work.is_empty() {
                let _ = done.try_send(());
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Yamux' own pings meet full buffers in both directions: see [`super::super::unstick`].
    #[tokio::test]
    async fn both_directions_full_at_once_do_not_deadlock() {
        for buffer in [64, 4096, 1024 * 1024] {
            let (a, b) = tokio::io::duplex(buffer);
            let (mut both, mut done) = (tokio::task::JoinSet::new(), Vec::new());
            for (io, mode) in [(a, yamux::Mode::Client), (b, yamux::Mode::Server)] {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                both.spawn(drive(Muxer::new(io.compat(), mode), 4, sender));
                done.push(receiver);
            }
            let finished = async {
                for mut done in done {
                    done.recv().await.expect("a muxer's task runs until it is dropped");
                }
            };
            tokio::time::timeout(Duration::from_secs(30), finished).await.expect("no deadlock");
        }
    }

    /// A stream whose reader is woken by the socket.
    struct Driving(Substream<Compat<tokio::io::DuplexStream>>);

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
        let (a, b) = tokio::io::duplex(16 * 1024);
        let (mut a, mut b) = (Muxer::new(a.compat(), yamux::Mode::Client), Muxer::new(b.compat(), yamux::Mode::Server));
        let mut stream = poll_fn(|cx| a.poll_outbound_unpin(cx)).await.expect("opens");
        stream.write_all(b"!").await.expect("sent");
        let mut came = poll_fn(|cx| b.poll_inbound_unpin(cx)).await.expect("comes");
        came.read_exact(&mut [0]).await.expect("came");
        ((a, Driving(stream)), (b, Driving(came)))
    }

    /// Sends much while as much comes, says so, and reads on: what was sent need not have left yet.
    async fn exchange(stream: Driving, done: tokio::sync::oneshot::Sender<()>) {
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

    /// Nobody polls the connections themselves.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn streams_drive_their_connection_alone() {
        let ((a, stream), (b, came)) = linked().await;
        let ((one, other), (first, second)) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        let ends = [tokio::spawn(exchange(stream, one)), tokio::spawn(exchange(came, first))];
        let done = futures::future::join(other, second);
        let (one, other) = tokio::time::timeout(Duration::from_secs(60), done).await.expect("every byte comes");
        one.and(other).expect("both end well");
        ends.iter().for_each(tokio::task::JoinHandle::abort);
        drop((a, b));
    }

    #[tokio::test]
    async fn a_connection_whose_driver_is_gone_wakes_its_own_task() {
        let ((mut a, stream), (mut b, mut came)) = linked().await;
        // The reader waits, and then is gone.
        assert!(futures::poll!(came.read(&mut [0])).is_pending());
        drop((stream, came));
        let mut next = poll_fn(|cx| a.poll_outbound_unpin(cx)).await.expect("opens");
        let accepted = tokio::spawn(async move {
            let stream = poll_fn(|cx| b.poll_inbound_unpin(cx)).await.expect("comes");
            (b, stream)
        });
        tokio::task::yield_now().await;
        next.write_all(b"!").await.expect("sent");
        tokio::time::timeout(Duration::from_secs(60), accepted).await.expect("is woken").expect("accepts");
    }

    #[tokio::test]
    async fn closing_towards_a_frozen_remote_ends() {
        let (a, _frozen) = tokio::io::duplex(64);
        let mut muxer: Test = Muxer::new(a.compat(), yamux::Mode::Client);
        let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("stream");
        stream.write_all(&[0; 10_000]).await.expect("queued");
        let closing = tokio::time::timeout(Duration::from_secs(20), poll_fn(|cx| muxer.poll_close_unpin(cx)));
        assert_eq!(closing.await.expect("in time").expect_err("not gracefully").kind(), io::ErrorKind::TimedOut);
    }
    /// Two ends of a connection, of which the first knows no bound of streams.
    fn unequal() -> (Test, Test) {
        let (a, b) = tokio::io::duplex(1024 * 1024);
        let mut config = yamux::Config::default();
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(10 * STREAMS_MAX);
        let connection = yamux::Connection::new(Unstick::new(a.compat()), config, yamux::Mode::Client);
        let unbound = Muxer { driven: Driven::new(connection), ends: Ends::default(), closing: None };
        (unbound, Muxer::new(b.compat(), yamux::Mode::Server))
    }

    /// Opens a stream, and lets the other end know.
    async fn open(muxer: &mut Test) -> Substream<Compat<tokio::io::DuplexStream>> {
        let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("opens");
        stream.write_all(b"!").await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    }

    /// Takes in everything that has come.
    async fn take_in(muxer: &mut Test) {
        poll_fn(|cx| {
            for _ in 0..10 * STREAMS_MAX {
                let _ = muxer.poll_unpin(cx);
            }
            Poll::Ready(())
        })
        .await;
    }

    // Without tokio's budget of a task, which would end before all has come.

    #[tokio::test]
    async fn streams_that_nobody_accepts_are_bounded_and_one_too_many_is_reset() {
        let test = async {
            let (mut near, mut far) = unequal();
            let mut opened = Vec::new();
            for _ in 0..=BACKLOG_MAX {
                opened.push(open(&mut near).await);
            }
            take_in(&mut far).await;
            let mut accepted = Vec::new();
            poll_fn(|cx| {
                while let Poll::Ready(stream) = far.poll_inbound_unpin(cx) {
                    accepted.push(stream.expect("the connection lives"));
                }
                Poll::Ready(())
            })
            .await;
            assert_eq!(accepted.len(), BACKLOG_MAX);
            take_in(&mut far).await;
            take_in(&mut near).await;
            let reset = futures::poll!(opened[BACKLOG_MAX].read(&mut [0]));
            assert!(matches!(reset, Poll::Ready(Ok(0) | Err(_))), "{reset:?}");
            assert!(futures::poll!(opened[0].read(&mut [0])).is_pending(), "it lives");
        };
        tokio::task::unconstrained(test).await;
    }

    #[tokio::test]
    async fn a_connection_carries_192_streams_and_who_opens_more_is_told_to_go() {
        let test = async {
            let (mut near, mut far) = unequal();
            let (mut opened, mut accepted) = (Vec::new(), Vec::new());
            for _ in 0..STREAMS_MAX {
                opened.push(open(&mut near).await);
                accepted.push(poll_fn(|cx| far.poll_inbound_unpin(cx)).await.expect("comes"));
            }
            take_in(&mut near).await;
            assert!(futures::poll!(poll_fn(|cx| near.poll_inbound_unpin(cx))).is_pending(), "it lives");
            opened.push(open(&mut near).await);
            take_in(&mut far).await;
            assert!(futures::poll!(poll_fn(|cx| far.poll_inbound_unpin(cx))).is_pending(), "it is not taken");
            assert!(poll_fn(|cx| near.poll_inbound_unpin(cx)).await.is_err(), "the connection ends");
        };
        tokio::task::unconstrained(test).await;
    }
}
