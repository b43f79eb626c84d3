//! Validated names (A15): peer labels, track names, mesh names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest label and mesh name, in bytes.
pub const LABEL_MAX: usize = 64;
/// Longest track name, in bytes.
pub const TRACK_MAX: usize = 128;

/// A name that breaks the rules of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What was named: "track name", "label" or "mesh name".
    pub kind: &'static str,
    /// The name as given, cut to 160 characters.
    pub name: String,
    /// The rule that valid names follow.
    pub rule: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// The rule that valid names follow.
            pub const RULE: &'static str = $rule;

            /// Checks a name.
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that the name breaks.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                if $check(name) {
                    return Ok(Self(name.into()));
                }
                let name = name.chars().take(160).collect();
                Err(InvalidName { kind: $kind, name, rule: Self::RULE })
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

name_type!(
    /// The name of a track.
    TrackName, "track name", is_track,
    "1 to 128 characters of A-Z a-z 0-9 . _ / -, without \"..\" or \"//\" and no slash at either end"
);
name_type!(
    /// What a person calls a peer.
    Label, "label", is_label,
    "1 to 64 characters of A-Z a-z 0-9 _ -"
);
name_type!(
    /// The name that the nodes of one mesh share.
    MeshName, "mesh name", is_label,
    "1 to 64 characters of A-Z a-z 0-9 _ -"
);

fn is_label(name: &str) -> bool {
    (1..=LABEL_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_track(name: &str) -> bool {
    (1..=TRACK_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-'))
        && !name.contains("..")
        && !name.contains("//")
        && !name.starts_with('/')
        && !name.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_the_rules_are_accepted_a15() {
        for name in ["a", "cam/1.front", "A_b-c", &"x".repeat(TRACK_MAX)] {
            assert_eq!(TrackName::new(name).expect("valid").as_str(), name);
        }
        assert!(Label::new(&"x".repeat(LABEL_MAX)).is_ok());
    }

    #[test]
    fn names_beyond_the_rules_are_refused_a15() {
        let long = "x".repeat(TRACK_MAX + 1);
        for name in ["", "/a", "a/", "a//b", "a..b", "..", "a b", "ä", "a\n", long.as_str()] {
            assert!(TrackName::new(name).is_err(), "{name:?}");
        }
        for name in ["", "a.b", "a/b", &"x".repeat(LABEL_MAX + 1)] {
            assert!(Label::new(name).is_err(), "{name:?}");
        }
    }
}
