//! Frames from a data stream, cut from blocks.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::{activity::Activity, data::DataError};
use crate::relay::{Decoder, Frame, FrameError};

/// The first and the largest blocks that a parent's frames are read to. Of 16 receivers at full rate a GiB costs 6 % less
/// processor time with 1 MiB than with 256 KiB; 64 KiB cost 8 % more.
const BLOCK_BYTES_MIN: usize = 4 * 1024;
const BLOCK_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that are read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// The next block is larger if one was full sooner than this.
const BLOCK_TIME: Duration = Duration::from_millis(100);
/// It is smaller if one took longer than this.
const SLOW: Duration = Duration::from_secs(1);
/// Most full blocks of the largest size whose memory may be used again: a little more than a ring holds.
const FULL_MAX: usize = 12;
/// Their memory is given back when nothing came for this long.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2_000 });

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
    /// Whether the block is of the largest size.
    is_largest: bool,
    full: FullBlocks,
}

impl<S: AsyncRead + Unpin> Frames<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, decoder: Decoder) -> Self {
        let (read, buffer) = (vec![0; BLOCK_BYTES_MIN].into(), BytesMut::new());
        let (block, begun) = (BLOCK_BYTES_MIN, Instant::now());
        Self { stream, activity, decoder, read, buffer, block, begun, is_largest: false, full: FullBlocks::default() }
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
        let read = self.stream.read(&mut self.read);
        let length = if self.full.is_empty() {
            read.await?
        } else if let Ok(length) = timeout(IDLE, read).await {
            length?
        } else {
            self.full.clear();
            return Ok(());
        };
        if length == 0 {
            return Err(DataError::Closed);
        }
        self.activity.note();
        // The track has become slow: the next block will be smaller, whenever it begins.
        if !self.full.is_empty() && self.begun.elapsed() > SLOW {
            self.full.clear();
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let (fits, rest) = self.read[..length].split_at(length.min(room));
        self.buffer.extend_from_slice(fits);
        if !rest.is_empty() {
            let was_largest = std::mem::replace(&mut self.is_largest, self.block == BLOCK_BYTES_MAX);
            let mut next = if self.is_largest {
                self.full.reuse()
            } else {
                BytesMut::with_capacity(self.buffer.len() + self.block.max(rest.len()))
            };
            next.extend_from_slice(&self.buffer);
            next.extend_from_slice(rest);
            let full = std::mem::replace(&mut self.buffer, next);
            if was_largest {
                self.full.keep(full);
            }
            self.next_block();
        }
        Ok(())
    }

    /// A block was begun. Blocks are as large as the track is fast.
    fn next_block(&mut self) {
        let took = std::mem::replace(&mut self.begun, Instant::now()).elapsed();
        if took < BLOCK_TIME {
            self.block = (2 * self.block).min(BLOCK_BYTES_MAX);
        } else if took > SLOW {
            self.block = (self.block / 2).max(BLOCK_BYTES_MIN);
        }
        let read = self.block.min(READ_BYTES_MAX);
        if self.read.len() != read {
            self.read = vec![0; read].into();
        }
    }
}

/// Blocks that were filled, the oldest first, to be filled again when nobody holds frames of them any more: new memory comes in
/// pages that the kernel clears.
#[derive(Debug, Default)]
struct FullBlocks(VecDeque<BytesMut>);

impl FullBlocks {
    /// An empty block of the largest size.
    fn reuse(&mut self) -> BytesMut {
        // Rings let go of the oldest first.
        let is_free = self.0.front_mut().is_some_and(|oldest| oldest.try_reclaim(BLOCK_BYTES_MAX));
        let free = if is_free { self.0.pop_front() } else { None };
        free.unwrap_or_else(|| BytesMut::with_capacity(BLOCK_BYTES_MAX))
    }

    /// What is left of the block was copied.
    fn keep(&mut self, mut block: BytesMut) {
        block.clear();
        if self.0.len() == FULL_MAX {
            self.0.pop_front();
        }
        self.0.push_back(block);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::relay::frame;

    fn fill(mut block: BytesMut) -> (BytesMut, Bytes) {
        block.resize(BLOCK_BYTES_MAX, 7);
        let frames = block.split().freeze();
        (block, frames)
    }

    #[test]
    fn a_block_is_filled_again_when_nobody_holds_its_frames_and_not_before() {
        let mut full = FullBlocks::default();
        let (rest, frames) = fill(full.reuse());
        let start = frames.as_ptr();
        full.keep(rest);
        let (_, others) = fill(full.reuse());
        assert_ne!(others.as_ptr(), start);
        let held = frames.slice(BLOCK_BYTES_MAX - 1..);
        drop(frames);
        assert_ne!(full.reuse().as_ptr(), start);
        assert!(held.iter().all(|byte| *byte == 7) && !full.is_empty());
        drop(held);
        let again = full.reuse();
        assert_eq!((again.as_ptr(), again.len()), (start, 0));
        assert!(again.capacity() >= BLOCK_BYTES_MAX && full.is_empty());
    }

    #[test]
    fn no_more_blocks_are_kept_than_a_ring_needs() {
        let (mut full, mut held) = (FullBlocks::default(), Vec::new());
        for _ in 0..2 * FULL_MAX {
            let (rest, frames) = fill(full.reuse());
            full.keep(rest);
            held.push(frames);
        }
        assert_eq!(full.0.len(), FULL_MAX);
    }

    /// A stream that is in its third block of the largest size; nobody holds any of its frames.
    async fn fast() -> (Frames<impl AsyncRead + Unpin>, DuplexStream) {
        let (mut parent, child) = duplex(256 * 1024);
        let mut frames = Frames::new(child.compat(), Arc::default(), Decoder::default());
        let (payload, mut id, mut largest) = (vec![7; 48 * 1024], 0, 0);
        let mut block = frames.buffer.capacity();
        while largest < 3 {
            let mut bytes = BytesMut::new();
            let chunk = frame::chunks(id, &payload).next().expect("one");
            Frame::Chunk(chunk).encode(&mut bytes);
            parent.write_all(&bytes).await.expect("there is room");
            let Frame::Chunk(chunk) = frames.next().await.expect("a frame") else { panic!("a chunk was sent") };
            assert_eq!((chunk.id, chunk.payload_bytes()), (id, payload.len()));
            id += 1;
            // What is left of a block only becomes less.
            let room = frames.buffer.capacity();
            largest += u32::from(frames.is_largest && room > block);
            block = room;
        }
        (frames, parent)
    }

    #[tokio::test]
    async fn a_fast_stream_needs_no_more_blocks_than_are_held() {
        let (frames, _parent) = fast().await;
        assert_eq!(frames.full.0.len(), 1, "each is filled again when the next one is full");
    }

    #[tokio::test]
    async fn a_stream_that_stops_gives_its_blocks_back() {
        let (mut frames, _parent) = fast().await;
        assert!(!frames.full.is_empty());
        let stops = async {
            while !frames.full.is_empty() {
                frames.read_some().await.expect("the stream is there");
            }
        };
        timeout(Duration::from_secs(60), stops).await.expect("it need not wait for more bytes");
    }

    #[tokio::test]
    async fn a_stream_that_becomes_slow_gives_its_blocks_back() {
        let (mut frames, mut parent) = fast().await;
        frames.begun -= 2 * SLOW;
        parent.write_all(&[0]).await.expect("there is room");
        frames.read_some().await.expect("a byte");
        assert!(frames.full.is_empty());
    }
}
