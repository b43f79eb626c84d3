//! The bodies of requests: small JSON documents.

use std::time::Duration;

use axum::{body::Body, http::StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Time to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a document; `example` is for those who send something else.
pub(super) async fn read<T: DeserializeOwned>(body: Body, example: &str) -> Result<T, ApiError> {
    let body = timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await.map_err(|_| {
        let message = "the body of the request did not come within 10 s";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message, "send it at once")
    })?;
    let body = body.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = "the body of the request has more than 65536 bytes";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message, "send one small JSON document")
        } else {
            ApiError::bad_argument(format!("the body of the request broke off: {error}"), "send it whole")
        }
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        let message = format!("the body of the request is not understood: {error}");
        ApiError::bad_argument(message, &format!("send JSON, for example {example}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::library::StartRequest;

    #[tokio::test]
    async fn bodies_are_small_documents_of_known_fields_e3() {
        async fn start(body: impl Into<Body>) -> Result<StartRequest, String> {
            read(body.into(), "{}").await.map_err(|error| error.view.code)
        }
        let whole = start(r#"{"package":"a","install":true}"#).await.expect("it is valid");
        assert_eq!((whole.package.as_str(), whole.install), ("a", Some(true)));
        for body in ["", "{}", "[]", r#"{"package":1}"#, r#"{"package":"a","fly":true}"#, "\u{0}"] {
            assert_eq!(start(body).await.map(|_| ()), Err("invalid_argument".to_owned()), "{body}");
        }
        let long = |bytes: usize| format!(r#"{{"package":"{}"}}"#, "x".repeat(bytes - r#"{"package":""}"#.len()));
        assert!(start(long(BODY_BYTES_MAX)).await.is_ok());
        assert_eq!(start(long(BODY_BYTES_MAX + 1)).await.map(|_| ()), Err("body_too_large".to_owned()));
    }
}
