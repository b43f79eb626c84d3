//! Unpacking a package into its `local/` (D9).
//!
//! An [`Unpacker`] reads the package's files from a [`Source`] and hands what it finds to a
//! [`Sink`], which alone writes: it refuses paths that leave the folder and what exceeds the
//! [`Limits`]. Nothing ever makes a link. [`Archives`] is what ships with Banyan; others can be given.

mod archives;
mod sink;
mod source;
mod tar;
mod zip;

#[cfg(test)]
mod tests;

use std::io;

pub use archives::Archives;
pub use sink::{Sink, Target};
pub use source::{ReadSeek, Source, SourceFile};

use super::{
    path::{Collision, InvalidPath},
    scan::ScanError,
    store::{Store, StoreError},
    transaction::Cancel,
};
use sink::StoreTarget;

/// How much may come out of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all files.
    pub bytes_max: u64,
    /// Files and folders; they take up to 100 bytes each while unpacking, and their paths.
    pub entries_max: u64,
    /// Bytes for each byte of the package, beyond the first [`RATIO_FREE_BYTES`].
    pub ratio_max: u64,
}

/// So much may come out of the smallest package.
pub const RATIO_FREE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of all paths that come out of a package.
pub const PATH_BYTES_SUM_MAX: u64 = 128 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 1 << 40, entries_max: 1_000_000, ratio_max: 200 }
    }
}

/// A package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// An archive is damaged or of a kind that is not supported.
    #[error("{path}: {reason}")]
    Archive {
        /// Which one.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An archive holds a link, a device or the like.
    #[error("{0:?} is neither a file nor a folder")]
    Kind(String),
    /// A path is absolute, leads out of the folder or is not portable.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Two paths cannot lie beside each other.
    #[error(transparent)]
    Collision(#[from] Collision),
    /// The path is the node's.
    #[error("{0:?} is a name that belongs to the node")]
    Reserved(String),
    /// More comes out than the limits allow.
    #[error("more than {0} {1} come out of the package")]
    TooMuch(u64, &'static str),
    /// Somebody has asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The package cannot be read.
    #[error(transparent)]
    Package(#[from] ScanError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UnpackError {
    /// An archive cannot be read: because it is damaged, or because the disk fails.
    #[must_use]
    pub fn reading(path: &str, error: io::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => Self::Store(error),
            Err(error) => Self::Archive { path: path.to_owned(), reason: error.to_string() },
        }
    }
}

/// Turns the files of a package into what is installed.
pub trait Unpacker {
    /// Unpacks a package. Called once for each install; what it leaves behind after an error is removed.
    ///
    /// # Errors
    /// [`UnpackError`].
    fn unpack(&self, package: &dyn Source, into: &mut Sink<'_>) -> Result<(), UnpackError>;
}

/// Unpacks the package in one folder of a store into another one that is there and empty. Nothing
/// is durable then.
///
/// # Errors
/// [`UnpackError`]; a part may have been written.
pub(super) fn unpack<S: Store>(
    store: &S,
    from: &str,
    into: &str,
    unpacker: &dyn Unpacker,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(), UnpackError> {
    let source = source::StoreSource::new(store, from)?;
    let mut target = StoreTarget::new(store, into);
    let packed = source.files().iter().map(|file| file.size).sum();
    let mut sink = Sink::new(&mut target, limits, packed, cancel);
    unpacker.unpack(&source, &mut sink)?;
    sink.finish()
}
