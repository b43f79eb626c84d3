//! Data streams of a member that means harm. As a child it takes a track in like any other and keeps it; to its children
//! it says nothing, sends nothing, or passes on what it has got with a byte of each object changed.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use banyan_node::{
    net::host::Stream,
    relay::{Decoder, Frame, Opening, OpeningFrom, frame::HEADER_BYTES},
};
use bytes::BytesMut;
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// What it does to its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It does not begin their streams.
    Mute,
    /// It begins them, and sends nothing.
    Withhold,
    /// It alters the objects that it passes on, and leaves their seals as they are.
    Corrupt,
}

/// The frames that came from its parents, in order; some 250 KB for each second of the tests' tracks.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    frames: Arc<Mutex<Vec<Frame>>>,
    length: watch::Sender<usize>,
}

impl Copied {
    pub(crate) fn new() -> Self {
        Self { frames: Arc::default(), length: watch::Sender::new(0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self.length.borrow() == 0
    }

    fn push(&self, frame: Frame) {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.push(frame);
        self.length.send_replace(frames.len());
    }

    fn after(&self, place: usize) -> Vec<Frame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)[place..].to_vec()
    }

    /// Where a child's stream begins that wants this object: after the last seal before it, with which object.
    fn begin(&self, wanted: u64) -> (usize, u64) {
        let frames = self.after(0);
        let sealed = frames.iter().enumerate().filter_map(|(place, frame)| match frame {
            Frame::Seal(seal) if seal.upto.id <= wanted => Some((place + 1, seal.upto.id)),
            _ => None,
        });
        let first = frames.iter().enumerate().find_map(|(place, frame)| match frame {
            Frame::Chunk(chunk) => Some((place, chunk.id)),
            _ => None,
        });
        sealed.last().or(first).unwrap_or((frames.len(), wanted))
    }
}

/// Takes the track in from a parent, as a child that consumes everything at once, until the stream ends.
pub(crate) async fn pull(mut stream: Stream, opening: Opening, copied: Copied) -> io::Result<()> {
    let cbor = opening.encode();
    stream.write_all(&u16::try_from(cbor.len()).map_err(io::Error::other)?.to_be_bytes()).await?;
    stream.write_all(&cbor).await?;
    stream.flush().await?;
    let (mut decoder, mut bytes, mut block) = (Decoder::default(), BytesMut::new(), vec![0; 64 * 1024]);
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&block[..length]);
        let mut ack = BytesMut::new();
        while let Some(frame) = decoder.decode(&mut bytes).map_err(io::Error::other)? {
            match &frame {
                Frame::Chunk(chunk) if chunk.last => {
                    ack.clear();
                    Frame::Ack(chunk.id + 1).encode(&mut ack);
                }
                Frame::Start { .. } | Frame::CutOff => continue,
                _ => {}
            }
            copied.push(frame);
        }
        stream.write_all(&ack).await?;
        stream.flush().await?;
    }
}

/// Serves a child.
pub(crate) async fn feed(mut stream: Stream, harm: Harm, copied: Copied) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut cbor = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut cbor).await?;
    let opening = Opening::decode(&cbor).map_err(io::Error::other)?;
    let wanted = match opening.from {
        OpeningFrom::Id(id) => id,
        _ => 0,
    };
    let (mut place, from) = if harm == Harm::Corrupt { copied.begin(wanted) } else { (0, wanted) };
    let mut length = copied.length.subscribe();
    let mut out = BytesMut::new();
    if harm != Harm::Mute {
        Frame::Start { from, newest: from, reliable: true, epoch: opening.epoch }.encode(&mut out);
    }
    loop {
        if harm == Harm::Corrupt {
            for frame in copied.after(place) {
                place += 1;
                altered(frame).encode(&mut out);
            }
        }
        stream.write_all(&out.split()).await?;
        stream.flush().await?;
        length.changed().await.map_err(io::Error::other)?;
    }
}

fn altered(frame: Frame) -> Frame {
    match frame {
        Frame::Chunk(mut chunk) if chunk.wire.len() > HEADER_BYTES => {
            let mut wire = chunk.wire.to_vec();
            wire[HEADER_BYTES] ^= 1;
            chunk.wire = wire.into();
            Frame::Chunk(chunk)
        }
        frame => frame,
    }
}
