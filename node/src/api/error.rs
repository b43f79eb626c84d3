//! The errors that the API answers with.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use banyan_gossip::{name::InvalidName, op::UserEventError};

use super::framing::FramingError;
use crate::{
    NodeError,
    views::{ErrorView, View},
};

/// An error with its HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) view: ErrorView,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>, hint: &str) -> Self {
        let view = ErrorView {
            code: code.to_owned(),
            message: message.into(),
            hint: Some(hint.to_owned()),
            details: BTreeMap::new(),
        };
        Self { status, view }
    }

    pub(super) fn unknown_route(path: &str) -> Self {
        let path: String = path.chars().take(160).collect();
        let hint = "there are /v1/status, /v1/peers, /v1/tracks, /v1/events, /v1/library and /v1/tracks/{track}/tree, publish, subscribe";
        Self::new(StatusCode::NOT_FOUND, "unknown_route", format!("no such route: {path}"), hint)
    }

    pub(super) fn method_not_allowed(allowed: &str) -> Self {
        let message = "this route does not take that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, &format!("use {allowed}"))
    }

    pub(super) fn bad_encoding(text: &str) -> Self {
        let text: String = text.chars().take(160).collect();
        let message = format!("the percent-encoding of {text:?} is broken");
        Self::new(StatusCode::BAD_REQUEST, "invalid_name", message, "write % as %25 and / as %2F or /")
    }

    pub(super) fn bad_argument(message: impl Into<String>, hint: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", message, hint)
    }

    pub(super) fn too_many_connections() -> Self {
        let hint = "end some subscriptions or publications of this node";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", "the node's socket is fully used", hint)
    }

    /// A publication that broke off after so many objects.
    pub(super) fn after(mut self, objects: u64) -> Self {
        self.view.details.insert("objects".to_owned(), objects.to_string());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.view.enveloped())).into_response()
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        let message = format!("{} {:?} is not valid", error.kind, error.name);
        Self::new(StatusCode::BAD_REQUEST, "invalid_name", message, &format!("use {}", error.rule))
    }
}

impl From<FramingError> for ApiError {
    fn from(error: FramingError) -> Self {
        let message = error.to_string();
        match error {
            FramingError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "object_too_large", message, TOO_LARGE),
            FramingError::Truncated { .. } => {
                let hint = "length framing is a 4-byte big-endian length and that many bytes, again and again";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "truncated", message, hint)
            }
        }
    }
}

const TOO_LARGE: &str = "cut it into objects of at most 16 MiB, or use bytes framing";

impl From<NodeError> for ApiError {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        let (status, code, hint) = match error {
            NodeError::AlreadyPublished(_) => {
                (StatusCode::CONFLICT, "already_published", "end that publication first, or use another track name")
            }
            NodeError::Conflict { .. } => {
                (StatusCode::CONFLICT, "conflict", "a track has one origin; use another name")
            }
            NodeError::TakenOver(_) => (StatusCode::CONFLICT, "taken_over", "a track has one origin; use another name"),
            NodeError::TooManyTracks => {
                (StatusCode::CONFLICT, "too_many_tracks", "end other tracks of this node, or use shorter names")
            }
            NodeError::ObjectTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "object_too_large", TOO_LARGE),
            NodeError::UnknownTrack(_) => {
                (StatusCode::NOT_FOUND, "unknown_track", "see what there is with `banyan tracks`")
            }
            NodeError::UnknownPeer(_) => {
                (StatusCode::NOT_FOUND, "unknown_peer", "see who there is with `banyan peers`")
            }
            NodeError::UnknownName(_) => {
                (StatusCode::NOT_FOUND, "not_found", "see what there is with `banyan peers` and `banyan tracks`")
            }
            NodeError::NoAnswer(_) => {
                (StatusCode::GATEWAY_TIMEOUT, "timeout", "is it there? see what is known with `banyan peers show PEER`")
            }
            NodeError::AmbiguousPeer { .. } => {
                (StatusCode::BAD_REQUEST, "ambiguous", "write more of the id, or peer:NAME or track:NAME")
            }
            NodeError::InvalidTag(_) => {
                (StatusCode::BAD_REQUEST, "invalid_argument", "write KEY=VALUE, as in site=berlin")
            }
            NodeError::Event(UserEventError::TooMany) => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_events", "events are for people; wait a second")
            }
            NodeError::Event(_) => (StatusCode::BAD_REQUEST, "invalid_argument", "send much data on a track"),
            NodeError::Address { .. } => {
                (StatusCode::BAD_REQUEST, "invalid_argument", "write host:port or /ip4/10.0.0.7/tcp/4001")
            }
            NodeError::NotJoined { .. } => {
                (StatusCode::BAD_GATEWAY, "not_joined", "does a node of this mesh run and listen there?")
            }
            NodeError::Forbidden { .. } => {
                (StatusCode::FORBIDDEN, "forbidden", "see the rules of this node with `banyan config show`")
            }
            NodeError::Shutdown => {
                (StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "start it again with `banyan run`")
            }
        };
        Self::new(status, code, message, hint)
    }
}
