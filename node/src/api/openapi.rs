//! The routes as an OpenAPI 3.1 document, with the schemas of the views.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::views::{
    control::{CapacityRequest, JoinRequest, Log, TagsRequest, TellRequest},
    keys::{InstallRequest, InviteRequest},
    library::{RootRequest, StartRequest},
    schemas::{ALL, definitions, openapi_generator, schema_of},
};

/// What a route is asked with.
#[derive(Debug, Clone, Copy)]
enum Body {
    None,
    /// A JSON document.
    Json(fn(&mut SchemaGenerator) -> Value),
    /// The payload of a track.
    Bytes,
}

/// What it answers.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// The view of this schema name.
    View(&'static str),
    /// Server-sent events, each with a view of this schema name.
    Events(&'static str),
    /// The payload of a track.
    Bytes,
    /// Something of this content type.
    Other(&'static str),
}

use Answer::{Events, Other, View};
use Body::{Json, None as Nothing};

/// Method, path, what it does, arguments of the query, body, answer.
type Route = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], Body, Answer);

const FRAMING: (&str, &str) = ("framing", "bytes, lines or length: what an object is");

const ROUTES: &[Route] = &[
    ("get", "/v1/status", "This node at a glance", &[], Nothing, View("banyan.status/v1")),
    ("get", "/v1/peers", "Who is in the mesh", &[], Nothing, View("banyan.peers/v1")),
    ("get", "/v1/tracks", "What is published and followed", &[], Nothing, View("banyan.tracks/v1")),
    ("get", "/v1/tracks/{track}/tree", "The relay tree of a track", &[], Nothing, View("banyan.tree/v1")),
    ("get", "/v1/tracks/{track}/offload", "Who forwards how much", &[], Nothing, View("banyan.offload/v1")),
    (
        "put",
        "/v1/tracks/{track}/publish",
        "Publishes the body as a track, which ends with it",
        &[
            FRAMING,
            ("mode", "live or reliable"),
            ("integrity", "signed or none"),
            ("object_size", "largest object of bytes framing, in bytes"),
        ],
        Body::Bytes,
        View("banyan.published/v1"),
    ),
    (
        "get",
        "/v1/tracks/{track}/subscribe",
        "Writes a track as the body; how it ended is in the trailers banyan-end and banyan-missing",
        &[
            FRAMING,
            ("from", "latest, oldest or an object id"),
            ("timeout", "end when no object came for so many seconds"),
        ],
        Nothing,
        Answer::Bytes,
    ),
    (
        "get",
        "/v1/events",
        "What happens",
        &[
            ("since", "an event's number, or how long ago: 10m, or all"),
            ("follow", "false: end with what has happened"),
        ],
        Nothing,
        Events("banyan.event/v1"),
    ),
    ("get", "/v1/peers/{peer}", "What is known of a peer", &[], Nothing, View("banyan.peer_detail/v1")),
    ("get", "/v1/peers/{peer}/ping", "Measures a round trip to a peer", &[], Nothing, View("banyan.ping/v1")),
    (
        "get",
        "/v1/wait/{condition}",
        "Answers when something is so: ready, peers=N or track=T",
        &[("timeout", "answer after so many seconds at the latest")],
        Nothing,
        View("banyan.waited/v1"),
    ),
    ("get", "/livez", "Whether the main loop turns", &[], Nothing, View("banyan.health/v1")),
    (
        "get",
        "/readyz",
        "Whether the node listens and knows enough others",
        &[("min_peers", "so many other live peers at least")],
        Nothing,
        View("banyan.health/v1"),
    ),
    ("get", "/metrics", "Figures for Prometheus", &[], Nothing, Other("text/plain")),
    ("get", "/v1/doctor", "What is wrong with the node, and what to do", &[], Nothing, View("banyan.checkup/v1")),
    ("get", "/v1/log/lines", "The last lines of the log", &[], Nothing, View("banyan.log_lines/v1")),
    ("get", "/v1/why/{what}", "Why a peer or a track is as it is", &[], Nothing, View("banyan.why/v1")),
    ("get", "/v1/repairs", "How this node found other parents", &[], Nothing, View("banyan.repairs/v1")),
    (
        "post",
        "/v1/events",
        "Tells every node of the mesh, each once",
        &[],
        Json(schema_of::<TellRequest>),
        View("banyan.told/v1"),
    ),
    (
        "put",
        "/v1/capacity",
        "Offers another number of slots",
        &[],
        Json(schema_of::<CapacityRequest>),
        View("banyan.capacity/v1"),
    ),
    (
        "post",
        "/v1/tags",
        "Changes what the node says of itself",
        &[],
        Json(schema_of::<TagsRequest>),
        View("banyan.tags/v1"),
    ),
    ("post", "/v1/join", "Joins by an address", &[], Json(schema_of::<JoinRequest>), View("banyan.joined/v1")),
    ("post", "/v1/leave", "Says goodbye and ends the node", &[], Nothing, View("banyan.left/v1")),
    ("put", "/v1/log", "Logs by another filter", &[], Json(schema_of::<Log>), View("banyan.log/v1")),
    ("get", "/v1/config", "The settings, and where each comes from", &[], Nothing, View("banyan.config/v1")),
    ("get", "/v1/openapi.json", "This document", &[], Nothing, Other("application/json")),
    ("get", "/v1/keys", "Which mesh keys are accepted", &[], Nothing, View("banyan.keys/v1")),
    ("post", "/v1/keys", "Accepts one more key", &[], Json(schema_of::<InstallRequest>), View("banyan.keys/v1")),
    ("post", "/v1/keys/{fingerprint}/use", "Uses an accepted key", &[], Nothing, View("banyan.keys/v1")),
    ("delete", "/v1/keys/{fingerprint}", "No longer accepts a key", &[], Nothing, View("banyan.keys/v1")),
    (
        "post",
        "/v1/invitations",
        "Invites other nodes into the mesh",
        &[],
        Json(schema_of::<InviteRequest>),
        View("banyan.invitation/v1"),
    ),
    ("get", "/v1/library", "What the mesh has", &[], Nothing, View("banyan.library/v1")),
    ("get", "/v1/library/packages/{package}", "One package", &[], Nothing, View("banyan.package/v1")),
    ("get", "/v1/library/jobs", "What is being done", &[], Nothing, View("banyan.jobs/v1")),
    ("get", "/v1/library/jobs/{id}", "One job", &[], Nothing, View("banyan.job/v1")),
    ("get", "/v1/library/jobs/{id}/explain", "Why a job is not faster", &[], Nothing, View("banyan.explanation/v1")),
    ("post", "/v1/library/jobs/{id}/cancel", "Stops a job", &[], Nothing, View("banyan.job/v1")),
    ("post", "/v1/library/get", "Fetches a package", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/install", "Unpacks a package", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/update", "Brings a package to the newest version", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/uninstall", "Removes what was unpacked", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/remove", "Removes a package from the disk", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/verify", "Reads a package again", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/push", "Pushes a package to other nodes", &[], START, View("banyan.job/v1")),
    ("post", "/v1/library/roots", "Shares a folder", &[], ROOT, View("banyan.library/v1")),
    ("delete", "/v1/library/roots", "No longer shares a folder", &[], ROOT, View("banyan.library/v1")),
];

