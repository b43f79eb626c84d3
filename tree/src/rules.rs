//! Who may publish and who may follow which track, by the word of the node's own user.
//!
//! Each node goes by its own rules and tells nobody: it follows no publication of an origin that may not publish, and
//! takes no child that may not follow. Where all nodes have the same rules, nothing passes that they forbid, whatever a
//! node without them does.
//!
//! A rule is a line of text: `PATTERN: publish=WHO subscribe=WHO`. The pattern is the name of a track, or the beginning
//! of names and a `*`. WHO is `all`, `none`, or a list with commas of peer ids, `tag:KEY` and `tag:KEY=VALUE`; what a rule
//! does not say is `all`. Of several rules the first that matches a track decides, and without one everybody may.

use std::{collections::BTreeMap, fmt, str::FromStr};

use banyan_gossip::{
    PeerId, TrackName,
    name::TRACK_MAX,
    row::{TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX},
};

/// Most rules of a node; as text they are 256 KiB at most, in memory 5 MB.
pub const RULES_MAX: usize = 64;
/// Longest rule, in bytes of its text; room for 70 peer ids.
pub const RULE_BYTES_MAX: usize = 4 * 1024;

/// The rules of a node, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

/// What the rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To be the origin of a track.
    Publish,
    /// To be fed on it.
    Subscribe,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe to",
        })
    }
}

impl Rules {
    /// # Errors
    /// [`RuleError::TooMany`]: there are more than [`RULES_MAX`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, RuleError> {
        if rules.len() > RULES_MAX { Err(RuleError::TooMany) } else { Ok(Self(rules)) }
    }

    /// Whether a peer has a right to a track. `tags`: those that it says of itself; `None` if they are not known.
    #[must_use]
    pub fn allow(
        &self,
        right: Right,
        track: &TrackName,
        peer: &PeerId,
        tags: Option<&BTreeMap<String, String>>,
    ) -> bool {
        let first = self.0.iter().find(|rule| rule.pattern.matches(track));
        first.is_none_or(|rule| match right {
            Right::Publish => rule.publish.includes(peer, tags),
            Right::Subscribe => rule.subscribe.includes(peer, tags),
        })
    }
}

/// One rule; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pattern: Pattern,
    publish: Who,
    subscribe: Who,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(TrackName),
    Prefix(String),
}

impl Pattern {
    fn matches(&self, track: &TrackName) -> bool {
        match self {
            Self::Name(name) => name == track,
            Self::Prefix(prefix) => track.as_str().starts_with(prefix),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    All,
    Among(Vec<Member>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    Peer(PeerId),
    /// With this value, or any.
    Tag(String, Option<String>),
}

impl Who {
    fn includes(&self, peer: &PeerId, tags: Option<&BTreeMap<String, String>>) -> bool {
        let has = |member: &Member| match member {
            Member::Peer(named) => named == peer,
            Member::Tag(key, value) => {
                let said = tags.and_then(|tags| tags.get(key));
                said.is_some_and(|said| value.as_ref().is_none_or(|value| value == said))
            }
        };
        match self {
            Self::All => true,
            Self::Among(members) => members.iter().any(has),
        }
    }
}

/// Why rules are refused. The user who wrote them is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no colon after the pattern.
    #[error("a rule is \"PATTERN: publish=WHO subscribe=WHO\"")]
    NoPattern,
    /// The pattern is neither a track's name nor a beginning of one and a star.
    #[error("{0:?} is neither a track's name nor the beginning of names and a *")]
    Pattern(String),
    /// A part is neither `publish=WHO` nor `subscribe=WHO`, or comes twice.
    #[error("{0:?} is neither publish=WHO nor subscribe=WHO, or comes twice")]
    Right(String),
    /// A name in a list is none.
    #[error("{0:?} is neither all, none, a peer id, tag:KEY nor tag:KEY=VALUE")]
    Who(String),
    /// The rule is longer than [`RULE_BYTES_MAX`].
    #[error("a rule has at most {RULE_BYTES_MAX} bytes")]
    TooLong,
    /// There are more rules than [`RULES_MAX`].
    #[error("a node has at most {RULES_MAX} rules")]
    TooMany,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        if text.len() > RULE_BYTES_MAX {
            return Err(RuleError::TooLong);
        }
        let (pattern, rights) = text.split_once(':').ok_or(RuleError::NoPattern)?;
        let (mut publish, mut subscribe) = (None, None);
        for right in rights.split_whitespace() {
            let (said, who) = match right.split_once('=') {
                Some(("publish", who)) => (&mut publish, who),
                Some(("subscribe", who)) => (&mut subscribe, who),
                _ => return Err(RuleError::Right(excerpt(right))),
            };
            if said.replace(who.parse()?).is_some() {
                return Err(RuleError::Right(excerpt(right)));
            }
        }
        let pattern = pattern.trim().parse()?;
        Ok(Self { pattern, publish: publish.unwrap_or(Who::All), subscribe: subscribe.unwrap_or(Who::All) })
    }
}

impl FromStr for Pattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Pattern(excerpt(text));
        let Some(prefix) = text.strip_suffix('*') else {
            return text.parse().map(Self::Name).map_err(|_| wrong());
        };
        // Some name has to begin so.
        let begun = format!("{prefix}x");
        let possible = prefix.len() < TRACK_MAX && TrackName::new(&begun).is_ok();
        if possible { Ok(Self::Prefix(prefix.to_owned())) } else { Err(wrong()) }
    }
}

