//! What a node says of how it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// `GET /livez`, `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Milliseconds that the main loop took to answer.
    pub turn_ms: f64,
    /// Whether others can dial the node.
    pub listening: bool,
    /// Other live peers known.
    pub peers: usize,
}

impl View for Health {
    const SCHEMA: &'static str = "banyan.health/v1";
}
