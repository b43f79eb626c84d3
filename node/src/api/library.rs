//! `/v1/library…`: the packages of the mesh, and what is done to them here.

use std::path::PathBuf;

use axum::{
    body::Body,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::Response,
};

use super::{Shared, body::read, error::ApiError, not_allowed, query, route::percent_decode, shown};
use crate::{
    library::push::{NoTarget, Targets},
    net::library::{Kind, Library, LibraryError, Selector},
    views::library::{JobView, RootRequest, StartRequest},
};

/// Where the paths of the library start.
const PREFIX: &str = "/v1/library";
/// Longest text that selects a package, in bytes: a name, `@` and a version.
const SELECTOR_BYTES_MAX: usize = 385;
/// Longest text that selects targets of a push, in bytes.
const TARGETS_BYTES_MAX: usize = 256;
/// Longest path of a folder, in bytes.
const ROOT_BYTES_MAX: usize = 4096;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    Library,
    Package(Selector),
    Jobs,
    Job(u64),
    Explain(u64),
    Cancel(u64),
    Roots,
    Start(Kind),
}

impl Route {
    fn parse(path: &str) -> Result<Self, ApiError> {
        let unknown = || ApiError::unknown_route(path);
        let rest = path.strip_prefix(PREFIX).ok_or_else(unknown)?;
        if let Some(text) = rest.strip_prefix("/packages/") {
            let text = percent_decode(text).ok_or_else(|| ApiError::bad_encoding(text))?;
            return Ok(Self::Package(selector(&text)?));
        }
        let segments: Vec<&str> = rest.split('/').skip(1).take(4).collect();
        let number = |text: &str| text.parse().map_err(|_| unknown());
        Ok(match segments[..] {
            [] if rest.is_empty() => Self::Library,
            ["jobs"] => Self::Jobs,
            ["jobs", id] => Self::Job(number(id)?),
            ["jobs", id, "explain"] => Self::Explain(number(id)?),
            ["jobs", id, "cancel"] => Self::Cancel(number(id)?),
            ["roots"] => Self::Roots,
            ["get"] => Self::Start(Kind::Get),
            ["install"] => Self::Start(Kind::Install),
            ["update"] => Self::Start(Kind::Update),
            ["uninstall"] => Self::Start(Kind::Uninstall),
            ["remove"] => Self::Start(Kind::Remove),
            ["verify"] => Self::Start(Kind::Verify),
            ["push"] => Self::Start(Kind::Push),
            _ => return Err(unknown()),
        })
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::Library | Self::Package(_) | Self::Jobs | Self::Job(_) | Self::Explain(_) => "GET",
            Self::Cancel(_) | Self::Start(_) => "POST",
            Self::Roots => "POST, DELETE",
        }
    }
}

