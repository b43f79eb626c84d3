//! Yamux as the stream muxer of a connection, with large frames.
//!
//! `libp2p-yamux` does not expose the frame size of `yamux` (16 KiB by default); with 128 KiB a
//! hop carries 2–2.5 times as much. Its stream muxer is the model of this one.

use std::{
    collections::VecDeque,
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use tokio::time::{Sleep, sleep};

use super::{
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
/// Streams that the remote opened and nobody accepted yet; more are reset.
const BACKLOG_MAX: usize = 128;
/// A graceful close ends after this time, since a frozen remote never lets it finish.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The upgrade to a [`Muxer`].
#[derive(Debug, Clone)]
pub(super) struct Yamux;

/// Yamux over one connection.
pub(super) struct Muxer<C> {
    connection: yamux::Connection<Unstick<C>>,
    ends: Ends,
    backlog: VecDeque<Substream>,
    inbound_waker: Option<Waker>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, mode: yamux::Mode) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(WINDOW_BYTES));
        config.set_split_send_size(FRAME_BYTES);
        Self {
            connection: yamux::Connection::new(Unstick::new(io), config, mode),
            ends: Ends::default(),
            backlog: VecDeque::new(),
            inbound_waker: None,
            closing: None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        self.connection.poll_next_inbound(cx).map(|next| match next {
            Some(Ok(stream)) => Ok(self.ends.add(stream)),
            Some(Err(error)) => Err(into_io(error)),
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        })
    }
}

fn into_io(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        error => io::Error::other(error),
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Substream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        if let Some(stream) = self.backlog.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_next(cx);
        if next.is_pending() {
            self.inbound_waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream>> {
        let stream = self.connection.poll_new_outbound(cx).map_err(into_io);
        stream.map_ok(|stream| self.ends.add(stream))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        match self.poll_next(cx) {
            Poll::Ready(Ok(stream)) => {
                if self.backlog.len() < BACKLOG_MAX {
                    self.backlog.push_back(stream);
                } else {
                    tracing::debug!("too many streams wait to be accepted: one is reset");
                }
                if let Some(waker) = self.inbound_waker.take() {
                    waker.wake();
                }
                cx.waker().wake_by_ref(); // yamux may have more; let others run first
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ends.close();
        if let Poll::Ready(result) = self.connection.poll_close(cx) {
            return Poll::Ready(result.map_err(into_io));
        }
        let timer = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
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

    use super::*;

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

    #[tokio::test]
    async fn closing_towards_a_frozen_remote_ends() {
        let (a, _frozen) = tokio::io::duplex(64);
        let mut muxer: Test = Muxer::new(a.compat(), yamux::Mode::Client);
        let mut stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("stream");
        stream.write_all(&[0; 10_000]).await.expect("queued");
        let closing = tokio::time::timeout(Duration::from_secs(20), poll_fn(|cx| muxer.poll_close_unpin(cx)));
        assert_eq!(closing.await.expect("in time").expect_err("not gracefully").kind(), io::ErrorKind::TimedOut);
    }
}