impl FromStr for Who {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Among(Vec::new())),
            list => list.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Among),
        }
    }
}

impl FromStr for Member {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Who(excerpt(text));
        let Some(tag) = text.strip_prefix("tag:") else {
            return text.parse().map(Self::Peer).map_err(|_| wrong());
        };
        let (key, value) = tag.split_once('=').map_or((tag, None), |(key, value)| (key, Some(value)));
        let fits = (1..=TAG_KEY_BYTES_MAX).contains(&key.len())
            && value.is_none_or(|value| value.len() <= TAG_VALUE_BYTES_MAX);
        if fits { Ok(Self::Tag(key.to_owned(), value.map(str::to_owned))) } else { Err(wrong()) }
    }
}

/// As much of a text as a message shows.
fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_key_bytes([number; 32])
    }

    fn track(name: &str) -> TrackName {
        name.parse().expect("it is a name")
    }

    fn rules(lines: &[&str]) -> Rules {
        Rules::new(lines.iter().map(|line| line.parse().expect(line)).collect()).expect("they are few")
    }

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn without_a_rule_everybody_may() {
        for rules in [Rules::default(), rules(&["other: publish=none subscribe=none", "cam: subscribe=none"])] {
            assert!(rules.allow(Right::Publish, &track("cam/1"), &peer(1), None));
            assert!(rules.allow(Right::Subscribe, &track("cam/1"), &peer(1), None));
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        let closed = |pattern: &str, name: &str| {
            !rules(&[&format!("{pattern}: publish=none")]).allow(Right::Publish, &track(name), &peer(1), None)
        };
        assert!(closed("cam/1", "cam/1") && !closed("cam/1", "cam/11"));
        assert!(closed("cam/*", "cam/1") && closed("cam/*", "cam/a/b") && !closed("cam/*", "cam"));
        assert!(closed("cam*", "cam") && closed("cam*", "camera") && closed("*", "anything"));
    }

    #[test]
    fn peers_are_named_by_id_or_by_what_they_say_of_themselves() {
        let rules = rules(&[&format!("a: publish={},tag:studio subscribe=tag:site=berlin", peer(1))]);
        let may = |right, number, tags: &[(&str, &str)]| {
            rules.allow(right, &track("a"), &peer(number), Some(&self::tags(tags)))
        };
        assert!(may(Right::Publish, 1, &[]) && may(Right::Publish, 2, &[("studio", "")]));
        assert!(!may(Right::Publish, 2, &[]) && !may(Right::Publish, 2, &[("site", "berlin")]));
        assert!(may(Right::Subscribe, 2, &[("site", "berlin")]) && !may(Right::Subscribe, 2, &[("site", "bern")]));
        assert!(!may(Right::Subscribe, 1, &[]));
        assert!(rules.allow(Right::Publish, &track("a"), &peer(1), None));
        assert!(!rules.allow(Right::Subscribe, &track("a"), &peer(1), None));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = rules(&["a/open:", "a/*: subscribe=none", "*: publish=none"]);
        let may = |right, name| rules.allow(right, &track(name), &peer(1), None);
        assert!(may(Right::Publish, "a/open") && may(Right::Subscribe, "a/open"));
        assert!(may(Right::Publish, "a/1") && !may(Right::Subscribe, "a/1"));
        assert!(!may(Right::Publish, "b") && may(Right::Subscribe, "b"));
    }

    #[test]
    fn nonsense_is_refused() {
        let fails = |text: &str| text.parse::<Rule>().expect_err(text);
        assert_eq!(fails("cam/*"), RuleError::NoPattern);
        for pattern in ["", "a b", "a..*", "/a", "/*", "a*b", "**", "ä", &"x".repeat(TRACK_MAX + 1)] {
            assert_eq!(fails(&format!("{pattern}: publish=all")), RuleError::Pattern(excerpt(pattern)), "{pattern}");
        }
        for right in ["publish", "read=all", "publish:all"] {
            assert_eq!(fails(&format!("a: {right}")), RuleError::Right(right.to_owned()));
        }
        assert_eq!(fails("a: publish=all publish=all"), RuleError::Right("publish=all".to_owned()));
        for who in ["", "everybody", "tag:", "tag:=b", "all,none", "12D3KooW", &format!("tag:{}", "k".repeat(33))] {
            assert!(matches!(fails(&format!("a: publish={who}")), RuleError::Who(_)), "{who}");
        }
        assert!(format!("a: publish=tag:a={}", "v".repeat(TAG_VALUE_BYTES_MAX)).parse::<Rule>().is_ok());
        assert!(matches!(fails(&format!("a: publish=tag:a={}", "v".repeat(65))), RuleError::Who(_)));
    }

    #[test]
    fn rules_are_bounded_in_length_and_number() {
        let long = |bytes: usize| {
            let text = format!("{:bytes$}", "a: publish=none");
            (text.len(), text.parse::<Rule>().map(|_| ()))
        };
        assert_eq!(long(RULE_BYTES_MAX), (RULE_BYTES_MAX, Ok(())));
        assert_eq!(long(RULE_BYTES_MAX + 1).1, Err(RuleError::TooLong));
        let many = |count| Rules::new(vec!["a:".parse().expect("it is a rule"); count]);
        assert!(many(RULES_MAX).is_ok());
        assert_eq!(many(RULES_MAX + 1), Err(RuleError::TooMany));
    }
}
