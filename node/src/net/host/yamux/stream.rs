//! A stream of the muxer: it [drives](super::connection) its connection.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use futures::io::{AsyncRead, AsyncWrite};

use super::{
    connection::{Direct, Shared, is_driving},
    session::StreamId,
};
use crate::{net::writing::BATCH_BYTES, relay::frame::CHUNK_BYTES_MAX};

/// Largest frame that is sent: a batch with the chunk that it ends with, which may be beyond its bound, and their headers.
/// What is over would cost a frame and a system call of its own. A hop carries 2 to 2.5 times as much with 128 KiB as with 16 KiB.
pub(in super::super) const FRAME_BYTES: usize = BATCH_BYTES + CHUNK_BYTES_MAX + 1024;

/// A write below this size waits for the next one, or for a flush.
const SMALL_BYTES: usize = 512;
/// What such writes wait for at most.
const GATHERED_BYTES: usize = 4 * 1024;

/// See the module. Dropping it without closing it resets it.
pub(in super::super) struct Substream<C: AsyncRead + AsyncWrite + Unpin> {
    id: StreamId,
    shared: Arc<Shared<C>>,
    /// What comes for the connection may wake the reader of this stream.
    drives: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> fmt::Debug for Substream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Substream").field(&self.id).finish()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Substream<C> {
    pub(super) const fn new(id: StreamId, shared: Arc<Shared<C>>) -> Self {
        Self { id, shared, drives: false }
    }

    /// Does something for which the socket has to take more; if it does not yet, the task is woken when it does.
    fn poll_socket(&self, cx: &Context<'_>, mut act: impl FnMut() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        let result = act();
        if result.is_pending() {
            self.shared.wait_to_write(cx.waker());
            return act();
        }
        result
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Substream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = &mut *self;
        // Before the connection is driven: what comes after that must wake this task already.
        if is_driving() {
            this.drives = true;
            this.shared.set_driver(cx.waker());
        }
        let mut connection = this.shared.lock();
        let flow = connection.session.flow(this.id);
        let count = if flow.received.is_empty() && !flow.read_closed {
            connection.take_in(Some(Direct { stream: this.id, buffer }))
        } else {
            flow.read(buffer)
        };
        let flow = connection.session.flow(this.id);
        let result = if count > 0 {
            connection.session.on_read(Instant::now(), this.id, count);
            Poll::Ready(Ok(count))
        } else if flow.read_closed {
            Poll::Ready(Ok(0))
        } else {
            flow.reader = Some(cx.waker().clone());
            connection.failed().map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
        };
        connection.send_out();
        result
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Substream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = parts.iter().map(|part| part.len()).sum::<usize>().min(FRAME_BYTES);
        let mut connection = self.shared.lock();
        if connection.session.flow(self.id).credit == 0 {
            connection.take_in(None);
        }
        let flow = connection.session.flow(self.id);
        if flow.write_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = total.min(flow.credit as usize);
        if length == 0 && total > 0 {
            flow.writer = Some(cx.waker().clone());
        }
        if let Some(error) = connection.failed() {
            return Poll::Ready(Err(error));
        }
        if length == 0 {
            connection.send_out();
            return if total > 0 { Poll::Pending } else { Poll::Ready(Ok(0)) };
        }
        let whole_and_small = length == total && total < SMALL_BYTES;
        if !whole_and_small || connection.session.out.len() >= GATHERED_BYTES {
            ready!(self.poll_socket(cx, || connection.poll_drained()))?;
            connection.send_data(self.id, parts, length)?;
        } else {
            connection.session.gather(self.id, parts, length);
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.shared.lock();
        self.poll_socket(cx, || connection.poll_out())
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.shared.lock();
        connection.session.close_writing(self.id);
        self.poll_socket(cx, || connection.poll_out())
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Drop for Substream<C> {
    fn drop(&mut self) {
        if self.drives {
            self.shared.take_back();
        }
        let mut connection = self.shared.lock();
        connection.session.drop_stream(self.id);
        connection.send_out();
        drop(connection);
        // It may have been this stream's task that was to read or to write on.
        self.shared.task.wake();
    }
}
