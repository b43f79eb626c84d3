//! What is composed of the operations of a [`Store`].

use std::{
    collections::BTreeSet,
    io::{self, Read, Seek, SeekFrom},
};

use super::{Access, Kind, Store, StoreError};

/// Paths that are made durable at once.
pub(crate) const SYNC_BATCH: usize = 4096;
/// Deepest nesting of folders that is walked.
pub const TREE_DEPTH_MAX: usize = 256;

/// A path in a folder.
#[must_use]
pub fn path_of(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Whether a hole of a file would read as these bytes.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The folder that a path is in.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Makes a folder and those above it, as far as they are missing. Not durable: see [`sync_dirs`].
///
/// # Errors
/// A file is in the way, or the disk fails.
pub fn create_dirs<S: Store>(store: &S, path: &str) -> Result<(), StoreError> {
    match store.metadata(path)? {
        Some(metadata) if metadata.kind == Kind::Dir => Ok(()),
        Some(_) => Err(StoreError::WrongKind(path.to_owned(), "folder")),
        None => {
            create_dirs(store, parent(path))?;
            store.create_dir(path)
        }
    }
}

/// Makes the names of folders durable: all of `dirs`, and the folders above them up to `top`.
///
/// # Errors
/// The disk fails.
pub fn sync_dirs<'a, S: Store>(
    store: &S,
    top: &str,
    dirs: impl IntoIterator<Item = &'a str>,
) -> Result<(), StoreError> {
    let mut all = BTreeSet::from([top]);
    for dir in dirs {
        let mut dir = dir;
        while dir.len() > top.len() && all.insert(dir) {
            dir = parent(dir);
        }
    }
    // A folder sorts before what is in it.
    let all: Vec<(String, Kind)> = all.into_iter().rev().map(|dir| (dir.to_owned(), Kind::Dir)).collect();
    store.sync_all(&all)
}

/// Makes a folder durable with all that it holds, but not its own name.
///
/// # Errors
/// The disk fails, or something in it is neither file nor folder.
pub fn sync_tree<S: Store>(store: &S, dir: &str) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    walk(store, dir, &mut |path, kind| {
        if kind == Kind::Other {
            return Err(StoreError::WrongKind(path.to_owned(), "file"));
        }
        batch.push((path.to_owned(), kind));
        if batch.len() == SYNC_BATCH { store.sync_all(&std::mem::take(&mut batch)) } else { Ok(()) }
    })?;
    store.sync_all(&batch)
}

/// Removes a file, or a folder with all that it holds. Nothing happens if it is not there. Symbolic
/// links are removed, not followed.
///
/// # Errors
/// The disk fails, or a name cannot be used in a path. Some may be removed already.
pub fn remove_tree<S: Store>(store: &S, path: &str) -> Result<(), StoreError> {
    match store.metadata(path)? {
        None => Ok(()),
        Some(metadata) if metadata.kind == Kind::Dir => walk(store, path, &mut |path, kind| match kind {
            Kind::Dir => store.remove_dir(path),
            Kind::File | Kind::Other => store.remove_file(path),
        }),
        Some(_) => store.remove_file(path),
    }
}

/// Visits a folder: what is in it first, then itself.
fn walk<S: Store>(
    store: &S,
    dir: &str,
    visit: &mut impl FnMut(&str, Kind) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if dir.split('/').count() > TREE_DEPTH_MAX {
        return Err(StoreError::TooMuch(dir.to_owned(), TREE_DEPTH_MAX as u64, "nested folders"));
    }
    for entry in store.list(dir)? {
        let path = path_of(dir, &entry.name);
        if !entry.nameable {
            return Err(StoreError::BadPath(path));
        }
        match store.metadata(&path)?.map(|metadata| metadata.kind) {
            Some(Kind::Dir) => walk(store, &path, visit)?,
            Some(kind) => visit(&path, kind)?,
            None => {}
        }
    }
    visit(dir, Kind::Dir)
}

/// Reads a whole file; `None`: there is none.
///
/// # Errors
/// It is longer than `bytes_max`, no regular file, or the disk fails.
pub fn read_all<S: Store>(store: &S, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match store.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = store.read_at(&file, bytes.len() as u64, &mut chunk)?;
        if read == 0 {
            return Ok(Some(bytes));
        }
        if (bytes.len() + read) as u64 > bytes_max {
            return Err(StoreError::TooMuch(path.to_owned(), bytes_max, "bytes"));
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// Writes a file that is not there yet, and makes its content durable, not its name.
///
/// # Errors
/// The name is taken, or the disk is full or fails; then a part of the file may be left.
pub fn write_new<S: Store>(store: &S, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let file = store.open(path, Access::Create)?;
    store.write_at(&file, 0, bytes)?;
    store.sync(&file)
}

/// Replaces a file: after a crash at any moment either the old or the new content is there, after
/// success the new. Writes `PATH.tmp` first.
///
/// # Errors
/// The disk is full or fails; the old content is still there, or after a failed sync of the folder
/// maybe the new one.
pub fn replace_file<S: Store>(store: &S, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = format!("{path}.tmp");
    remove_tree(store, &temporary)?;
    write_new(store, &temporary, bytes)?;
    store.rename(&temporary, path)?;
    store.sync_dir(parent(path))
}

/// A file of a store as [`Read`] and [`Seek`].
#[derive(Debug)]
pub struct ReadAt<'a, S: Store> {
    store: &'a S,
    file: S::File,
    offset: u64,
    len: u64,
}

impl<'a, S: Store> ReadAt<'a, S> {
    /// Opens a file to read.
    ///
    /// # Errors
    /// It is not there, no regular file, or the disk fails.
    pub fn open(store: &'a S, path: &str) -> Result<Self, StoreError> {
        let file = store.open(path, Access::Read)?;
        let len = store.metadata(path)?.map_or(0, |metadata| metadata.size);
        Ok(Self { store, file, offset: 0, len })
    }
}

impl<S: Store> Read for ReadAt<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.store.read_at(&self.file, self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl<S: Store> Seek for ReadAt<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.offset.checked_add_signed(delta),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}
