//! Tar archives: POSIX (ustar, pax) and GNU, files and folders only.
//!
//! Read here rather than by a crate, so that names and attributes in the archive, which others
//! write, are never held beyond a bound.

use std::io::{self, Read};

use super::{Sink, UnpackError};

const BLOCK_BYTES: usize = 512;
/// Longest attributes of an entry.
const ATTRIBUTES_BYTES_MAX: u64 = 64 * 1024;

/// Unpacks an archive. It ends with a block of zeros or where the input ends.
pub(super) fn unpack(archive: &str, input: &mut dyn Read, into: &mut Sink<'_>) -> Result<(), UnpackError> {
    let reading = |error| UnpackError::reading(archive, error);
    let bad = |reason: &str| UnpackError::Archive { path: archive.to_owned(), reason: reason.to_owned() };
    let mut next = Attributes::default();
    while let Some(header) = read_block(input).map_err(reading)? {
        if header == [0; BLOCK_BYTES] {
            break;
        }
        if !is_checksum_right(&header) {
            return Err(bad("a header is damaged"));
        }
        let kind = header[156];
        let own_size = number(&header[124..136]).ok_or_else(|| bad("a size is no number"))?;
        match kind {
            b'L' | b'x' | b'g' => {
                if own_size > ATTRIBUTES_BYTES_MAX {
                    return Err(bad("the attributes of an entry are too long"));
                }
                let mut bytes = Vec::new();
                input.take(own_size).read_to_end(&mut bytes).map_err(reading)?;
                skip(input, padding(own_size)).map_err(reading)?;
                if bytes.len() as u64 != own_size {
                    return Err(bad("it ends in an entry"));
                }
                match kind {
                    b'L' => next.path = Some(text(until_zero(&bytes)).ok_or_else(|| bad("a name is not UTF-8"))?),
                    b'x' => next.read(&bytes).ok_or_else(|| bad("the attributes of an entry are damaged"))?,
                    // For the whole archive: times and comments.
                    _ => {}
                }
                continue;
            }
            _ => {}
        }
        let Attributes { path, size } = std::mem::take(&mut next);
        let path = match path {
            Some(path) => path,
            None => header_path(&header).ok_or_else(|| bad("a name is not UTF-8"))?,
        };
        let size = size.unwrap_or(own_size);
        // Folders end with a slash, and many archives begin all names with `./`.
        let name = path.trim_start_matches("./").trim_end_matches('/');
        match kind {
            b'0' | b'7' | 0 if !path.ends_with('/') => {
                let executable = number(&header[100..108]).is_some_and(|mode| mode & 0o100 != 0);
                if into.file(name, executable, archive, &mut input.take(size))? != size {
                    return Err(bad("it ends in a file"));
                }
                skip(input, padding(size)).map_err(reading)?;
            }
            b'5' | b'0' | 0 if size == 0 => {
                if !name.is_empty() && name != "." {
                    into.dir(name)?;
                }
            }
            _ => return Err(UnpackError::Kind(path)),
        }
    }
    Ok(())
}

/// What extended headers say of the next entry.
#[derive(Default)]
struct Attributes {
    path: Option<String>,
    size: Option<u64>,
}

impl Attributes {
    /// Reads records: `LENGTH KEY=VALUE\n`.
    fn read(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let len: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let (record, rest) = records.split_at_checked(len)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            match (&record[..equals], &record[equals + 1..]) {
                (b"path", value) => self.path = Some(text(value)?),
                (b"size", value) => self.size = Some(text(value)?.parse().ok()?),
                _ => {}
            }
            records = rest;
        }
        Some(())
    }
}

/// `None`: the input has ended.
fn read_block(input: &mut dyn Read) -> io::Result<Option<[u8; BLOCK_BYTES]>> {
    let mut block = [0; BLOCK_BYTES];
    let mut read = 0;
    while read < BLOCK_BYTES {
        match input.read(&mut block[read..])? {
            0 if read == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(Some(block))
}

fn is_checksum_right(header: &[u8; BLOCK_BYTES]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            // The sum itself counts as spaces.
            u64::from(if (148..156).contains(&at) { b' ' } else { *byte })
        })
        .sum();
    number(&header[148..156]) == Some(sum)
}

fn header_path(header: &[u8; BLOCK_BYTES]) -> Option<String> {
    let name = text(until_zero(&header[..100]))?;
    let prefix = if &header[257..263] == b"ustar\0" { text(until_zero(&header[345..500]))? } else { String::new() };
    Some(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

/// Octal digits, or for large numbers binary with the highest bit set.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_last_chunk::<8>()?;
        let is_small = *high.first()? == 0x80 && high[1..].iter().all(|byte| *byte == 0);
        return is_small.then_some(u64::from_be_bytes(*low));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES as u64) - size
}

fn skip(input: &mut dyn Read, bytes: u64) -> io::Result<()> {
    io::copy(&mut input.take(bytes), &mut io::sink()).map(|_| ())
}
