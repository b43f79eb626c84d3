//! Which track and which action a path below `/v1/tracks/` names.
//!
//! Track names hold slashes. Both forms are understood: `cam%2Ffront/tree` and `cam/front/tree`;
//! the last segment is always the action, so a track may even be called `tree`.

use banyan_gossip::TrackName;

use super::error::ApiError;

/// Where the paths of tracks start.
pub(super) const PREFIX: &str = "/v1/tracks/";

/// What is wanted of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Its tree.
    Tree,
    /// Who forwards how much of it.
    Offload,
    /// To publish it.
    Publish,
    /// To subscribe to it.
    Subscribe,
}

/// Splits a raw request path into track and action.
pub(super) fn parse(path: &str) -> Result<(TrackName, Action), ApiError> {
    let unknown = || ApiError::unknown_route(path);
    let rest = path.strip_prefix(PREFIX).ok_or_else(unknown)?;
    let (track, action) = rest.rsplit_once('/').ok_or_else(unknown)?;
    let action = match action {
        "tree" => Action::Tree,
        "offload" => Action::Offload,
        "publish" => Action::Publish,
        "subscribe" => Action::Subscribe,
        _ => return Err(unknown()),
    };
    let track = percent_decode(track).ok_or_else(|| ApiError::bad_encoding(track))?;
    Ok((TrackName::new(&track)?, action))
}

/// Undoes percent-encoding; `None` if it is broken or hides something that is not UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || (rest.next()? as char).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).expect("two hexadecimal digits fit a byte"));
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(path: &str) -> Result<(String, Action), String> {
        let (track, action) = parse(path).map_err(|error| error.view.code)?;
        Ok((track.to_string(), action))
    }

    #[test]
    fn slashes_of_a_track_may_be_encoded_or_plain() {
        for path in ["/v1/tracks/cam/front/tree", "/v1/tracks/cam%2Ffront/tree", "/v1/tracks/cam%2ffront/tree"] {
            assert_eq!(parsed(path), Ok(("cam/front".to_owned(), Action::Tree)), "{path}");
        }
        assert_eq!(parsed("/v1/tracks/tree/publish/subscribe"), Ok(("tree/publish".to_owned(), Action::Subscribe)));
        assert_eq!(parsed("/v1/tracks/tree/tree"), Ok(("tree".to_owned(), Action::Tree)));
    }

    #[test]
    fn paths_without_a_known_action_are_unknown_routes() {
        for path in ["/v1/tracks/", "/v1/tracks/a", "/v1/tracks/a/", "/v1/tracks/a/b", "/v1/tracks/tree", "/v2/x/tree"]
        {
            assert_eq!(parsed(path), Err("unknown_route".to_owned()), "{path}");
        }
    }

    #[test]
    fn names_beyond_the_rules_are_refused_a15() {
        for path in ["/v1/tracks//tree", "/v1/tracks/a//b/tree", "/v1/tracks/%2e%2e/tree", "/v1/tracks/a%20b/tree"] {
            assert_eq!(parsed(path), Err("invalid_name".to_owned()), "{path}");
        }
        for path in ["/v1/tracks/a%/tree", "/v1/tracks/a%2/tree", "/v1/tracks/%ff/tree", "/v1/tracks/%zz/tree"] {
            assert_eq!(parsed(path), Err("invalid_name".to_owned()), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered_without_a_panic(path in "/v1/tracks/[a-z/%0-9.é]{0,40}(/tree)?") {
            let _ = parse(&path);
        }

        #[test]
        fn every_valid_name_comes_through_encoded(name in "[A-Za-z0-9_-]{1,9}(/[A-Za-z0-9_-]{1,9}){0,3}") {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(parsed(&format!("/v1/tracks/{encoded}/publish")), Ok((name.clone(), Action::Publish)));
            prop_assert_eq!(parsed(&format!("/v1/tracks/{name}/publish")), Ok((name, Action::Publish)));
        }
    }
}
