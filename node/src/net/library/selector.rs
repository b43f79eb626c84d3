//! How a person names a package.

use std::{convert::Infallible, fmt, str::FromStr};

/// Fewest digits of a package's id that may stand for it.
pub const ID_DIGITS_MIN: usize = 8;

/// Names a package: `NAME`, `NAME@VERSION`, a package's id, or the first eight or more digits of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

impl Selector {
    /// What was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this may be the package with this id.
    #[must_use]
    pub fn matches_id(&self, id: &str) -> bool {
        let prefix = self.0.to_ascii_lowercase();
        prefix.len() >= ID_DIGITS_MIN && id.starts_with(&prefix)
    }

    /// Whether this means a version of a title, and if so, whether it is the version that it names.
    #[must_use]
    pub fn matches_title(&self, name: &str, version: &str) -> bool {
        self.0 == name || self.0.strip_prefix(name).and_then(|rest| rest.strip_prefix('@')) == Some(version)
    }
}

impl FromStr for Selector {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl From<&str> for Selector {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// To whom a package is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushTo {
    /// Every peer that has a library.
    All,
    /// Every peer with a label that has this text in it.
    Label(String),
}
