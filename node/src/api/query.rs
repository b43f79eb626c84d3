//! The arguments of a request, parsed once into what they mean.

use std::time::Duration;

use axum::{
    extract::Query,
    http::{HeaderMap, Uri},
};

use super::{
    error::ApiError,
    framing::{Framing, OBJECT_BYTES_DEFAULT},
};
use crate::{
    From, Since,
    relay::{Integrity, Mode, OBJECT_BYTES_MAX},
};

/// Longest time that a subscriber may ask to wait for an object: a year, in seconds.
const TIMEOUT_MAX_S: f64 = 365.0 * 86400.0;

/// How to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) framing: Framing,
    pub(super) mode: Mode,
    pub(super) integrity: Integrity,
    pub(super) object_bytes: usize,
}

/// How to subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscribe {
    pub(super) from: From,
    pub(super) framing: Framing,
    /// Ends the subscription when no object came for so long.
    pub(super) timeout: Option<Duration>,
}

/// Parses the arguments of a publication.
pub(super) fn publish(uri: &Uri) -> Result<Publish, ApiError> {
    let mut publish = Publish {
        framing: Framing::default(),
        mode: Mode::default(),
        integrity: Integrity::default(),
        object_bytes: OBJECT_BYTES_DEFAULT,
    };
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "framing" => publish.framing = framing(&value)?,
            "mode" => publish.mode = parse_mode(&value).map_err(|error| bad(error, "mode=live or mode=reliable"))?,
            "integrity" => {
                publish.integrity =
                    parse_integrity(&value).map_err(|error| bad(error, "integrity=signed or integrity=none"))?;
            }
            "object_size" => {
                publish.object_bytes =
                    parse_object_size(&value).map_err(|error| bad(error, "object_size=65536, for example"))?;
            }
            _ => return Err(unknown(&key, "framing, mode, integrity and object_size")),
        }
    }
    Ok(publish)
}

/// Parses the arguments of a subscription.
pub(super) fn subscribe(uri: &Uri) -> Result<Subscribe, ApiError> {
    let mut subscribe = Subscribe { from: From::default(), framing: Framing::default(), timeout: None };
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "framing" => subscribe.framing = framing(&value)?,
            "from" => {
                subscribe.from =
                    parse_from(&value).map_err(|error| bad(error, "from=latest, from=oldest or from=42"))?;
            }
            "timeout" => {
                subscribe.timeout =
                    Some(parse_timeout(&value).map_err(|error| bad(error, "timeout=5, for five seconds"))?);
            }
            _ => return Err(unknown(&key, "from, framing and timeout")),
        }
    }
    Ok(subscribe)
}

/// Which events to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Events {
    pub(super) since: Since,
    /// Also those that are still to happen.
    pub(super) follow: bool,
}

/// Parses the arguments of a stream of events. What a client says that it has had already counts for more:
/// it comes back after its connection broke.
pub(super) fn events(uri: &Uri, headers: &HeaderMap) -> Result<Events, ApiError> {
    let mut events = Events { since: Since::Now, follow: true };
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "since" => events.since = parse_since(&value).map_err(|error| bad(error, "since=42 or since=10m"))?,
            "follow" => {
                events.follow =
                    value.parse().map_err(|_| bad(format!("follow is no {}", quoted(&value)), "follow=false"))?;
            }
            _ => return Err(unknown(&key, "since and follow")),
        }
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    events.since = last.map_or(events.since, Since::After);
    Ok(events)
}

/// The number of the last event that is known, or how long ago: `90`, `30s`, `10m`, `2h`, `1d`, `all`.
pub(crate) fn parse_since(text: &str) -> Result<Since, String> {
    let wrong = || format!("{} is no time to start: it is an event's number, or 30s, 10m, 2h, 1d, all", quoted(text));
    if text == "all" {
        return Ok(Since::Oldest);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "" => return Ok(Since::After(number)),
        unit => unit_seconds(unit).ok_or_else(wrong)?,
    };
    number.checked_mul(unit).map(|seconds| Since::Ago(Duration::from_secs(seconds))).ok_or_else(wrong)
}

/// The seconds of `s`, `m`, `h` or `d`.
pub(crate) fn unit_seconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    })
}

/// Parses how long to wait, if that is said.
pub(super) fn timeout(uri: &Uri) -> Result<Option<Duration>, ApiError> {
    let mut timeout = None;
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "timeout" => {
                timeout = Some(parse_timeout(&value).map_err(|error| bad(error, "timeout=5, for five seconds"))?);
            }
            _ => return Err(unknown(&key, "timeout")),
        }
    }
    Ok(timeout)
}

/// Parses how many peers must be known.
pub(super) fn min_peers(uri: &Uri) -> Result<usize, ApiError> {
    let mut peers = 0;
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "min_peers" => {
                let no_number = |_| bad(format!("{} is no number of peers", quoted(&value)), "min_peers=3");
                peers = value.parse().map_err(no_number)?;
            }
            _ => return Err(unknown(&key, "min_peers")),
        }
    }
    Ok(peers)
}

/// Makes sure that a request has no arguments.
pub(super) fn none(uri: &Uri) -> Result<(), ApiError> {
    match pairs(uri)?.first() {
        Some((key, _)) => Err(unknown(key, "none")),
        None => Ok(()),
    }
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let Query(pairs) = Query::try_from_uri(uri)
        .map_err(|_| ApiError::bad_argument("the query cannot be read", "write it as name=value&name=value"))?;
    Ok(pairs)
}

