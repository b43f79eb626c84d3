//! Whom a package is pushed to, and from whom one is taken.

use std::{collections::BTreeSet, str::FromStr};

use banyan_gossip::PeerId;

/// From whom pushed packages are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Accept {
    /// From nobody.
    #[default]
    None,
    /// From these.
    From(BTreeSet<PeerId>),
    /// From everybody.
    All,
}

impl Accept {
    /// Whether a peer may push.
    #[must_use]
    pub fn permits(&self, peer: &PeerId) -> bool {
        match self {
            Self::None => false,
            Self::From(peers) => peers.contains(peer),
            Self::All => true,
        }
    }

    /// Both this and that.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, other) => other,
            (one, Self::None) => one,
            (Self::From(one), Self::From(other)) => Self::From(one.into_iter().chain(other).collect()),
        }
    }
}

/// The text names no peers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither {1} nor the id of a peer")]
pub struct NoTarget(String, &'static str);

impl FromStr for Accept {
    type Err = NoTarget;

    /// `all`, `none` or the id of a peer.
    fn from_str(text: &str) -> Result<Self, NoTarget> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            peer => {
                let peer = peer.parse().map_err(|_| NoTarget(text.to_owned(), "all, none"))?;
                Ok(Self::From([peer].into()))
            }
        }
    }
}

/// Whom a package is pushed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Everybody who shares a folder.
    All,
    /// Those whose label is like this; `*` stands for any text, `?` for any character.
    Label(String),
    /// One peer.
    Peer(PeerId),
}

impl Targets {
    /// Whether a peer with this label is meant.
    #[must_use]
    pub fn matches(&self, peer: &PeerId, label: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Label(pattern) => label.is_some_and(|label| is_like(pattern, label)),
            Self::Peer(target) => target == peer,
        }
    }
}

impl FromStr for Targets {
    type Err = NoTarget;

    /// `all`, `label=GLOB` or the id of a peer.
    fn from_str(text: &str) -> Result<Self, NoTarget> {
        match (text, text.strip_prefix("label=")) {
            ("all", _) => Ok(Self::All),
            (_, Some(pattern)) => Ok(Self::Label(pattern.to_owned())),
            (peer, None) => peer.parse().map(Self::Peer).map_err(|_| NoTarget(text.to_owned(), "all, label=GLOB")),
        }
    }
}

/// Matches from left to right, and goes back to the last `*` only, so it takes at most pattern times text steps.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(char) if *char == '?' || *char == text[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, read) = (after + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|char| *char == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_matched_by_patterns_d5() {
        for (pattern, label) in
            [("", ""), ("*", "abc"), ("a?c", "abc"), ("a*", "a"), ("*-x*z", "a-b-xyz"), ("é*", "éa")]
        {
            assert!(is_like(pattern, label), "{pattern} {label}");
        }
        for (pattern, label) in [("", "a"), ("?", ""), ("a*b", "abc"), ("a", "A"), ("*-x?z", "a-xz")] {
            assert!(!is_like(pattern, label), "{pattern} {label}");
        }
    }

    #[test]
    fn policies_are_read_and_added_d5() {
        let peer = |number| PeerId::from_key_bytes([number; 32]);
        let read = |text: &str| text.parse::<Accept>();
        assert_eq!((read("all"), read("none")), (Ok(Accept::All), Ok(Accept::None)));
        assert!(read("some").is_err());
        let two = read(&peer(1).to_string()).expect("valid").and(read(&peer(2).to_string()).expect("valid"));
        assert!(two.permits(&peer(1)) && two.permits(&peer(2)) && !two.permits(&peer(3)));
        assert!(two.clone().and(Accept::All).permits(&peer(3)) && Accept::None.and(two).permits(&peer(1)));
        assert!(!Accept::default().permits(&peer(1)));
        assert_eq!("label=a*".parse(), Ok(Targets::Label("a*".to_owned())));
        assert_eq!(peer(3).to_string().parse(), Ok(Targets::Peer(peer(3))));
        assert!(Targets::Label("a*".to_owned()).matches(&peer(1), Some("ab")));
        assert!(!Targets::Label("*".to_owned()).matches(&peer(1), None));
        assert!(Targets::Peer(peer(1)).matches(&peer(1), None) && !Targets::Peer(peer(1)).matches(&peer(2), None));
    }
}
