//! Mesh keys and invitations as they are shown: never the secrets themselves, but where one is asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// `GET /v1/keys`, and the answer to every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeysView {
    /// The mesh.
    pub mesh: String,
    /// The keys that are accepted, the one in use first; none: the mesh is open.
    pub keys: Vec<KeyView>,
    /// The file that they are kept in; missing if they last as long as the node.
    pub kept_in: Option<String>,
    /// Invitations that can still be used.
    pub invitations: usize,
    /// Connections refused since the start: of another mesh, or without a key.
    pub refused: u64,
    /// Connections dropped unheard since the start, since too many of their host had failed.
    pub ignored: u64,
}

impl View for KeysView {
    const SCHEMA: &'static str = "banyan.keys/v1";
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyView {
    /// Its fingerprint, eight hexadecimal digits.
    pub key: String,
    /// Whether it is the one in use.
    pub in_use: bool,
}

/// `POST /v1/invitations`: what the answer shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InviteView {
    /// What the invited node is given: `banyan run --join TOKEN`. A secret.
    pub token: String,
    /// For how long it is good, in seconds.
    pub expires_s: u64,
    /// How many nodes it admits.
    pub uses: u32,
}

impl View for InviteView {
    const SCHEMA: &'static str = "banyan.invitation/v1";
}

/// The body of `POST /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallRequest {
    /// The key to accept. A secret.
    pub key: String,
}

/// The body of `POST /v1/invitations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// For how long it is to be good, in seconds.
    pub expires_s: u64,
    /// How many nodes it is to admit.
    pub uses: u32,
}
