//! What is done to packages on the disk, so that a crash at any moment leaves no torn state (D4, D8).
//!
//! ```text
//! ROOT/                          the library
//!   NAME/                        a package, complete if it has the sentinel
//!     version.ini                the sentinel
//!     .banyan-package            marker: fetched by this library, which may replace and remove it
//!     local/                     what was unpacked; its being there says: installed
//!       .banyan-installed        marker: unpacked by this library
//!   .banyan/                     belongs to the library, proven by
//!     owner                      its number, which all markers repeat
//!     get/NAME/                  a download; it outlives restarts
//!       manifest                 what is fetched
//!       journal                  which pieces are durable
//!       new/                     the package to be, its sentinel as `.banyan-sentinel`
//!       old/                     the package that it has replaced
//!       intent                   the decision
//!     do/NAME/                   an install, uninstall or removal; alike: new/ old/ intent
//! ```
//!
//! Each operation is: prepare `new/` and make it durable; write the intent; then only renames, each
//! durable before the next: what is in place goes to `old/`, `new/` takes its place; then `old/` and
//! the intent are removed. Without an intent the operation has not happened, and what is in the work
//! folder is removed (a download is kept, to go on). With an intent it has happened, and is finished
//! whenever somebody looks: at start-up, and before the next operation on the package.
//!
//! Between the two renames the package is found in `old/`: see [`Library::place`], and
//! [`Library::installed_place`] for what is installed. While an update
//! runs the old version thus stays usable until the new one is in place and durable.
//!
//! Nothing without a marker of this library is ever replaced or removed. In the work folders only
//! the names above are.

mod download;
mod install;
mod intent;
mod layout;
mod recovery;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

pub use download::Download;
pub use intent::Intent;
pub use layout::{INSTALLED_DIR, LibraryId, OWN_DIR};
pub use recovery::{Recovered, Recovery};

use super::{
    manifest::PackageId,
    path::InvalidPath,
    piece::PieceError,
    sentinel::{self, TitleError},
    store::{Kind, Store, StoreError},
    unpack::UnpackError,
};
use layout::{Area, PACKAGE_MARKER, Work};

/// An operation on a package was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// Not the name of a package's folder.
    #[error("{0:?} cannot be the name of a package's folder")]
    Name(String),
    /// Another operation on the package runs (D10).
    #[error("{name}: {operation} is running")]
    Busy {
        /// The package's folder.
        name: String,
        /// What runs.
        operation: &'static str,
    },
    /// There is no such complete package.
    #[error("{0}: no such package")]
    NoPackage(String),
    /// The package is not installed.
    #[error("{0}: not installed")]
    NotInstalled(String),
    /// The old version is installed, but there is nothing to install the new one with.
    #[error("{0}: the version in place is installed; update it together with what is installed")]
    Installed(String),
    /// It was not made by this library, which therefore neither replaces nor removes it.
    #[error("{0}: not made by this library, so it is left alone; move it away first")]
    NotOwned(String),
    /// The manifest lacks the sentinel, or the sentinel is too large.
    #[error("the package has no valid {0}")]
    NoSentinel(String),
    /// Pieces are missing.
    #[error("{0} pieces are missing")]
    Incomplete(u32),
    /// A download of something else is under way there.
    #[error("{name}: a download of {found} is under way")]
    OtherDownload {
        /// The package's folder.
        name: String,
        /// What is fetched.
        found: PackageId,
    },
    /// An earlier failure of the disk leaves open what is durable: the download has to be opened again.
    #[error("the disk has failed before; open the download again")]
    Broken,
    /// It was cancelled, and nothing has changed.
    #[error("cancelled")]
    Cancelled,
    /// The sentinel's name is not valid.
    #[error(transparent)]
    Sentinel(#[from] TitleError),
    /// A path is not valid.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// The bytes are not the piece.
    #[error(transparent)]
    Piece(#[from] PieceError),
    /// What was to be installed cannot be unpacked.
    #[error(transparent)]
    Unpack(UnpackError),
    /// The disk. If the operation was decided already, it is finished later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<UnpackError> for TransactionError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Cancelled => Self::Cancelled,
            UnpackError::Store(error) => Self::Store(error),
            error => Self::Unpack(error),
        }
    }
}

/// Asks a running operation to stop. Clones ask the same one.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks. Whatever is decided already is finished all the same.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A library on a store. One process at a time may have it open.
#[derive(Debug)]
pub struct Library<S> {
    store: S,
    id: LibraryId,
    sentinel: String,
    /// What runs, by package.
    claims: Mutex<BTreeMap<String, &'static str>>,
}

/// The right to change a package; dropping it gives the right back.
#[derive(Debug)]
struct Claim<S: Store> {
    library: Arc<Library<S>>,
    name: String,
}

