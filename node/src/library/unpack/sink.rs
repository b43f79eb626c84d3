//! Where unpacked files go: checked and counted.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read},
};

use super::{Limits, PATH_BYTES_SUM_MAX, RATIO_FREE_BYTES, UnpackError};
use crate::library::{
    path::{OWN_PREFIX, PackagePath, check_collisions},
    store::{Access, Store, StoreError, create_dirs, is_zero, parent, path_of},
    transaction::Cancel,
};

const CHUNK_BYTES: usize = 256 * 1024;

/// Takes what an unpacker finds.
pub struct Sink<'a> {
    target: &'a mut dyn Target,
    limits: Limits,
    /// Bytes that may still come.
    room: u64,
    bytes_max: u64,
    files: BTreeSet<PackagePath>,
    entries: u64,
    path_bytes: u64,
    cancel: &'a Cancel,
}

/// The operations of a store that a sink needs.
pub trait Target {
    /// Makes a folder and those above it, if they are not there.
    ///
    /// # Errors
    /// The disk fails.
    fn create_dirs(&mut self, path: &str) -> Result<(), StoreError>;
    /// Makes a file; what is written goes there.
    ///
    /// # Errors
    /// The disk fails, or it is there.
    fn create(&mut self, path: &str, executable: bool) -> Result<(), StoreError>;
    /// Writes to the file made last.
    ///
    /// # Errors
    /// The disk fails.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;
    /// Sets the length of the file; what is added reads as zeros.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn set_len(&mut self, bytes: u64) -> Result<(), StoreError>;
}

impl<'a> Sink<'a> {
    /// A sink for a package of `packed` bytes.
    #[must_use]
    pub fn new(target: &'a mut dyn Target, limits: Limits, packed: u64, cancel: &'a Cancel) -> Self {
        let by_ratio = packed.saturating_mul(limits.ratio_max).saturating_add(RATIO_FREE_BYTES);
        let bytes_max = limits.bytes_max.min(by_ratio);
        Self { target, limits, room: bytes_max, bytes_max, files: BTreeSet::new(), entries: 0, path_bytes: 0, cancel }
    }

    /// Most bytes that all of this may make out of an archive, with what describes the entries.
    #[must_use]
    pub fn decoded_max(&self) -> u64 {
        self.bytes_max.saturating_add(self.limits.entries_max.saturating_mul(4096))
    }

    /// Makes a folder, and those above it. It may be there.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn dir(&mut self, path: &str) -> Result<(), UnpackError> {
        let path = self.admit(path)?;
        Ok(self.target.create_dirs(path.as_str())?)
    }

    /// Makes a file and the folders above it. Returns its bytes.
    ///
    /// # Errors
    /// [`UnpackError`]; `archive` names what is read, for the message.
    pub fn file(
        &mut self,
        path: &str,
        executable: bool,
        archive: &str,
        content: &mut dyn Read,
    ) -> Result<u64, UnpackError> {
        let path = self.admit(path)?;
        self.target.create_dirs(parent(path.as_str()))?;
        self.target.create(path.as_str(), executable)?;
        self.files.insert(path);
        let (mut buffer, mut offset, mut hole) = (vec![0; CHUNK_BYTES], 0, false);
        loop {
            if self.cancel.is_cancelled() {
                return Err(UnpackError::Cancelled);
            }
            let read = match content.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| UnpackError::reading(archive, error))?,
            };
            if read == 0 {
                if hole {
                    self.target.set_len(offset)?;
                }
                return Ok(offset);
            }
            self.room = self.room.checked_sub(read as u64).ok_or(UnpackError::TooMuch(self.bytes_max, "bytes"))?;
            hole = is_zero(&buffer[..read]);
            if !hole {
                self.target.write(offset, &buffer[..read])?;
            }
            offset += read as u64;
        }
    }

    pub(super) fn finish(self) -> Result<(), UnpackError> {
        Ok(check_collisions(&self.files)?)
    }

    fn admit(&mut self, path: &str) -> Result<PackagePath, UnpackError> {
        if self.cancel.is_cancelled() {
            return Err(UnpackError::Cancelled);
        }
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(UnpackError::TooMuch(self.limits.entries_max, "files and folders"));
        }
        self.path_bytes += path.len() as u64;
        if self.path_bytes > PATH_BYTES_SUM_MAX {
            return Err(UnpackError::TooMuch(PATH_BYTES_SUM_MAX, "bytes of paths"));
        }
        let checked = PackagePath::new(path)?;
        if path.to_ascii_lowercase().starts_with(OWN_PREFIX) {
            return Err(UnpackError::Reserved(path.to_owned()));
        }
        Ok(checked)
    }
}

impl fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("entries", &self.entries).field("room", &self.room).finish_non_exhaustive()
    }
}

/// A folder of a store.
pub(super) struct StoreTarget<'a, S: Store> {
    store: &'a S,
    dir: &'a str,
    file: Option<S::File>,
}

impl<'a, S: Store> StoreTarget<'a, S> {
    pub(super) const fn new(store: &'a S, dir: &'a str) -> Self {
        Self { store, dir, file: None }
    }
}

impl<S: Store> Target for StoreTarget<'_, S> {
    fn create_dirs(&mut self, path: &str) -> Result<(), StoreError> {
        if path.is_empty() { Ok(()) } else { create_dirs(self.store, &path_of(self.dir, path)) }
    }

    fn create(&mut self, path: &str, executable: bool) -> Result<(), StoreError> {
        let file = self.store.open(&path_of(self.dir, path), Access::Create)?;
        if executable {
            self.store.set_executable(&file, true)?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.file.as_ref().expect("a file is made before it is written");
        self.store.write_at(file, offset, bytes)
    }

    fn set_len(&mut self, bytes: u64) -> Result<(), StoreError> {
        let file = self.file.as_ref().expect("a file is made before it is written");
        self.store.set_len(file, bytes)
    }
}
