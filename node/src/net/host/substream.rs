//! A stream of the muxer that ends with its connection.
//!
//! `yamux` wakes nobody who waits on a stream when its connection is closed from this end: whoever reads it
//! would wait for ever.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};

/// Whether the connection of a stream was closed, and who waits on the stream.
#[derive(Debug, Default)]
struct End {
    closed: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// The ends of a connection's streams.
#[derive(Debug, Default)]
pub(super) struct Ends(Vec<Weak<End>>);

impl Ends {
    /// At most twice as many ends are kept as there are streams.
    pub(super) fn add(&mut self, stream: yamux::Stream) -> Substream {
        let end = Arc::new(End::default());
        if self.0.len() == self.0.capacity() {
            self.0.retain(|end| end.strong_count() > 0);
        }
        self.0.push(Arc::downgrade(&end));
        Substream { inner: stream, end }
    }

    /// The connection is being closed.
    pub(super) fn close(&mut self) {
        for end in self.0.drain(..).filter_map(|end| end.upgrade()) {
            end.closed.store(true, Ordering::Release);
            end.reader.wake();
            end.writer.wake();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Substream {
    inner: yamux::Stream,
    end: Arc<End>,
}

impl End {
    /// Passes a result on; what is pending ends when the connection does.
    fn or_closed<T>(&self, result: Poll<io::Result<T>>, waker: &AtomicWaker, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if result.is_pending() {
            waker.register(cx.waker());
            if self.closed.load(Ordering::Acquire) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        result
    }
}

impl AsyncRead for Substream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.end.or_closed(result, &self.end.reader, cx)
    }
}

impl AsyncWrite for Substream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.end.or_closed(result, &self.end.writer, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.end.or_closed(result, &self.end.writer, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.end.or_closed(result, &self.end.writer, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_close(cx);
        self.end.or_closed(result, &self.end.writer, cx)
    }
}