/// Answers every request about the library.
pub(super) async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    body: Body,
) -> Result<Response, ApiError> {
    let route = Route::parse(uri.path())?;
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    if !route.methods().split(", ").any(|method| method == asked) {
        return Ok(not_allowed(route.methods()));
    }
    query::none(&uri)?;
    if route == Route::Roots && method == Method::POST {
        let library = shared.node.share(&root(body).await?).await?;
        return Ok(shown(library.view().await?));
    }
    let library = shared.node.library().ok_or_else(no_library)?;
    Ok(match route {
        Route::Library => shown(library.view().await?),
        Route::Package(package) => shown(library.package(&package).await?),
        Route::Jobs => shown(library.jobs().await?),
        Route::Job(id) => shown(library.job(id).await?),
        Route::Explain(id) => shown(library.explain(id).await?),
        Route::Cancel(id) => shown(library.cancel(id).await?),
        Route::Roots => {
            library.remove_root(&root(body).await?).await?;
            shown(library.view().await?)
        }
        Route::Start(kind) => shown(start(&library, kind, read(body, r#"{"package":"NAME"}"#).await?).await?),
    })
}

async fn root(body: Body) -> Result<PathBuf, ApiError> {
    let RootRequest { path } = read(body, r#"{"path":"/srv/library"}"#).await?;
    if !path.is_absolute() || path.as_os_str().len() > ROOT_BYTES_MAX {
        let message = "the folder is no absolute path of at most 4096 bytes";
        return Err(ApiError::bad_argument(message, r#"send {"path":"/srv/library"}"#));
    }
    Ok(path)
}

async fn start(library: &Library, kind: Kind, request: StartRequest) -> Result<JobView, ApiError> {
    let StartRequest { package, install, to, activate_when } = request;
    let of_get = install.is_some() && kind != Kind::Get;
    if of_get || ((to.is_some() || activate_when.is_some()) && kind != Kind::Push) {
        let message = "install is for get; to and activate_when are for push";
        return Err(ApiError::bad_argument(message, r#"send {"package":"NAME"}"#));
    }
    let package = selector(&package)?;
    Ok(match kind {
        Kind::Get => library.get(&package, install.unwrap_or_default()).await?,
        Kind::Install => library.install(&package).await?,
        Kind::Update => library.update(package.as_str()).await?,
        Kind::Uninstall => library.uninstall(&package).await?,
        Kind::Remove => library.remove(&package).await?,
        Kind::Verify => library.verify(&package).await?,
        Kind::Push => {
            let to = parse_targets(to.as_deref().unwrap_or("all"))
                .map_err(|message| ApiError::bad_argument(message, r#"send {"package":"NAME","to":"label=web-*"}"#))?;
            if activate_when.is_some_and(|percent| !(1..=100).contains(&percent)) {
                return Err(ApiError::bad_argument("activate_when is not 1 to 100 percent", "send 100"));
            }
            library.push(&package, &to, activate_when).await?
        }
    })
}

/// What names a package: `NAME`, `NAME@VERSION`, or the first digits of its id.
pub(crate) fn parse_selector(text: &str) -> Result<Selector, String> {
    if text.is_empty() || text.len() > SELECTOR_BYTES_MAX || text.contains(char::is_control) {
        return Err("a package is NAME, NAME@VERSION, or the first 8 digits or more of its id".to_owned());
    }
    Ok(text.into())
}

/// Whom a package is pushed to: `all`, `label=GLOB`, or the id of a peer.
pub(crate) fn parse_targets(text: &str) -> Result<Targets, String> {
    if text.len() > TARGETS_BYTES_MAX {
        return Err("what names targets has at most 256 bytes".to_owned());
    }
    text.parse().map_err(|error: NoTarget| error.to_string())
}

fn selector(text: &str) -> Result<Selector, ApiError> {
    parse_selector(text).map_err(|message| ApiError::bad_argument(message, "see what there is with `banyan library`"))
}

fn no_library() -> ApiError {
    let hint = "share a folder: banyan library add DIR, or banyan run --library DIR";
    ApiError::new(StatusCode::CONFLICT, "no_library", "this node has no library", hint)
}

impl From<LibraryError> for ApiError {
    fn from(error: LibraryError) -> Self {
        let status = match error.code() {
            "not_found" => StatusCode::NOT_FOUND,
            "ambiguous" | "bad_root" => StatusCode::BAD_REQUEST,
            "busy" | "not_installed" | "not_owned" | "cancelled" | "push_failed" => StatusCode::CONFLICT,
            "bad_package" => StatusCode::UNPROCESSABLE_ENTITY,
            "no_source" | "pusher_gone" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "disk_full" => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, view: error.view() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(path: &str) -> Result<Route, String> {
        Route::parse(path).map_err(|error| error.view.code)
    }

    #[test]
    fn paths_name_what_there_is() {
        let package = |text: &str| Route::Package(text.into());
        for (path, route) in [
            ("/v1/library", Route::Library),
            ("/v1/library/packages/a", package("a")),
            ("/v1/library/packages/a%20b@1.0", package("a b@1.0")),
            ("/v1/library/packages/a/b%2Fc", package("a/b/c")),
            ("/v1/library/packages/jobs", package("jobs")),
            ("/v1/library/jobs", Route::Jobs),
            ("/v1/library/jobs/7", Route::Job(7)),
            ("/v1/library/jobs/7/explain", Route::Explain(7)),
            ("/v1/library/jobs/7/cancel", Route::Cancel(7)),
            ("/v1/library/roots", Route::Roots),
            ("/v1/library/get", Route::Start(Kind::Get)),
        ] {
            assert_eq!(parsed(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn other_paths_are_unknown_or_refused() {
        for path in [
            "/v1/library/",
            "/v1/libraryx",
            "/v1/library/fly",
            "/v1/library/get/",
            "/v1/library/get/a",
            "/v1/library/jobs/",
            "/v1/library/jobs/x",
            "/v1/library/jobs/-1",
            "/v1/library/jobs/18446744073709551616",
            "/v1/library/jobs/7/",
            "/v1/library/jobs/7/fly",
            "/v1/library/jobs/7/cancel/now",
            "/v1/library/packages",
        ] {
            assert_eq!(parsed(path), Err("unknown_route".to_owned()), "{path}");
        }
        let long = format!("/v1/library/packages/{}", "x".repeat(SELECTOR_BYTES_MAX + 1));
        for path in ["/v1/library/packages/", "/v1/library/packages/a%0Ab", &long] {
            assert_eq!(parsed(path), Err("invalid_argument".to_owned()), "{path}");
        }
        assert_eq!(parsed("/v1/library/packages/a%f"), Err("invalid_name".to_owned()));
    }

    proptest! {
        #[test]
        fn any_path_is_answered_without_a_panic(rest in "[a-z/%0-9.é]{0,40}") {
            let _ = Route::parse(&format!("/v1/library/{rest}"));
            let _ = Route::parse(&format!("/v1/library/packages/{rest}"));
        }
    }
}
