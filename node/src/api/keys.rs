//! `/v1/keys…` and `/v1/invitations`: who is admitted to the mesh.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::Response,
    routing::any,
};

use super::{Shared, body::read, error::ApiError, not_allowed, query, shown};
use crate::{
    admission::{Fingerprint, KeyringError, MeshKey},
    net::{admission::INVITE_MAX, types::KeyError},
    views::keys::{InstallRequest, InviteRequest, InviteView},
};

/// Most nodes that one invitation admits.
const USES_MAX: u32 = 10_000;

/// The routes of this module.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/keys", any(keys))
        .route("/v1/keys/{*rest}", any(keys))
        .route("/v1/invitations", any(invite))
}

async fn keys(State(shared): State<Shared>, method: Method, uri: Uri, body: Body) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let admission = shared.node.admission();
    let rest = uri.path().strip_prefix("/v1/keys").unwrap_or_default();
    let segments: Vec<&str> = rest.split('/').skip(1).take(3).collect();
    match (segments.as_slice(), &method) {
        ([], &Method::GET | &Method::HEAD) => {}
        ([], &Method::POST) => {
            let InstallRequest { key } = read(body, r#"{"key":"KEY"}"#).await?;
            let key: MeshKey = key.parse().map_err(|error| bad(&error))?;
            admission.install(key)?;
        }
        ([], _) => return Ok(not_allowed("GET, POST")),
        ([key, "use"], &Method::POST) => admission.select(fingerprint(key)?)?,
        ([_, "use"], _) => return Ok(not_allowed("POST")),
        ([key], &Method::DELETE) => admission.remove(fingerprint(key)?)?,
        ([_], _) => return Ok(not_allowed("DELETE")),
        _ => return Err(ApiError::unknown_route(uri.path())),
    }
    Ok(shown(admission.view()))
}

async fn invite(State(shared): State<Shared>, method: Method, uri: Uri, body: Body) -> Result<Response, ApiError> {
    query::none(&uri)?;
    if method != Method::POST {
        return Ok(not_allowed("POST"));
    }
    let InviteRequest { expires_s, uses } = read(body, r#"{"expires_s":86400,"uses":1}"#).await?;
    let expires = Duration::from_secs(expires_s);
    if expires.is_zero() || expires > INVITE_MAX || uses == 0 || uses > USES_MAX {
        let message = "an invitation is good for 1 s to 365 days and for 1 to 10,000 nodes";
        return Err(ApiError::bad_argument(message, r#"send {"expires_s":86400,"uses":1}"#));
    }
    let status = shared.node.status().await?;
    let token = shared.node.admission().invite(shared.node.peer_id(), status.addresses, expires, uses)?;
    Ok(shown(InviteView { token: token.to_string(), expires_s, uses }))
}

fn fingerprint(text: &str) -> Result<Fingerprint, ApiError> {
    text.parse().map_err(|()| bad(&"a key is named by its fingerprint, eight hexadecimal digits"))
}

fn bad(reason: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_argument(
        reason.to_string(),
        "see the fingerprints with `banyan key list`; make a key with `banyan key new`",
    )
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        let (status, code, hint) = match error {
            KeyError::Keyring(KeyringError::Unknown(_)) => {
                (StatusCode::NOT_FOUND, "not_found", "see the fingerprints with `banyan key list`")
            }
            KeyError::Keyring(KeyringError::InUse(_)) => {
                (StatusCode::CONFLICT, "conflict", "use another key first: `banyan key use FINGERPRINT`")
            }
            KeyError::Keyring(KeyringError::TooManyKeys) => {
                (StatusCode::CONFLICT, "conflict", "remove keys that are no longer needed")
            }
            KeyError::Keyring(KeyringError::Known(_)) => (StatusCode::CONFLICT, "conflict", "there is nothing to do"),
            KeyError::Keyring(KeyringError::TooManyInvites | KeyringError::Spent) => {
                (StatusCode::CONFLICT, "conflict", "wait until some have expired")
            }
            KeyError::File(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "unkept",
                "nothing was changed; is the disk full or the folder gone?",
            ),
        };
        Self::new(status, code, message, hint)
    }
}
