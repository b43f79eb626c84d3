//! Yamux, the stream muxer of a connection: `/yamux/1.0.0`, as libp2p and others speak it.
//!
//! The `yamux` crate copies whatever is sent once and whatever comes twice, and writes to the socket frame by frame: half
//! of what a relay's processor did. This one hands on what it is given and asks the socket for what
//! somebody reads. The tests have them talk to each other.

use std::{
    future::{Future, Ready, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::{
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
};
use tokio::time::{Sleep, sleep};

use connection::Shared;
use stream::Substream;

mod connection;
mod header;
mod session;
mod stream;

pub(super) use connection::driving;
pub(super) use stream::FRAME_BYTES;

/// A graceful close ends after this time, since a frozen remote never lets it finish.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The upgrade to a [`Muxer`].
#[derive(Debug, Clone)]
pub(super) struct Yamux;

/// Yamux over one connection.
#[derive(Debug)]
pub(super) struct Muxer<C: AsyncRead + AsyncWrite + Unpin> {
    shared: Arc<Shared<C>>,
    closing: Option<Pin<Box<Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, dialled: bool) -> Self {
        Self { shared: Shared::new(io, dialled), closing: None }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Substream<C>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        self.shared.task.register(cx.waker());
        let mut connection = self.shared.lock();
        let mut next = connection.session.accept();
        if next.is_none() {
            connection.take_in(None);
            connection.send_out();
            next = connection.session.accept();
        }
        match next {
            Some(id) => Poll::Ready(Ok(Substream::new(id, Arc::clone(&self.shared)))),
            None => connection.failed().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        self.shared.task.register(cx.waker());
        let mut connection = self.shared.lock();
        if let Some(error) = connection.failed() {
            return Poll::Ready(Err(error));
        }
        // If there are too many, one that goes wakes this task.
        let id = connection.session.open(Instant::now());
        id.map_or(Poll::Pending, |id| Poll::Ready(Ok(Substream::new(id, Arc::clone(&self.shared)))))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.shared.task.register(cx.waker());
        let mut connection = self.shared.lock();
        connection.take_in(None);
        if let Poll::Ready(Err(error)) = connection.poll_out() {
            return Poll::Ready(Err(error));
        }
        connection.failed().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.task.register(cx.waker());
        if let Poll::Ready(result) = self.shared.lock().poll_close() {
            return Poll::Ready(result);
        }
        let timer = self.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The connection goes with its muxer, whoever still holds a stream.
impl<C: AsyncRead + AsyncWrite + Unpin> Drop for Muxer<C> {
    fn drop(&mut self) {
        let io = self.shared.lock().shut();
        drop(io);
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
        ready(Ok(Muxer::new(io, false)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Output>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(io, true)))
    }
}

#[cfg(test)]
mod tests;
