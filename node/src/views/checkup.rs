//! Round trips to peers, waiting, and what `banyan doctor` finds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{View, peers::PeerName};

/// `GET /v1/peers/{peer}/ping`: one round trip from node to node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ping {
    /// The peer that answered.
    pub peer: PeerName,
    /// Milliseconds until there was a link; missing if there was one already.
    pub connect_ms: Option<f64>,
    /// Milliseconds from the question to the answer, both nodes' loops included.
    pub rtt_ms: f64,
    /// How far the peer's clock is ahead of this machine's, in milliseconds, give or take half the round trip.
    pub clock_ahead_ms: f64,
    /// Version of the peer's program.
    pub version: String,
}

impl View for Ping {
    const SCHEMA: &'static str = "banyan.ping/v1";
}

/// `GET /v1/wait/{condition}`: whether it came true in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    /// The condition.
    pub condition: String,
    /// Whether it is true.
    pub met: bool,
    /// What lacks, if it is not.
    pub missing: Option<String>,
}

impl View for Waited {
    const SCHEMA: &'static str = "banyan.waited/v1";
}

/// What was found, check by check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkup {
    /// The worst level of all findings.
    pub level: Level,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Checkup {
    /// The findings with the worst of their levels.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.level).max();
        Self { level: worst.unwrap_or(Level::Ok), findings }
    }
}

impl View for Checkup {
    const SCHEMA: &'static str = "banyan.checkup/v1";
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is as it should be.
    Ok,
    /// It could not be checked.
    Skipped,
    /// It works, but not well, or not for long.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What was looked at: `multicast`, `udp_buffers`, `mtu`, `open_files`, `node`, `peers`, `clock`,
    /// `version`, `reachable`, `mesh`, `identity`, `tracks` or `disk`.
    pub check: String,
    /// How it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do, where there is something to do.
    pub next: Option<String>,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn ok(check: &str, seen: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level: Level::Ok, seen: seen.into(), next: None }
    }

    /// Something to do.
    #[must_use]
    pub fn new(check: &str, level: Level, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check: check.to_owned(), level, seen: seen.into(), next: Some(next.into()) }
    }
}
