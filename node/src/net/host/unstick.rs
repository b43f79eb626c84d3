//! A socket adapter under the muxer: gathers small writes, and keeps reading while a write waits.
//!
//! Yamux answers a ping before it reads on, and cannot answer while its socket takes no more bytes.
//! When both ends of a connection are full in both directions and each has just received a ping
//! (both send their first at once, then every 10 s), neither reads, so neither can write: a deadlock.
//! [`Unstick`] reads ahead into a bounded buffer whenever a write is refused, which lets the other
//! end's write, and then its answer, through. What must be read ahead is what the other end
//! needs to complete one frame: a part of its socket's buffer and at most 128 KiB.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    ready,
};

/// Most bytes read ahead, per connection.
const AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// Bytes read ahead at a time.
const STEP_BYTES: usize = 64 * 1024;
/// A write below this size (a frame's header) waits for the next one, or for a flush.
const SMALL_BYTES: usize = 512;
/// Most bytes of small writes that wait.
const GATHER_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Unstick<S> {
    inner: S,
    /// Small writes, not yet handed to `inner`.
    gathered: Vec<u8>,
    /// Bytes read ahead, of which `taken` are consumed.
    ahead: Vec<u8>,
    taken: usize,
    /// The reader above waits for `inner` itself: it will be woken and read by itself.
    reader_waits: bool,
    /// What reading ahead ended with; told to the reader once `ahead` is consumed.
    ended: Option<io::Result<()>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Unstick<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, gathered: Vec::new(), ahead: Vec::new(), taken: 0, reader_waits: false, ended: None }
    }

    /// Called when a write is refused. Registers for reading, or reads up to the bound.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        if self.reader_waits || self.ended.is_some() || self.ahead.len() - self.taken >= AHEAD_BYTES {
            return;
        }
        self.ahead.drain(..self.taken);
        self.taken = 0;
        let length = self.ahead.len();
        self.ahead.resize(length + STEP_BYTES, 0);
        let result = Pin::new(&mut self.inner).poll_read(cx, &mut self.ahead[length..]);
        let count = match result {
            Poll::Ready(Ok(0)) => {
                self.ended = Some(Ok(()));
                0
            }
            Poll::Ready(Ok(count)) => {
                cx.waker().wake_by_ref(); // there may be more, and nothing is registered for it
                count
            }
            Poll::Ready(Err(error)) => {
                self.ended = Some(Err(error));
                0
            }
            Poll::Pending => 0,
        };
        self.ahead.truncate(length + count);
    }

    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.gathered))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_large(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while !self.gathered.is_empty() {
            let parts = [IoSlice::new(&self.gathered), IoSlice::new(bytes)];
            let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &parts))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let gathered = count.min(self.gathered.len());
            self.gathered.drain(..gathered);
            if count > gathered {
                return Poll::Ready(Ok(count - gathered));
            }
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Unstick<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let ahead = &this.ahead[this.taken..];
        if !ahead.is_empty() {
            let count = ahead.len().min(buffer.len());
            buffer[..count].copy_from_slice(&ahead[..count]);
            this.taken += count;
            if this.taken == this.ahead.len() {
                this.taken = 0;
                this.ahead = Vec::new();
            }
            return Poll::Ready(Ok(count));
        }
        match this.ended.take() {
            Some(Ok(())) => {
                this.ended = Some(Ok(()));
                return Poll::Ready(Ok(0));
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        let result = Pin::new(&mut this.inner).poll_read(cx, buffer);
        this.reader_waits = result.is_pending();
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Unstick<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.len() < SMALL_BYTES && self.gathered.len() + bytes.len() <= GATHER_BYTES {
            self.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = self.poll_large(cx, bytes);
        if result.is_pending() {
            self.read_ahead(cx);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = match self.poll_gathered(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_flush(cx),
            other => other,
        };
        if result.is_pending() {
            self.read_ahead(cx);
        }
        result
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