impl<S: Store> Library<S> {
    /// Opens a library, and finishes or undoes what was interrupted. `id` is the number of a new
    /// library, drawn at random.
    ///
    /// # Errors
    /// There is a folder `.banyan` that is no library's, or the disk fails. What was interrupted in
    /// one package and cannot be mended is told in [`Recovered`].
    pub fn open(store: S, sentinel: &str, id: LibraryId) -> Result<(Arc<Self>, Recovered), TransactionError> {
        sentinel::check_name(sentinel)?;
        let id = layout::own(&store, id)?;
        let library = Self { store, id, sentinel: sentinel.to_owned(), claims: Mutex::default() };
        let recovered = library.recover()?;
        Ok((Arc::new(library), recovered))
    }

    /// What the library is stored in.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The folder with the package's files: its place, or where an update has put the old version
    /// for a moment. `None`: there is no complete package of this name.
    ///
    /// # Errors
    /// The name is not valid, or the disk fails.
    pub fn place(&self, name: &str) -> Result<Option<String>, TransactionError> {
        layout::check_name(name)?;
        if self.is_complete(name)? {
            return Ok(Some(name.to_owned()));
        }
        if let Some(old) = self.moved_away(Area::Get, name)?
            && self.is_complete(&old)?
        {
            return Ok(Some(old));
        }
        // The new one may have come in between.
        Ok(self.is_complete(name)?.then(|| name.to_owned()))
    }

    /// The folder with what is installed of a package: `local/` in its place, or where a new install
    /// has put the old one for a moment. `None`: nothing is installed.
    ///
    /// # Errors
    /// The name is not valid, or the disk fails.
    pub fn installed_place(&self, name: &str) -> Result<Option<String>, TransactionError> {
        let Some(place) = self.place(name)? else { return Ok(None) };
        let local = layout::local(&place);
        if self.store.metadata(&local)?.is_some() {
            return Ok(Some(local));
        }
        if let Some(old) = self.moved_away(Area::Do, name)? {
            return Ok(Some(old));
        }
        Ok(self.store.metadata(&local)?.map(|_| local))
    }

    /// Where the old is while the new takes its place; `None`: nothing is being replaced.
    fn moved_away(&self, area: Area, name: &str) -> Result<Option<String>, TransactionError> {
        let work = Work::new(area, name);
        let target = if area == Area::Get { intent::Target::Package } else { intent::Target::Installed };
        let intent = intent::read(&self.store, &work.intent())?;
        // Once the new has left its folder the old is removed.
        let replaces = intent.is_some_and(|intent| intent.is_replacement_of(target))
            && self.store.metadata(&work.fresh())?.is_some()
            && self.store.metadata(&work.old())?.is_some();
        Ok(replaces.then(|| work.old()))
    }

    /// The package that this library has put there; `None`: none, or somebody else has.
    ///
    /// # Errors
    /// The name is not valid, or the disk fails.
    pub fn owned(&self, name: &str) -> Result<Option<PackageId>, TransactionError> {
        layout::check_name(name)?;
        self.marker(name, PACKAGE_MARKER)
    }

    /// The package whose content is installed there by this library; `None`: none.
    ///
    /// # Errors
    /// The name is not valid, or the disk fails.
    pub fn installed(&self, name: &str) -> Result<Option<PackageId>, TransactionError> {
        layout::check_name(name)?;
        self.marker(&layout::local(name), layout::INSTALLED_MARKER)
    }

    fn marker(&self, dir: &str, marker: &str) -> Result<Option<PackageId>, TransactionError> {
        Ok(layout::read_marker(&self.store, self.id, dir, marker)?)
    }

    fn is_complete(&self, dir: &str) -> Result<bool, StoreError> {
        let metadata = match self.store.metadata(&format!("{dir}/{}", self.sentinel)) {
            Err(StoreError::WrongKind(..)) => None,
            metadata => metadata?,
        };
        Ok(metadata.is_some_and(|metadata| metadata.kind == Kind::File))
    }

    /// Reserves a package, and finishes or undoes what was interrupted there.
    fn claim(self: &Arc<Self>, name: &str, operation: &'static str) -> Result<Claim<S>, TransactionError> {
        layout::check_name(name)?;
        {
            let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(operation) = claims.get(name) {
                return Err(TransactionError::Busy { name: name.to_owned(), operation });
            }
            claims.insert(name.to_owned(), operation);
        }
        let claim = Claim { library: Arc::clone(self), name: name.to_owned() };
        for area in Area::ALL {
            self.recover_work(&Work::new(area, name))?;
        }
        Ok(claim)
    }
}

impl<S: Store> Drop for Claim<S> {
    fn drop(&mut self) {
        self.library.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
