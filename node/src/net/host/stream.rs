//! A negotiated stream, as the rest of the node sees it.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::io::{AsyncRead, AsyncWrite};

use super::yamux::driving;

/// A negotiated stream to an authenticated peer.
///
/// Dropping it without [`AsyncWrite::poll_close`] resets it. While it lives, its connection is
/// kept and it counts towards [`Limits::data_streams`](super::Limits::data_streams).
pub struct Stream {
    inner: libp2p::Stream,
    drives: bool,
    /// Counted by the connection's handler.
    _slot: Arc<()>,
}

impl Stream {
    pub(super) fn new(inner: libp2p::Stream, slot: Arc<()>) -> Self {
        Self { inner, drives: false, _slot: slot }
    }

    /// From now on, what comes for the stream's connection wakes whoever reads the stream, without another task between.
    /// Until the stream is dropped, that task must read on soon whenever it is woken.
    pub(crate) const fn drive(&mut self) {
        self.drives = true;
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let drives = self.drives;
        let mut read = || Pin::new(&mut self.inner).poll_read(cx, buffer);
        if drives { driving(read) } else { read() }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
