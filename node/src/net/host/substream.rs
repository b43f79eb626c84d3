//! A stream of the muxer: it [drives](super::driver) its connection, and ends with it.
//!
//! `yamux` wakes nobody who waits on a stream when its connection is closed from this end: whoever reads it
//! would wait for ever.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};

use super::driver::{Driven, Whistle, is_driving};

/// Whether the connection of a stream was closed, and who waits on the stream.
#[derive(Debug, Default)]
struct End {
    closed: AtomicBool,
    reader: Arc<Whistle>,
    writer: AtomicWaker,
}

/// The ends of a connection's streams.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<Weak<End>>);

impl Ends {
    /// At most twice as many ends are kept as there are streams.
    pub(super) fn add<C>(&mut self, driven: &Arc<Driven<C>>, stream: yamux::Stream) -> Substream<C> {
        let end = Arc::new(End::default());
        if self.0.len() == self.0.capacity() {
            self.0.retain(|end| end.strong_count() > 0);
        }
        self.0.push(Arc::downgrade(&end));
        let reader = Waker::from(Arc::clone(&end.reader));
        Substream { inner: stream, end, reader, driven: Arc::clone(driven), drives: false }
    }

    /// The connection is being closed.
    pub(super) fn close(&mut self) {
        for end in self.0.drain(..).filter_map(|end| end.upgrade()) {
            end.closed.store(true, Ordering::Release);
            end.reader.wake_by_ref();
            end.writer.wake();
        }
    }
}

/// See the module.
pub(super) struct Substream<C> {
    inner: yamux::Stream,
    end: Arc<End>,
    /// The reader's whistle as `inner` knows it.
    reader: Waker,
    driven: Arc<Driven<C>>,
    /// What comes for the connection may wake the reader of this stream.
    drives: bool,
}

impl<C> fmt::Debug for Substream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Substream").field(&self.inner).finish()
    }
}

impl End {
    /// Passes a result on; what is pending ends when the connection does.
    fn or_closed<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_pending() && self.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        result
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Substream<C> {
    fn sending<T>(
        &mut self,
        cx: &mut Context<'_>,
        sends: bool,
        mut act: impl FnMut(Pin<&mut yamux::Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Self { inner, end, driven, .. } = self;
        let result = driven.drive(sends, || act(Pin::new(&mut *inner), cx));
        if result.is_pending() {
            end.writer.register(cx.waker());
        }
        end.or_closed(result)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Substream<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { inner, end, reader, driven, drives } = &mut *self;
        end.reader.register(cx.waker());
        // Before the connection is driven: what comes after that must wake this task already.
        if is_driving() {
            *drives = true;
            driven.whistle.set_driver(cx.waker());
        }
        // What driving finds for this stream is read at once.
        end.reader.hush();
        let mut result =
            driven.drive(false, || Pin::new(&mut *inner).poll_read(&mut Context::from_waker(reader), buffer));
        if end.reader.unhush() && result.is_pending() {
            result = Pin::new(&mut *inner).poll_read(&mut Context::from_waker(reader), buffer);
        }
        end.or_closed(result)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Substream<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sending(cx, true, |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sending(cx, true, |inner, cx| inner.poll_write_vectored(cx, parts))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Written is sent: only what did not go then is left.
        self.sending(cx, false, |inner, cx| inner.poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending(cx, true, |inner, cx| inner.poll_close(cx))
    }
}

impl<C> Drop for Substream<C> {
    fn drop(&mut self) {
        if self.drives {
            self.driven.whistle.take_back();
        }
    }
}
