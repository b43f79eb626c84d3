//! Frames from a data stream, cut from blocks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt};

use super::{activity::Activity, data::DataError};
use crate::relay::{Decoder, Frame, FrameError};

/// The first and the largest blocks that a parent's frames are read to. Of 16 receivers at full rate a GiB costs 6 % less
/// processor time with 1 MiB than with 256 KiB; 64 KiB cost 8 % more.
const BLOCK_BYTES_MIN: usize = 4 * 1024;
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// The next block is larger if one was full sooner than this, and smaller if it took ten times as long.
const BLOCK_TIME: Duration = Duration::from_millis(100);

/// The frames that a parent sends.
///
/// They are cut from blocks that are filled to the last byte, so that the frames kept in a ring hold little
/// more memory than their own. What is read goes there through a buffer that stays in the processor's cache: to zero each
/// block, so that it can be read to, costs more than to copy.
pub(super) struct Frames<S> {
    stream: S,
    activity: Arc<Activity>,
    decoder: Decoder,
    read: Box<[u8]>,
    /// What was read and is no whole frame yet, at the end of what is used of the block.
    buffer: BytesMut,
    /// Bytes of the next block.
    block: usize,
    begun: Instant,
}

impl<S: AsyncRead + Unpin> Frames<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, decoder: Decoder) -> Self {
        let (read, buffer) = (vec![0; BLOCK_BYTES_MIN].into(), BytesMut::new());
        let (block, begun) = (BLOCK_BYTES_MIN, Instant::now());
        Self { stream, activity, decoder, read, buffer, block, begun }
    }

    pub(super) async fn next(&mut self) -> Result<Frame, DataError> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            self.read_some().await?;
        }
    }

    /// The next frame, if all of it has come already.
    pub(super) fn ready(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.decode(&mut self.buffer)
    }

    async fn read_some(&mut self) -> Result<(), DataError> {
        let length = self.stream.read(&mut self.read).await?;
        if length == 0 {
            return Err(DataError::Closed);
        }
        self.activity.note();
        let room = self.buffer.capacity() - self.buffer.len();
        let (fits, rest) = self.read[..length].split_at(length.min(room));
        self.buffer.extend_from_slice(fits);
        if !rest.is_empty() {
            let mut next = BytesMut::with_capacity(self.buffer.len() + self.block.max(rest.len()));
            next.extend_from_slice(&self.buffer);
            next.extend_from_slice(rest);
            self.buffer = next;
            self.next_block();
        }
        Ok(())
    }

    /// A block was begun. Blocks are as large as the track is fast.
    fn next_block(&mut self) {
        let took = std::mem::replace(&mut self.begun, Instant::now()).elapsed();
        if took < BLOCK_TIME {
            self.block = (2 * self.block).min(BLOCK_BYTES_MAX);
        } else if took > 10 * BLOCK_TIME {
            self.block = (self.block / 2).max(BLOCK_BYTES_MIN);
        }
        let read = self.block.min(READ_BYTES_MAX);
        if self.read.len() != read {
            self.read = vec![0; read].into();
        }
    }
}
