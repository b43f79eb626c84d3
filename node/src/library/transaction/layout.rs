//! Names of files and folders, and the markers that prove whose they are.

use std::fmt;

use super::TransactionError;
use crate::library::{
    manifest::PackageId,
    path::PackagePath,
    store::{Kind, Store, StoreError, create_dirs, path_of, read_all, replace_file},
};

/// The library's own folder.
pub const OWN_DIR: &str = ".banyan";
/// The folder in a package that holds what was unpacked.
pub const INSTALLED_DIR: &str = "local";
/// In a package that this library has fetched.
pub(super) const PACKAGE_MARKER: &str = ".banyan-package";
/// In what this library has unpacked.
pub(super) const INSTALLED_MARKER: &str = ".banyan-installed";
/// What the sentinel is called until all else is durable.
pub(super) const SENTINEL_STAGED: &str = ".banyan-sentinel";

const OWNER: &str = ".banyan/owner";
const OWNER_KIND: &str = "banyan library 1";
const MARKER_BYTES_MAX: u64 = 256;

/// Tells this library's markers from those of another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LibraryId(pub [u8; 16]);

impl fmt::Debug for LibraryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Where operations are prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Get,
    Do,
}

impl Area {
    pub(super) const ALL: [Self; 2] = [Self::Get, Self::Do];

    pub(super) const fn dir(self) -> &'static str {
        match self {
            Self::Get => ".banyan/get",
            Self::Do => ".banyan/do",
        }
    }
}

/// The work folder of one package.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) area: Area,
    pub(super) name: String,
    pub(super) dir: String,
}

impl Work {
    pub(super) fn new(area: Area, name: &str) -> Self {
        Self { area, name: name.to_owned(), dir: path_of(area.dir(), name) }
    }

    fn in_it(&self, name: &str) -> String {
        path_of(&self.dir, name)
    }

    pub(super) fn fresh(&self) -> String {
        self.in_it("new")
    }

    pub(super) fn old(&self) -> String {
        self.in_it("old")
    }

    pub(super) fn intent(&self) -> String {
        self.in_it("intent")
    }

    pub(super) fn manifest(&self) -> String {
        self.in_it("manifest")
    }

    pub(super) fn journal(&self) -> String {
        self.in_it("journal")
    }

    /// Makes the folder, durably.
    pub(super) fn create<S: Store>(&self, store: &S) -> Result<(), StoreError> {
        create_dirs(store, &self.dir)?;
        ["", OWN_DIR, self.area.dir()].into_iter().rev().try_for_each(|dir| store.sync_dir(dir))
    }
}

/// What is installed of a package.
pub(super) fn local(name: &str) -> String {
    path_of(name, INSTALLED_DIR)
}

/// Checks the name of a package's folder: one part of a path, not hidden.
pub(super) fn check_name(name: &str) -> Result<(), TransactionError> {
    let valid = PackagePath::new(name).is_ok() && !name.contains('/') && !name.starts_with('.');
    if valid { Ok(()) } else { Err(TransactionError::Name(name.chars().take(256).collect())) }
}

/// Takes the folder `.banyan` into possession. Returns the library's number: the one found there, or `id`.
pub(super) fn own<S: Store>(store: &S, id: LibraryId) -> Result<LibraryId, TransactionError> {
    if let Some(text) = read_all(store, OWNER, MARKER_BYTES_MAX)? {
        let found = std::str::from_utf8(&text).ok().and_then(parse_owner);
        return found.ok_or_else(|| TransactionError::NotOwned(OWNER.to_owned()));
    }
    create_dirs(store, OWN_DIR)?;
    let text = format!("{OWNER_KIND}\n{id:?}\n");
    // What an attempt that was interrupted may have left, and nothing else.
    for entry in store.list(OWN_DIR)? {
        let path = path_of(OWN_DIR, &entry.name);
        let metadata = store.metadata(&path)?;
        let left_over = |metadata: &_| {
            let metadata: &super::super::store::Metadata = metadata;
            metadata.kind == Kind::File && metadata.size <= text.len() as u64
        };
        if path != format!("{OWNER}.tmp") || !metadata.as_ref().is_none_or(left_over) {
            return Err(TransactionError::NotOwned(path));
        }
    }
    replace_file(store, OWNER, text.as_bytes())?;
    store.sync_dir("")?;
    Ok(id)
}

fn parse_owner(text: &str) -> Option<LibraryId> {
    let digits = text.strip_prefix(OWNER_KIND)?.strip_prefix('\n')?.strip_suffix('\n')?;
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(|number| LibraryId(number.to_be_bytes()))
}

/// The text of a marker.
pub(super) fn marker(library: LibraryId, package: PackageId) -> String {
    format!("{library:?}\n{package}\n")
}

/// The package of which a marker tells; `None`: no marker of this library.
pub(super) fn read_marker<S: Store>(
    store: &S,
    library: LibraryId,
    dir: &str,
    name: &str,
) -> Result<Option<PackageId>, StoreError> {
    let text = match read_all(store, &path_of(dir, name), MARKER_BYTES_MAX) {
        // Whatever it is, it proves nothing.
        Err(StoreError::WrongKind(..) | StoreError::TooMuch(..)) => None,
        text => text?,
    };
    let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
    let package = text.strip_prefix(&format!("{library:?}\n")).and_then(|rest| rest.strip_suffix('\n'));
    Ok(package.and_then(|digits| digits.parse().ok()))
}
