//! The files of a package, to read.

use std::io::{Read, Seek};

use super::UnpackError;
use crate::library::{
    path::PackagePath,
    scan,
    store::{ReadAt, Store, path_of},
};

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it lies in the package.
    pub path: PackagePath,
    /// Its bytes.
    pub size: u64,
    /// Whether it is a program.
    pub executable: bool,
}

/// What can be read at any place.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// A package to unpack.
pub trait Source {
    /// Its files, sorted by path.
    fn files(&self) -> &[SourceFile];

    /// Opens one of them.
    ///
    /// # Errors
    /// The disk fails.
    fn open<'a>(&'a self, file: &SourceFile) -> Result<Box<dyn ReadSeek + 'a>, UnpackError>;
}

/// A package in a store.
pub(super) struct StoreSource<'a, S> {
    store: &'a S,
    dir: &'a str,
    files: Vec<SourceFile>,
}

impl<'a, S: Store> StoreSource<'a, S> {
    pub(super) fn new(store: &'a S, dir: &'a str) -> Result<Self, UnpackError> {
        let files = scan::files(store, dir)?.into_iter();
        let file = |(path, metadata): (_, crate::library::store::Metadata)| SourceFile {
            path,
            size: metadata.size,
            executable: metadata.executable,
        };
        Ok(Self { store, dir, files: files.map(file).collect() })
    }
}

impl<S: Store> Source for StoreSource<'_, S> {
    fn files(&self) -> &[SourceFile] {
        &self.files
    }

    fn open<'a>(&'a self, file: &SourceFile) -> Result<Box<dyn ReadSeek + 'a>, UnpackError> {
        Ok(Box::new(ReadAt::open(self.store, &path_of(self.dir, file.path.as_str()))?))
    }
}
