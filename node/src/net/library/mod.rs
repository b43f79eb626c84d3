//! The library on the network: what [`crate::library`] decides, carried out with links, disks and clocks.

mod error;
mod selector;

use std::{path::Path, sync::Arc};

pub use error::LibraryError;
pub use selector::{ID_DIGITS_MIN, PushTo, Selector};

use crate::views::{ExplainView, JobView, JobsView, LibraryView, PackageView};

/// The library of a running node: commands in; what happens is told by the node's events. Clones share it.
#[derive(Debug, Clone)]
pub struct Library {
    inner: Arc<()>,
}

impl Library {
    /// What the whole mesh offers, as far as this node has heard.
    ///
    /// # Errors
    /// [`LibraryError::Unavailable`].
    pub async fn view(&self) -> Result<LibraryView, LibraryError> {
        self.stub()
    }

    /// One package.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Ambiguous`], [`LibraryError::Unavailable`].
    pub async fn package(&self, _package: &Selector) -> Result<PackageView, LibraryError> {
        self.stub()
    }

    /// Fetches a package, and installs it if asked to. Answers when the job has begun.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Ambiguous`], [`LibraryError::Busy`],
    /// [`LibraryError::Unavailable`]; what fails later is in the job.
    pub async fn get(&self, _package: &Selector, _install: bool) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Installs a package, which is fetched first if it is not here.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn install(&self, _package: &Selector) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Fetches the newest version of a title that is here, and installs it if the one here is installed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn update(&self, _name: &str) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Removes what is installed of a package; the package stays.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`LibraryError::NotInstalled`].
    pub async fn uninstall(&self, _package: &Selector) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Removes a package that was fetched, with what is installed of it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn remove(&self, _package: &Selector) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Reads a package that is here again, and compares every byte.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn verify(&self, _package: &Selector) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Has others fetch a package that is here.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn push(&self, _package: &Selector, _to: PushTo) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// The jobs that run, and the last that ended.
    ///
    /// # Errors
    /// [`LibraryError::Unavailable`].
    pub async fn jobs(&self) -> Result<JobsView, LibraryError> {
        self.stub()
    }

    /// One job.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn job(&self, _id: u64) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Why a job is not faster.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn explain(&self, _id: u64) -> Result<ExplainView, LibraryError> {
        self.stub()
    }

    /// Stops a job, and undoes what it has done. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Unavailable`].
    pub async fn cancel(&self, _id: u64) -> Result<JobView, LibraryError> {
        self.stub()
    }

    /// Shares a folder from now on.
    ///
    /// # Errors
    /// [`LibraryError::BadRoot`], [`LibraryError::Unavailable`].
    pub async fn add_root(&self, _path: &Path) -> Result<(), LibraryError> {
        self.stub()
    }

    /// Shares a folder no more; nothing in it is removed.
    ///
    /// # Errors
    /// [`LibraryError::NotFound`], [`LibraryError::Busy`], [`LibraryError::Unavailable`].
    pub async fn remove_root(&self, _path: &Path) -> Result<(), LibraryError> {
        self.stub()
    }

    fn stub<T>(&self) -> Result<T, LibraryError> {
        let _ = &self.inner;
        Err(LibraryError::Unavailable)
    }
}
