//! The decision of an operation, on the disk.

use serde::{Deserialize, Serialize};

use crate::library::{
    manifest::PackageId,
    store::{Store, StoreError, read_all, replace_file},
};

const INTENT_BYTES_MAX: u64 = 4096;

/// What an operation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The package with all that is in it.
    Package,
    /// What is installed of it.
    Installed,
}

/// A decision: `new/`, if there is to be one, takes the target's place, and what is there goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What changes.
    pub target: Target,
    /// The package that the marker in the target's place names; `None`: nothing is there.
    pub old: Option<PackageId>,
    /// The package that comes; `None`: none.
    pub new: Option<PackageId>,
}

impl Intent {
    /// Whether this makes way for another version of itself.
    pub(super) fn is_replacement_of(&self, target: Target) -> bool {
        self.target == target && self.old.is_some() && self.new.is_some()
    }
}

/// Reads an intent; `None`: nothing is decided. One that is damaged counts as an error, not as none.
pub(super) fn read<S: Store>(store: &S, path: &str) -> Result<Option<Intent>, StoreError> {
    let damaged = || StoreError::Io {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "the intent is damaged"),
    };
    let Some(bytes) = read_all(store, path, INTENT_BYTES_MAX)? else { return Ok(None) };
    let (hash, payload) = bytes.split_first_chunk::<32>().ok_or_else(damaged)?;
    if blake3::hash(payload) != *hash {
        return Err(damaged());
    }
    ciborium::from_reader(payload).map(Some).map_err(|_| damaged())
}

/// Decides, durably. After a failure it may be decided or not.
pub(super) fn write<S: Store>(store: &S, path: &str, intent: &Intent) -> Result<(), StoreError> {
    let mut payload = Vec::new();
    ciborium::into_writer(intent, &mut payload).expect("writing to memory does not fail");
    replace_file(store, path, &[blake3::hash(&payload).as_bytes(), &payload[..]].concat())
}
