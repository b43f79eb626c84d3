//! The API over TCP, for browsers and for what scrapes metrics: opt-in, and it only shows.
//!
//! Anybody who reaches the port may read, and a browser reaches it on behalf of every page that its user
//! visits. So a request must name this machine as its host by an address or as `localhost` (a foreign
//! name that resolves to it is an attack), must not come from another site's script, and changes nothing. What
//! only the node's own user should read, its log for example, stays with the unix socket.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, uri::Authority},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::net::{TcpListener, TcpStream};

use super::{error::ApiError, server::Door};

/// Why the address was not opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on http://{address}: {source}")]
pub struct HttpError {
    /// The address as given.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// A TCP port on which the API is read.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    address: SocketAddr,
}

impl Http {
    /// Listens. Port 0 lets the system choose. On other than loopback addresses everyone in reach may read.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let failed = |source| HttpError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "everyone who reaches this address can see this node and receive its tracks");
        }
        Ok(Self { listener, address })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Door for Http {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn routes(&self, routes: Router) -> Router {
        let bound = self.address.ip();
        routes.layer(middleware::from_fn(move |request, next| guarded(bound, request, next)))
    }
}

async fn guarded(bound: IpAddr, request: Request<Body>, next: Next) -> Response {
    let mut response = match check(bound, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a request may be answered.
fn check<T>(bound: IpAddr, request: &Request<T>) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = only(headers, &header::HOST).filter(|host| is_ours(bound, host)).ok_or_else(foreign_host)?;
    if let Some(origin) = headers.get(header::ORIGIN)
        && origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host)
    {
        return Err(foreign_origin());
    }
    // What pages of other sites load without a script, an image for example, has no origin.
    let fetch = |name| headers.get(name).map(HeaderValue::as_bytes);
    if fetch("sec-fetch-site").is_some_and(|site| site == b"cross-site" || site == b"same-site")
        && fetch("sec-fetch-mode") != Some(b"navigate")
    {
        return Err(foreign_origin());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(read_only());
    }
    if is_open(request.uri().path()) { Ok(()) } else { Err(socket_only()) }
}

/// Whether everybody in reach may see a route. New ones of the API are closed until they are named here.
fn is_open(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/v1/") else { return true };
    match path.split_once('/') {
        None => matches!(path, "status" | "peers" | "tracks" | "events" | "repairs" | "library"),
        // One peer, but no round trips to it.
        Some(("peers", peer)) => !peer.contains('/'),
        Some((first, _)) => matches!(first, "tracks" | "why" | "library"),
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The port says nothing: a tunnel may lead here from another one.
fn is_ours(bound: IpAddr, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|ip| ip.is_loopback() || bound.is_unspecified() || ip.to_canonical() == bound.to_canonical())
}

fn foreign_host() -> ApiError {
    let message = "the host of the request is not this node";
    ApiError::new(StatusCode::FORBIDDEN, "foreign_host", message, "use localhost or the address that it listens on")
}

fn foreign_origin() -> ApiError {
    let message = "the request comes from another site";
    ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message, "open the node's own page instead")
}

fn read_only() -> ApiError {
    let message = "over TCP the node only shows; it takes GET and HEAD";
    let hint = "use the unix socket: `banyan …` or `curl --unix-socket`";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "read_only", message, hint)
}

fn socket_only() -> ApiError {
    let message = "over TCP the node does not show this";
    let hint = "use the unix socket: `banyan …` or `curl --unix-socket`";
    ApiError::new(StatusCode::FORBIDDEN, "socket_only", message, hint)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1";

    fn checked(bound: &str, method: Method, lines: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Request::builder().method(method).uri("/v1/status");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is a request");
        check(bound.parse().expect("an address"), &request).map_err(|error| error.view.code)
    }

    fn host(bound: &str, host: &str) -> Result<(), String> {
        checked(bound, Method::GET, &[("host", host)])
    }

    #[test]
    fn hosts_are_loopback_or_the_address_bound_e3() {
        for good in ["localhost", "LOCALHOST:80", "127.0.0.1:1", "127.0.0.2", "[::1]:7070"] {
            assert_eq!(host(LOOPBACK, good), Ok(()), "{good}");
        }
        for bad in
            ["", "evil.example", "localhost.evil.example", "10.0.0.1:1", "127.0.0.1.evil.example", "[::2]", "a b"]
        {
            assert_eq!(host(LOOPBACK, bad), Err("foreign_host".to_owned()), "{bad}");
        }
        assert_eq!(host("10.0.0.1", "10.0.0.1:9"), Ok(()));
        assert_eq!(host("10.0.0.1", "10.0.0.2:9"), Err("foreign_host".to_owned()));
        assert_eq!((host("0.0.0.0", "10.0.0.2:9"), host("::", "[fd00::1]:9")), (Ok(()), Ok(())));
        assert_eq!(host("0.0.0.0", "evil.example:9"), Err("foreign_host".to_owned()));
        assert_eq!(checked(LOOPBACK, Method::GET, &[]), Err("foreign_host".to_owned()));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(checked(LOOPBACK, Method::GET, &twice), Err("foreign_host".to_owned()));
    }

    #[test]
    fn other_sites_scripts_and_images_are_refused_e3() {
        let own = ("host", "127.0.0.1:7");
        let get = |lines: &[(&str, &str)]| checked(LOOPBACK, Method::GET, lines);
        assert_eq!(get(&[own, ("origin", "http://127.0.0.1:7")]), Ok(()));
        for origin in ["http://127.0.0.1:8", "https://127.0.0.1:7", "null", "http://evil.example"] {
            assert_eq!(get(&[own, ("origin", origin)]), Err("foreign_origin".to_owned()), "{origin}");
        }
        let image = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(get(&image), Err("foreign_origin".to_owned()));
        assert_eq!(get(&[own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), Ok(()));
        assert_eq!(get(&[own, ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]), Ok(()));
    }

    #[test]
    fn nothing_is_changed_over_tcp_e3() {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(checked(LOOPBACK, method, &[("host", "localhost")]), Err("read_only".to_owned()));
        }
        assert_eq!(checked(LOOPBACK, Method::HEAD, &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn log_keys_and_round_trips_stay_with_the_socket_e3() {
        for path in ["/", "/metrics", "/v1/peers/n1", "/v1/tracks/a/b/subscribe", "/v1/why/a/b", "/v1/library/jobs"] {
            assert!(is_open(path), "{path}");
        }
        for path in
            ["/v1/log/lines", "/v1/keys", "/v1/peers/n1/ping", "/v1/doctor", "/v1/config", "/v1/peers/n1/", "/v1/"]
        {
            assert!(!is_open(path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_host_is_judged_without_a_panic(host in "[\\x21-\\x7e]{0,30}") {
            let _ = is_ours(LOOPBACK.parse().expect("an address"), &host);
        }
    }
}
