//! `GET /v1/log/lines`: what the node logged last.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// The last lines of the log, the oldest first; empty if the program that runs the node logs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLines {
    /// Without colours.
    pub lines: Vec<String>,
}

impl View for LogLines {
    const SCHEMA: &'static str = "banyan.log_lines/v1";
}
