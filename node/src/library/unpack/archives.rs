//! The unpackers that ship with Banyan.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Sink, Source, UnpackError, Unpacker, tar, zip};

/// Largest window of a zstd frame: what `zstd --long` makes. Unpacking takes about as much memory.
const ZSTD_WINDOW_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Unpacks the archives of a package, each at the place where it lies, and copies all other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archives {
    /// Files that end with `.zip`.
    pub zip: bool,
    /// Files that end with `.tar.zst`.
    pub tar_zst: bool,
}

impl Archives {
    /// Copies all files as they are.
    pub const COPY: Self = Self { zip: false, tar_zst: false };
    /// Unpacks every kind that is known.
    pub const ALL: Self = Self { zip: true, tar_zst: true };
}

impl Unpacker for Archives {
    fn unpack(&self, package: &dyn Source, into: &mut Sink<'_>) -> Result<(), UnpackError> {
        for file in package.files() {
            let path = file.path.as_str();
            let ends_with = |end: &str| {
                path.len()
                    .checked_sub(end.len())
                    .is_some_and(|at| path.as_bytes()[at..].eq_ignore_ascii_case(end.as_bytes()))
            };
            if self.zip && ends_with(".zip") {
                zip::unpack(path, &mut package.open(file)?, into)?;
            } else if self.tar_zst && ends_with(".tar.zst") {
                let packed = BufReader::with_capacity(256 * 1024, package.open(file)?);
                let plain = Capped { inner: Frames { packed: Some(packed), frame: None }, room: into.decoded_max() };
                tar::unpack(path, &mut BufReader::with_capacity(256 * 1024, plain), into)?;
            } else {
                into.file(path, file.executable, path, &mut package.open(file)?)?;
            }
        }
        Ok(())
    }
}

/// Ends with an error instead of giving more than there is room for.
struct Capped<R> {
    inner: R,
    room: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.room = self.room.checked_sub(read as u64).ok_or_else(|| io::Error::other("it unpacks to too much"))?;
        Ok(read)
    }
}

/// What zstd frames, one after the other, hold.
struct Frames<R: BufRead> {
    /// Between two frames.
    packed: Option<R>,
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.packed = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(packed) = &mut self.packed else { return Err(io::Error::other("an earlier error")) };
            if packed.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let packed = self.packed.take().expect("it was there just now");
            let frame = StreamingDecoder::new_with_max_window_size(packed, ZSTD_WINDOW_BYTES_MAX);
            self.frame = Some(frame.map_err(io::Error::other)?);
        }
    }
}
