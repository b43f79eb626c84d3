//! A read buffer below TLS.
//!
//! rustls reads 4 KiB at first and never more than one record of 16 KiB; read straight from the socket, that is
//! a system call for every few KiB. Here the socket is asked for as much as it lately had, and rustls is
//! served from memory. Writes pass through: rustls gathers its records into one call by itself.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::io::{AsyncRead, AsyncWrite};

/// Bytes asked for at first. Most connections carry control messages only and never need more.
const BYTES_MIN: usize = 4 * 1024;
/// Most bytes asked for by one read, and held by a connection that carried bulk.
const BYTES_MAX: usize = 128 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Intake<S> {
    inner: S,
    buffer: Vec<u8>,
    /// Of `buffer`, what was read and not yet handed on.
    start: usize,
    end: usize,
}

impl<S> Intake<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), start: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.start == this.end {
            // The last read filled the buffer, so there may be more than that.
            if this.end == this.buffer.len() && this.end < BYTES_MAX {
                let length = (2 * this.end).clamp(BYTES_MIN, BYTES_MAX);
                this.buffer = vec![0; length];
                (this.start, this.end) = (0, 0);
            }
            this.end = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.buffer))?;
            this.start = 0;
        }
        let count = (this.end - this.start).min(target.len());
        target[..count].copy_from_slice(&this.buffer[this.start..this.start + count]);
        this.start += count;
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
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

#[cfg(test)]
mod tests {
    use futures::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn every_byte_is_handed_on_once_and_the_buffer_stays_bounded() {
        let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
        let mut intake = Intake::new(&sent[..]);
        let (mut got, mut piece) = (Vec::new(), vec![0; 5_000]);
        loop {
            match intake.read(&mut piece).await.expect("a slice never fails") {
                0 => break,
                count => got.extend_from_slice(&piece[..count]),
            }
        }
        assert!(got == sent);
        assert_eq!(intake.buffer.len(), BYTES_MAX);
    }
}
