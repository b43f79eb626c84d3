//! The few file operations that the library needs, and what of them outlives a crash.
//!
//! A [`Store`] is one folder, the library's root. Paths are relative to it, with `/` between parts;
//! the empty path is the root itself. No operation ever follows a symbolic link.
//!
//! What is durable, that is, outlives a loss of power:
//! - The content, length and mode of a file: after [`Store::sync`] of the file.
//! - The names in a folder (made, removed, renamed): after [`Store::sync_dir`] of that folder. A
//!   rename is durable as a whole or not at all, once either of its two folders is synced.
//! - Nothing else. Without a sync, each write and each name may be lost or kept on its own, in any
//!   combination. A file whose sync failed may have lost everything since the sync before, even if
//!   a later sync succeeds; a failed [`Store::sync_dir`] leaves it open what is durable.

mod ops;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod sim;

use std::io;

pub use ops::{
    ReadAt, TREE_DEPTH_MAX, create_dirs, path_of, read_all, remove_tree, replace_file, sync_dirs, sync_tree, write_new,
};
pub(crate) use ops::{SYNC_BATCH, is_zero, parent};

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 8192;
/// Most entries of one folder; a listing of so many takes about 100 MiB.
pub const DIR_ENTRIES_MAX: usize = 1_100_000;

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link, a socket, a device or the like: never opened.
    Other,
}

/// What is known of a path without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
    /// Whether the owner may execute it.
    pub executable: bool,
    /// Last change of the content, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// What the file system calls the file: another file in its place has another number.
    pub inode: u64,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name. Lossy if the real one is not UTF-8; `nameable` is false then.
    pub name: String,
    /// Whether `name` can be used in a path.
    pub nameable: bool,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To read and write; the content stays.
    Write,
    /// Made anew, to read and write; fails if the name is taken.
    Create,
}

/// An operation on the store failed. Unless said otherwise nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such file or folder.
    #[error("{0}: not found")]
    NotFound(String),
    /// The name is taken.
    #[error("{0}: exists already")]
    Exists(String),
    /// The folder holds something.
    #[error("{0}: the folder is not empty")]
    NotEmpty(String),
    /// A file where a folder should be, a folder where a file should be, or a symbolic link.
    #[error("{0}: not a {1}")]
    WrongKind(String, &'static str),
    /// The path is absolute, leads out of the store, or is too long.
    #[error("{0:?}: not a path within the library")]
    BadPath(String),
    /// More than a bound allows.
    #[error("{0}: more than {1} {2}")]
    TooMuch(String, u64, &'static str),
    /// The disk is full, or a quota is used up. A write may have been done in part.
    #[error("{0}: no space left on the disk")]
    Full(String),
    /// The disk or the file system failed. A write may have been done in part.
    #[error("{path}: {source}")]
    Io {
        /// What it was about.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl StoreError {
    /// Sorts an error of the system.
    #[must_use]
    pub fn from_io(path: &str, source: io::Error) -> Self {
        use io::ErrorKind as E;
        let path = path.to_owned();
        match source.kind() {
            E::NotFound => Self::NotFound(path),
            E::AlreadyExists => Self::Exists(path),
            E::DirectoryNotEmpty => Self::NotEmpty(path),
            E::NotADirectory => Self::WrongKind(path, "folder"),
            E::IsADirectory => Self::WrongKind(path, "file"),
            E::StorageFull | E::QuotaExceeded => Self::Full(path),
            _ => Self::Io { path, source },
        }
    }

    /// Whether the name is simply not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// A folder on a disk. All calls block.
pub trait Store {
    /// An open file; dropping it closes it.
    type File: Send;

    /// Opens a file.
    ///
    /// # Errors
    /// It is not there, taken (`Create`), or no regular file.
    fn open(&self, path: &str, access: Access) -> Result<Self::File, StoreError>;

    /// Reads at a place; returns how many bytes, 0 only at the end.
    ///
    /// # Errors
    /// The disk fails.
    fn read_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError>;

    /// Writes all the bytes at a place. What lies between the old end and the place reads as zeros.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Sets the length; what is added reads as zeros and takes no space.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn set_len(&self, file: &Self::File, len: u64) -> Result<(), StoreError>;

    /// Sets the mode to 0755 or 0644.
    ///
    /// # Errors
    /// The disk fails.
    fn set_executable(&self, file: &Self::File, executable: bool) -> Result<(), StoreError>;

    /// Makes content, length and mode durable, whoever wrote them; not the file's name.
    ///
    /// # Errors
    /// The disk fails. All since the sync before may be lost, whatever later syncs say.
    fn sync(&self, file: &Self::File) -> Result<(), StoreError>;

    /// What a path names; `None`: nothing.
    ///
    /// # Errors
    /// The path leads through something that is no folder, or the disk fails.
    fn metadata(&self, path: &str) -> Result<Option<Metadata>, StoreError>;

    /// The names in a folder, sorted, at most [`DIR_ENTRIES_MAX`].
    ///
    /// # Errors
    /// It is not there, no folder, or holds too many.
    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, StoreError>;

    /// Makes a folder in one that is there.
    ///
    /// # Errors
    /// The name is taken, or the folder above is not there.
    fn create_dir(&self, path: &str) -> Result<(), StoreError>;

    /// Makes the names in a folder durable, not those in the folders below.
    ///
    /// # Errors
    /// The disk fails.
    fn sync_dir(&self, path: &str) -> Result<(), StoreError>;

    /// Makes many files and folders durable, in any order: what [`Store::sync`] and [`Store::sync_dir`] do to each.
    ///
    /// # Errors
    /// One is not there, or the disk fails. It is unknown then which are durable.
    fn sync_all(&self, paths: &[(String, Kind)]) -> Result<(), StoreError> {
        paths.iter().try_for_each(|(path, kind)| match kind {
            Kind::Dir => self.sync_dir(path),
            Kind::File | Kind::Other => self.sync(&self.open(path, Access::Read)?),
        })
    }

    /// Renames a file or folder. A file replaces a file; else the new name must be free.
    ///
    /// # Errors
    /// Nothing is there, or the new name is taken.
    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError>;

    /// Removes a file or symbolic link.
    ///
    /// # Errors
    /// It is not there, or a folder.
    fn remove_file(&self, path: &str) -> Result<(), StoreError>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// It is not there, no folder, or not empty.
    fn remove_dir(&self, path: &str) -> Result<(), StoreError>;
}

/// The parts of a path, checked: none is empty, `.` or `..` or holds a NUL.
///
/// # Errors
/// [`StoreError::BadPath`].
pub fn parts(path: &str) -> Result<Vec<&str>, StoreError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let bad = |part: &&str| matches!(*part, "" | "." | "..") || part.contains('\0');
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|part| bad(&part)) {
        return Err(StoreError::BadPath(path.chars().take(256).collect()));
    }
    Ok(path.split('/').collect())
}
