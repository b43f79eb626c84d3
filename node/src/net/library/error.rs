//! Why something about the library failed.

use crate::{
    library::{store::StoreError, transaction::TransactionError},
    views::ErrorView,
};

/// A request about the library was refused, or a job failed. [`code`](Self::code) is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// Nobody offers such a package, or there is no such job.
    #[error("{0}")]
    NotFound(String),
    /// The selector means several packages; name one of these.
    #[error("{selector:?} means several packages: {}", .choices.join(", "))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// What it may mean.
        choices: Vec<String>,
    },
    /// Another operation on the package runs, or too many run.
    #[error("{0}")]
    Busy(String),
    /// Nobody that has the package can be reached.
    #[error("no peer that has {0} can be reached")]
    NoSource(String),
    /// The disk is full. What was fetched stays.
    #[error("{0}")]
    DiskFull(String),
    /// Nothing of the package is installed.
    #[error("{0} is not installed")]
    NotInstalled(String),
    /// The package is not valid, or cannot be unpacked.
    #[error("{0}")]
    BadPackage(String),
    /// What is there was not put there by this library, which leaves it alone.
    #[error("{0}")]
    NotOwned(String),
    /// The folder cannot be shared.
    #[error("{0}")]
    BadRoot(String),
    /// The disk fails.
    #[error("{0}")]
    Io(String),
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A package that was pushed here waited for the others, and who pushed it is gone. What was fetched stays.
    #[error("{0} is all here, but who pushed it is gone")]
    PusherGone(String),
    /// Not all that a package was pushed to have it.
    #[error("{0}")]
    PushFailed(String),
    /// The node has stopped.
    #[error("the library has stopped")]
    Unavailable,
}

impl LibraryError {
    /// A stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Busy(_) => "busy",
            Self::NoSource(_) => "no_source",
            Self::DiskFull(_) => "disk_full",
            Self::NotInstalled(_) => "not_installed",
            Self::BadPackage(_) => "bad_package",
            Self::NotOwned(_) => "not_owned",
            Self::BadRoot(_) => "bad_root",
            Self::Io(_) => "io",
            Self::Cancelled => "cancelled",
            Self::PusherGone(_) => "pusher_gone",
            Self::PushFailed(_) => "push_failed",
            Self::Unavailable => "unavailable",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "banyan library list shows what there is",
            Self::Ambiguous { .. } => "give NAME@VERSION, or the package's id",
            Self::Busy(_) => "wait for it, or cancel it: banyan library jobs",
            Self::NoSource(_) => "it goes on when a peer that has it is back",
            Self::DiskFull(_) => "make room and ask for the package again: what was fetched stays",
            Self::NotOwned(_) => "move the folder away and try again",
            Self::NotInstalled(_) => "install it first: banyan library install",
            Self::BadPackage(_) => "whoever made the package has to mend it",
            Self::BadRoot(_) => "name a folder that is there and yours to write",
            Self::Io(_) => "look at the disk, and at the node's log",
            Self::Cancelled => "ask for it again",
            Self::PusherGone(_) => "banyan library install puts it in place without waiting",
            Self::PushFailed(_) => "banyan library jobs ID says what each of them said",
            Self::Unavailable => "start the node again with `banyan run`",
        }
    }

    /// As the API answers it.
    #[must_use]
    pub fn view(&self) -> ErrorView {
        let (hint, details) = (Some(self.hint().into()), Default::default());
        ErrorView { code: self.code().into(), message: self.to_string(), hint, details }
    }
}

impl From<StoreError> for LibraryError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full(_) => Self::DiskFull(text),
            _ => Self::Io(text),
        }
    }
}

impl From<TransactionError> for LibraryError {
    fn from(error: TransactionError) -> Self {
        use TransactionError as E;
        let text = error.to_string();
        match error {
            E::Busy { .. } | E::OtherDownload { .. } => Self::Busy(text),
            E::NoPackage(_) => Self::NotFound(text),
            E::NotInstalled(name) => Self::NotInstalled(name),
            E::NotOwned(_) => Self::NotOwned(text),
            E::Cancelled => Self::Cancelled,
            E::Store(error) => error.into(),
            E::Broken => Self::Io(text),
            _ => Self::BadPackage(text),
        }
    }
}
