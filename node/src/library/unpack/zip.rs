//! Zip archives: stored and deflated files, and folders; also of more than 4 GiB.
//!
//! Read here rather than by a crate, so that the directory of an archive, which others write, is
//! read entry by entry and never held as a whole.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::{Crc, bufread::DeflateDecoder};

use super::{ReadSeek, Sink, UnpackError};

const END: u32 = 0x0605_4b50;
const END_BYTES: u64 = 22;
const END_64_LOCATOR: u32 = 0x0706_4b50;
const END_64: u32 = 0x0606_4b50;
const ENTRY: u32 = 0x0201_4b50;
const LOCAL: u32 = 0x0403_4b50;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An entry of the directory.
struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    /// File type and permissions of Unix; 0: made elsewhere.
    mode: u32,
    local: u64,
}

/// Unpacks an archive.
pub(super) fn unpack(archive: &str, input: &mut dyn ReadSeek, into: &mut Sink<'_>) -> Result<(), UnpackError> {
    let reading = |error| UnpackError::reading(archive, error);
    let bad = |reason: &str| UnpackError::Archive { path: archive.to_owned(), reason: reason.to_owned() };
    let mut input = BufReader::with_capacity(64 * 1024, input);
    let (mut at, entries) = directory(&mut input).map_err(reading)?;
    for _ in 0..entries {
        input.seek(SeekFrom::Start(at)).map_err(reading)?;
        let entry = Entry::read(&mut input).map_err(reading)?;
        at = input.stream_position().map_err(reading)?;
        let path = String::from_utf8(entry.name.clone()).map_err(|_| bad("a name is not UTF-8"))?;
        let name = path.trim_start_matches("./").trim_end_matches('/');
        match entry.mode & 0o170_000 {
            0o040_000 | 0 | 0o100_000 if path.ends_with('/') => {
                if !name.is_empty() {
                    into.dir(name)?;
                }
                continue;
            }
            0 | 0o100_000 => {}
            _ => return Err(UnpackError::Kind(path)),
        }
        if entry.flags & 1 != 0 {
            return Err(bad("it is encrypted"));
        }
        seek_data(&mut input, entry.local).map_err(reading)?;
        let packed = input.by_ref().take(entry.packed);
        let mut content: Box<dyn Read> = match entry.method {
            STORED => Box::new(packed),
            DEFLATED => Box::new(DeflateDecoder::new(packed)),
            _ => return Err(bad("it is compressed by an unknown method")),
        };
        // One byte more would show that the size is a lie.
        let mut checked = Checked { inner: content.by_ref().take(entry.size.saturating_add(1)), crc: Crc::new() };
        let size = into.file(name, entry.mode & 0o100 != 0, archive, &mut checked)?;
        if size != entry.size || checked.crc.sum() != entry.crc {
            return Err(bad("a file is damaged"));
        }
    }
    Ok(())
}

/// Where the directory begins, and how many entries it has.
fn directory(input: &mut (impl Read + Seek)) -> io::Result<(u64, u64)> {
    let len = input.seek(SeekFrom::End(0))?;
    let tail_at = len.saturating_sub(END_BYTES + u64::from(u16::MAX));
    input.seek(SeekFrom::Start(tail_at))?;
    let mut tail = Vec::new();
    input.take(len - tail_at).read_to_end(&mut tail)?;
    let is_end = |at: &usize| {
        let end = &tail[*at..];
        u32_at(end, 0) == END && u64::from(u16_at(end, 20)) + END_BYTES == end.len() as u64
    };
    let last = tail.len().checked_sub(END_BYTES as usize).ok_or_else(|| invalid("it is no zip archive"))?;
    let end = (0..=last).rev().find(is_end).ok_or_else(|| invalid("it is no zip archive"))?;
    let (entries, bytes, start) = (u16_at(&tail[end..], 10), u32_at(&tail[end..], 12), u32_at(&tail[end..], 16));
    if entries != u16::MAX && bytes != u32::MAX && start != u32::MAX {
        return Ok((start.into(), entries.into()));
    }
    let locator = (tail_at + end as u64).checked_sub(20).ok_or_else(|| invalid("it has no directory"))?;
    input.seek(SeekFrom::Start(locator))?;
    let locator: [u8; 20] = read(input)?;
    if u32_at(&locator, 0) != END_64_LOCATOR {
        // As many as that, but small.
        return Ok((start.into(), entries.into()));
    }
    input.seek(SeekFrom::Start(u64_at(&locator, 8)))?;
    let end: [u8; 56] = read(input)?;
    if u32_at(&end, 0) != END_64 {
        return Err(invalid("it has no directory"));
    }
    Ok((u64_at(&end, 48), u64_at(&end, 32)))
}

impl Entry {
    fn read(input: &mut impl Read) -> io::Result<Self> {
        let fixed: [u8; 46] = read(input)?;
        if u32_at(&fixed, 0) != ENTRY {
            return Err(invalid("its directory is damaged"));
        }
        let mut variable = vec![0; [28, 30, 32].map(|at| usize::from(u16_at(&fixed, at))).iter().sum()];
        input.read_exact(&mut variable)?;
        let name_len = usize::from(u16_at(&fixed, 28));
        let extra = &variable[name_len..name_len + usize::from(u16_at(&fixed, 30))];
        // What does not fit stands in the extra field, in this order.
        let mut wide = wide_numbers(extra).chunks_exact(8).map(|number| u64_at(number, 0));
        let mut number = |at: usize| match u32_at(&fixed, at) {
            u32::MAX => wide.next().ok_or_else(|| invalid("its directory is damaged")),
            number => Ok(number.into()),
        };
        let (size, packed, local) = (number(24)?, number(20)?, number(42)?);
        let by_unix = fixed[5] == 3;
        variable.truncate(name_len);
        Ok(Self {
            name: variable,
            flags: u16_at(&fixed, 8),
            method: u16_at(&fixed, 10),
            crc: u32_at(&fixed, 16),
            packed,
            size,
            mode: if by_unix { u32_at(&fixed, 38) >> 16 } else { 0 },
            local,
        })
    }
}

/// The field with the numbers of 64 bits.
fn wide_numbers(mut extra: &[u8]) -> &[u8] {
    while let Some((header, rest)) = extra.split_first_chunk::<4>() {
        let Some((field, rest)) = rest.split_at_checked(u16_at(header, 2).into()) else { break };
        if u16_at(header, 0) == 1 {
            return field;
        }
        extra = rest;
    }
    &[]
}

/// Goes to the data of the file whose header is at `local`.
fn seek_data(input: &mut (impl Read + Seek), local: u64) -> io::Result<()> {
    input.seek(SeekFrom::Start(local))?;
    let header: [u8; 30] = read(input)?;
    if u32_at(&header, 0) != LOCAL {
        return Err(invalid("the header of a file is damaged"));
    }
    input.seek(SeekFrom::Current(i64::from(u16_at(&header, 26)) + i64::from(u16_at(&header, 28)))).map(|_| ())
}

/// Sums up what is read.
struct Checked<R> {
    inner: R,
    crc: Crc,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.crc.update(&buffer[..read]);
        Ok(read)
    }
}

fn read<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
