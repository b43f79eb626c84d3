//! The arguments of a request, parsed once into what they mean.

use std::time::Duration;

use axum::{extract::Query, http::Uri};

use super::{
    error::ApiError,
    framing::{Framing, OBJECT_BYTES_DEFAULT},
};
use crate::{
    From,
    relay::{Mode, OBJECT_BYTES_MAX},
};

/// Longest time that a subscriber may ask to wait for an object: a year, in seconds.
const TIMEOUT_MAX_S: f64 = 365.0 * 86400.0;

/// How to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) framing: Framing,
    pub(super) mode: Mode,
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
    let mut publish =
        Publish { framing: Framing::default(), mode: Mode::default(), object_bytes: OBJECT_BYTES_DEFAULT };
    for (key, value) in pairs(uri)? {
        match key.as_str() {
            "framing" => publish.framing = framing(&value)?,
            "mode" => publish.mode = parse_mode(&value).map_err(|error| bad(error, "mode=live or mode=reliable"))?,
            "object_size" => {
                publish.object_bytes =
                    parse_object_size(&value).map_err(|error| bad(error, "object_size=65536, for example"))?;
            }
            _ => return Err(unknown(&key, "framing, mode and object_size")),
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
        let expected = Publish { framing: Framing::Bytes, mode: Mode::Live, object_bytes: 65536 };
        assert_eq!(publish(&"/v1/tracks/a/publish".parse().expect("it is a URI")), Ok(expected));
        let expected = Subscribe { from: From::Latest, framing: Framing::Bytes, timeout: None };
        assert_eq!(subscribe(&uri("")), Ok(expected));
    }

    #[test]
    fn arguments_are_understood() {
        let expected = Publish { framing: Framing::Lines, mode: Mode::Reliable, object_bytes: 1 };
        assert_eq!(publish(&uri("framing=lines&mode=reliable&object_size=1")), Ok(expected));
        let expected =
            Subscribe { from: From::Id(7), framing: Framing::Length, timeout: Some(Duration::from_millis(1500)) };
        assert_eq!(subscribe(&uri("from=7&framing=length&timeout=1.5")), Ok(expected));
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        let published =
            ["framing=Lines", "mode=x", "object_size=0", "object_size=16777217", "object_size=-1", "frming=x"];
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
    }
}