const START: Body = Json(schema_of::<StartRequest>);
const ROOT: Body = Json(schema_of::<RootRequest>);

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut generator = openapi_generator();
    let mut paths = json!({});
    for route in ROUTES {
        let (method, path, ..) = route;
        paths[path][method] = operation(route, &mut generator);
    }
    let mut schemas = serde_json::Map::new();
    for named in ALL {
        schemas.insert(component(named.name), named.enveloped(&mut generator));
    }
    schemas.extend(definitions(&mut generator));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Banyan",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The local API of a node, over its unix socket.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://banyan", "description": "the socket, by default $XDG_RUNTIME_DIR/banyan/default.sock" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation((method, path, summary, query, body, answer): &Route, generator: &mut SchemaGenerator) -> Value {
    let in_path = path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = query.iter().map(|(name, description)| {
        json!({ "name": name, "in": "query", "description": description, "schema": { "type": "string" } })
    });
    let words = path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty() && *word != "v1");
    let content = match answer {
        View(name) => json!({ "application/json": { "schema": reference(name) } }),
        Events(name) => json!({ "text/event-stream": { "itemSchema": reference(name) } }),
        Answer::Bytes => json!({ "application/octet-stream": {} }),
        Other(kind) => json!({ (*kind): {} }),
    };
    let mut operation = json!({
        "operationId": words.fold((*method).to_owned(), |id, word| id + "_" + word),
        "summary": summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "It is done", "content": content },
            "default": {
                "description": "It is not; the code says why",
                "content": { "application/json": { "schema": reference("banyan.error/v1") } },
            },
        },
    });
    match body {
        Nothing => {}
        Json(schema) => {
            let content = json!({ "application/json": { "schema": schema(generator) } });
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        Body::Bytes => {
            operation["requestBody"] = json!({ "required": true, "content": { "application/octet-stream": {} } });
        }
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", component(name)) })
}

/// A schema name as components are named: `banyan.status.v1`.
fn component(name: &str) -> String {
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        assert!(text.matches("\"$ref\"").count() > 50);
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let path = reference.split('"').next().expect("it ends");
            assert!(document.pointer(path).is_some(), "{path}");
        }
    }

    #[test]
    fn every_route_of_the_router_is_described() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
        let mut routes = 0;
        let files = fs::read_dir(folder).expect("it is there").map(|file| file.expect("it is listed").path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
            let source = fs::read_to_string(file).expect("it is text");
            for route in source.split(".route(\"").skip(1) {
                let path = route.split('"').next().expect("it ends");
                let prefix = path.split('{').next().expect("there is a first part");
                let described = |known: &str| if prefix == path { known == path } else { known.starts_with(prefix) };
                assert!(ROUTES.iter().any(|(_, known, ..)| described(known)), "{path} is not in ROUTES");
                routes += usize::from(path.starts_with("/v1/"));
            }
        }
        assert!(routes >= 10, "{routes} routes were found");
    }

    #[test]
    fn every_answer_has_a_schema() {
        for (_, path, .., answer) in ROUTES {
            if let View(name) | Events(name) = answer {
                assert!(ALL.iter().any(|named| named.name == *name), "{path}: {name} is not in views::schemas::ALL");
            }
        }
    }
}
