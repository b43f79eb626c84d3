//! How a person names a package.

use std::{cmp::Ordering, convert::Infallible, fmt, str::FromStr};

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

/// Orders versions as people do: numbers by value, the rest by letters; `1.10` is after `1.9`.
pub(super) fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (next_run(&mut a), next_run(&mut b)) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let number = |run: &str| run.starts_with(|char: char| char.is_ascii_digit());
                let order = if number(a) && number(b) {
                    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                } else {
                    a.cmp(b)
                };
                if order.is_ne() {
                    return order;
                }
            }
        }
    }
}

/// Takes digits, or what is none, off the front.
fn next_run<'a>(text: &mut &'a str) -> Option<&'a str> {
    let digit = text.chars().next()?.is_ascii_digit();
    let end = text.find(|char: char| char.is_ascii_digit() != digit).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers_d3() {
        let mut versions = ["1.10", "1.9", "1.9.1", "2026-11-21", "1.9-rc", "1.010"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(versions, ["1.9", "1.9-rc", "1.9.1", "1.10", "1.010", "2026-11-21"]);
    }

    #[test]
    fn selectors_name_titles_versions_and_ids_d3() {
        let id = "0123456789abcdef";
        let selector = |text: &str| Selector::from(text);
        assert!(selector("01234567").matches_id(id) && selector("0123456789ABCDEF").matches_id(id));
        assert!(!selector("0123456").matches_id(id) && !selector("012345678a").matches_id(id));
        assert!(selector("a@b@1").matches_title("a@b", "1") && selector("a@b").matches_title("a@b", "2"));
        assert!(!selector("a@1").matches_title("a", "11") && !selector("a").matches_title("ab", "1"));
    }
}