fn framing(value: &str) -> Result<Framing, ApiError> {
    value.parse().map_err(|error: super::framing::UnknownFraming| bad(error.to_string(), "framing=lines, for example"))
}

fn bad(message: String, example: &str) -> ApiError {
    ApiError::bad_argument(message, &format!("write {example}"))
}

fn unknown(key: &str, known: &str) -> ApiError {
    let key: String = key.chars().take(64).collect();
    ApiError::bad_argument(format!("unknown argument {key:?}"), &format!("this route takes {known}"))
}

/// Where a subscription starts: `latest`, `oldest` or an object id.
pub(crate) fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "latest" => Ok(From::Latest),
        "oldest" => Ok(From::Oldest),
        _ => match text.parse() {
            Ok(id) => Ok(From::Id(id)),
            Err(_) => Err(format!("{} is no place to start: it is latest, oldest or an object id", quoted(text))),
        },
    }
}

/// `live` or `reliable`.
pub(crate) fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "live" => Ok(Mode::Live),
        "reliable" => Ok(Mode::Reliable),
        _ => Err(format!("unknown mode {}: it is live or reliable", quoted(text))),
    }
}

/// `signed` or `none`.
pub(crate) fn parse_integrity(text: &str) -> Result<Integrity, String> {
    match text {
        "signed" => Ok(Integrity::Signed),
        "none" => Ok(Integrity::None),
        _ => Err(format!("unknown integrity {}: it is signed or none", quoted(text))),
    }
}

/// A number of bytes from 1 to [`OBJECT_BYTES_MAX`].
pub(crate) fn parse_object_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size) if (1..=OBJECT_BYTES_MAX).contains(&size) => Ok(size),
        _ => Err(format!("{} is no object size: it is 1 to {OBJECT_BYTES_MAX} bytes", quoted(text))),
    }
}

/// Seconds, more than 0.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= TIMEOUT_MAX_S => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("{} is no timeout: it is a number of seconds, more than 0", quoted(text))),
    }
}

/// Outside text for a message: bounded and on one line.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/v1/tracks/a/x?{query}").parse().expect("it is a URI")
    }

    #[test]
    fn arguments_have_defaults() {
        let (mode, integrity) = (Mode::Live, Integrity::None);
        let expected = Publish { framing: Framing::Bytes, mode, integrity, object_bytes: 65536 };
        assert_eq!(publish(&"/v1/tracks/a/publish".parse().expect("it is a URI")), Ok(expected));
        let expected = Subscribe { from: From::Latest, framing: Framing::Bytes, timeout: None };
        assert_eq!(subscribe(&uri("")), Ok(expected));
    }

    #[test]
    fn arguments_are_understood() {
        let (mode, integrity) = (Mode::Reliable, Integrity::Signed);
        let expected = Publish { framing: Framing::Lines, mode, integrity, object_bytes: 1 };
        assert_eq!(publish(&uri("framing=lines&mode=reliable&integrity=signed&object_size=1")), Ok(expected));
        let expected =
            Subscribe { from: From::Id(7), framing: Framing::Length, timeout: Some(Duration::from_millis(1500)) };
        assert_eq!(subscribe(&uri("from=7&framing=length&timeout=1.5")), Ok(expected));
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        let published = [
            "framing=Lines",
            "mode=x",
            "integrity=some",
            "object_size=0",
            "object_size=16777217",
            "object_size=-1",
            "frming=x",
        ];
        let subscribed =
            ["from=yesterday", "from=-1", "timeout=0", "timeout=NaN", "timeout=inf", "timeout=", "mode=live"];
        let errors = published.map(|query| publish(&uri(query)).map(|_| ()).expect_err(query)).into_iter();
        let errors = errors.chain(subscribed.map(|query| subscribe(&uri(query)).map(|_| ()).expect_err(query)));
        for error in errors {
            assert_eq!((error.status.as_u16(), error.view.code.as_str()), (400, "invalid_argument"));
            assert!(error.view.hint.is_some_and(|hint| !hint.is_empty()), "{}", error.view.message);
            assert!(!error.view.message.contains('\n'));
        }
        assert!(none(&uri("x=1")).is_err());
        for query in ["since=yesterday", "since=-1", "since=1w", "since=99999999999999999d", "follow=maybe", "from=1"] {
            let error = events(&uri(query), &HeaderMap::new()).expect_err(query);
            assert_eq!(error.view.code, "invalid_argument", "{query}");
        }
    }

    #[test]
    fn events_start_where_the_client_wants_or_where_it_was() {
        let parsed = |query: &str, last: Option<&'static str>| {
            let headers = last.map(|last| ("last-event-id".parse().expect("a name"), last.parse().expect("a value")));
            events(&uri(query), &headers.into_iter().collect()).expect("it is valid")
        };
        assert_eq!(parsed("", None), Events { since: Since::Now, follow: true });
        assert_eq!(parsed("since=7&follow=false", None), Events { since: Since::After(7), follow: false });
        assert_eq!(parsed("since=2h", None).since, Since::Ago(Duration::from_secs(7_200)));
        assert_eq!(parsed("since=all", None).since, Since::Oldest);
        assert_eq!(parsed("since=2h", Some("9")).since, Since::After(9));
    }
}
