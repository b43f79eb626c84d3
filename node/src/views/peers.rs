//! One peer, as other views name it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A peer by its id and by what people call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PeerName {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
}
