//! What is asked of a node to change it, and what it answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// The body of `PUT /v1/capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CapacityRequest {
    /// Slots to offer over all tracks; 0 never relays.
    pub capacity: u16,
}

/// The answer to `PUT /v1/capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Slots offered over all tracks, as long as the node runs.
    pub capacity: u16,
    /// Slots still free.
    pub slots_free: u16,
}

impl View for Capacity {
    const SCHEMA: &'static str = "banyan.capacity/v1";
}

/// The body of `POST /v1/tags`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TagsRequest {
    /// Tags to set.
    pub set: BTreeMap<String, String>,
    /// Keys of tags to remove.
    pub unset: Vec<String>,
}

/// The answer to `POST /v1/tags`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tags {
    /// All that the node says of itself now.
    pub tags: BTreeMap<String, String>,
}

impl View for Tags {
    const SCHEMA: &'static str = "banyan.tags/v1";
}

/// The body of `POST /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TellRequest {
    /// What kind of event it is: 1 to 64 bytes.
    pub name: String,
    /// Anything more: at most 512 bytes.
    #[serde(default)]
    pub payload: String,
}

/// The answer to `POST /v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// Names the event in the whole mesh.
    pub id: String,
}

impl View for Told {
    const SCHEMA: &'static str = "banyan.told/v1";
}

/// The body of `POST /v1/join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// A multiaddr or `host:port`.
    pub address: String,
}

/// The answer to `POST /v1/join`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joined {
    /// Who is there.
    pub peer_id: String,
}

impl View for Joined {
    const SCHEMA: &'static str = "banyan.joined/v1";
}

/// The answer to `POST /v1/leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// Who has said goodbye.
    pub peer_id: String,
}

impl View for Left {
    const SCHEMA: &'static str = "banyan.left/v1";
}

/// The body of `PUT /v1/log`, and the answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or `target=level,…`.
    pub filter: String,
}

impl View for Log {
    const SCHEMA: &'static str = "banyan.log/v1";
}

/// `GET /v1/config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// The configuration file that was read, if there is one.
    pub file: Option<String>,
    /// Every setting, by key.
    pub settings: Vec<Setting>,
}

impl View for Config {
    const SCHEMA: &'static str = "banyan.config/v1";
}

/// A setting of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// Its name in configuration files, and with `--` before it on the command line.
    pub key: String,
    /// What it is set to; nothing where the node decides by itself.
    pub values: Vec<String>,
    /// Where that comes from: `flag`, `environment`, `file` or `default`.
    pub origin: String,
    /// Whether a changed file takes effect while the node runs, on SIGHUP.
    pub live: bool,
}

/// `banyan version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Version of the program.
    pub version: String,
    /// Version of the protocol that nodes speak with each other.
    pub protocol: u16,
    /// Version of the local HTTP API.
    pub api: u16,
}

impl View for Version {
    const SCHEMA: &'static str = "banyan.version/v1";
}
