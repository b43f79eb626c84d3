//! `GET /`: the page that shows the node in a browser. It is part of the program, and asks nobody but the
//! node.

use axum::{
    Router,
    http::{HeaderName, header},
    response::IntoResponse,
    routing::get,
};

use super::Shared;

/// The page runs its own script and style alone, and talks to the node alone. `blob:` is what a track is
/// watched through.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 9] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/page/main.js", SCRIPT, include_str!("page/main.js")),
    ("/page/node.js", SCRIPT, include_str!("page/node.js")),
    ("/page/tree.js", SCRIPT, include_str!("page/tree.js")),
    ("/page/charts.js", SCRIPT, include_str!("page/charts.js")),
    ("/page/panes.js", SCRIPT, include_str!("page/panes.js")),
    ("/page/watch.js", SCRIPT, include_str!("page/watch.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The routes of the page.
pub(super) fn routes() -> Router<Shared> {
    FILES
        .into_iter()
        .fold(Router::new(), |router, (path, kind, text)| router.route(path, get(async move || file(kind, text))))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn page_follows_every_kind_of_event() {
        let views = include_str!("../views/events.rs");
        let kinds = views.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("{ .. } => \""));
        let kinds: Vec<&str> = kinds.filter_map(|(_, kind)| kind.strip_suffix("\",")).collect();
        assert!(kinds.len() >= 19, "{kinds:?}");
        for kind in kinds {
            assert!(include_str!("page/node.js").contains(&format!("'{kind}'")), "node.js does not listen for {kind}");
            assert!(include_str!("page/panes.js").contains(&format!("{kind}: ")), "panes.js has no words for {kind}");
        }
    }
}
