//! What a node shows of its library.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::View;

/// `GET /v1/library`: what the whole mesh offers, as far as this node has heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LibraryView {
    /// The folders that this node shares.
    pub roots: Vec<RootView>,
    /// By name.
    pub titles: Vec<TitleView>,
}

impl View for LibraryView {
    const SCHEMA: &'static str = "banyan.library/v1";
}

/// A folder whose sub-folders are packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RootView {
    /// Where it is.
    pub path: String,
    /// Packages in it that are complete.
    pub packages: usize,
    /// Whether it is being read.
    pub scanning: bool,
    /// What is wrong with it or with packages in it.
    pub problems: Vec<String>,
}

/// A title, whoever has it; counted once (D3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TitleView {
    /// Its name.
    pub name: String,
    /// Other peers that have any version of it.
    pub peers: usize,
    /// Its versions, the newest first.
    pub versions: Vec<VersionView>,
}

impl View for TitleView {
    const SCHEMA: &'static str = "banyan.title/v1";
}

/// One version of a title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// What its sentinel says.
    pub version: String,
    /// The package's id: 64 hexadecimal digits.
    pub package: String,
    /// Size.
    pub bytes: u64,
    /// Files.
    pub files: u32,
    /// Other peers that have all of it.
    pub peers: Vec<String>,
    /// Other peers that have a part of it.
    pub partial: Vec<String>,
    /// The state here: `fetching`, `complete` or `installed`; missing if it is not here.
    pub here: Option<String>,
}

/// `GET /v1/library/packages/{package}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PackageView {
    /// Its title's name.
    pub name: String,
    /// Itself.
    #[serde(flatten)]
    pub version: VersionView,
    /// Its folder here.
    pub path: Option<String>,
}

impl View for PackageView {
    const SCHEMA: &'static str = "banyan.package/v1";
}

/// `GET /v1/library/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobsView {
    /// Running ones and the last that ended, the newest first.
    pub jobs: Vec<JobView>,
}

impl View for JobsView {
    const SCHEMA: &'static str = "banyan.jobs/v1";
}

/// `GET /v1/library/jobs/{id}`, and the answer to every request that starts one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// Its number on this node.
    pub id: u64,
    /// `get`, `install`, `update`, `uninstall`, `remove`, `verify` or `push`.
    pub kind: String,
    /// The title's name.
    pub name: String,
    /// What the package's sentinel says.
    pub version: Option<String>,
    /// The package's id.
    pub package: Option<String>,
    /// `running`, `waiting` (for a source, or for room on the disk), `done`, `failed` or `cancelled`.
    pub state: String,
    /// What it is at: `manifest`, `fetching`, `committing`, `unpacking`, `removing`, `checking`,
    /// `pushing`, or `holding` what was pushed here until others have it, too.
    pub phase: String,
    /// Bytes done, those before a resumption included.
    pub bytes: u64,
    /// Bytes in all; 0 while unknown.
    pub bytes_total: u64,
    /// Bytes that came twice.
    #[serde(default)]
    pub duplicate_bytes: u64,
    /// Bytes per second at present.
    pub rate: f64,
    /// Seconds to go at this rate.
    pub eta_s: Option<f64>,
    /// Seconds since it began, or for which it ran.
    pub took_s: f64,
    /// Why it failed.
    pub error: Option<super::ErrorView>,
    /// Whom it fetches from; of a push, whom it pushes to.
    pub sources: Vec<SourceView>,
}

impl View for JobView {
    const SCHEMA: &'static str = "banyan.job/v1";
}

/// A peer that a job fetches from or pushes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// Its id.
    pub peer_id: String,
    /// What a person calls it.
    pub label: Option<String>,
    /// Bytes that came from it and were kept; of a push, that it has.
    pub bytes: u64,
    /// Bytes per second at present.
    pub rate: f64,
    /// `idle`, `sending`, `stalled`, `busy`, `lost`, or `quarantined: ` and why. Of a push: `asked`,
    /// `fetching`, `ready`, `done`, `lost`, or `refused: `, `failed: ` and why.
    pub state: String,
}

/// `GET /v1/library/jobs/{id}/explain`: why a job is not faster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainView {
    /// The job.
    pub id: u64,
    /// `disk`, `window`, `no_source`, `peers_busy`, `peers_slow`, `paused` or `done`.
    pub why: String,
    /// The same in a sentence.
    pub text: String,
    /// What to do about it, if anything can be done.
    pub hint: Option<String>,
}

impl View for ExplainView {
    const SCHEMA: &'static str = "banyan.explanation/v1";
}

/// The body of `POST /v1/library/{get|install|update|uninstall|remove|verify|push}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// `NAME`, `NAME@VERSION`, or the first eight or more digits of a package's id; for `update` a name.
    pub package: String,
    /// For `get`: whether to install the package, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<bool>,
    /// For `push`: `all`, `label=GLOB`, or the id of a peer; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For `push`: whether the targets install the package, but none before so many percent of them have all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activate_when: Option<u8>,
}

/// The body of `POST` and `DELETE /v1/library/roots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RootRequest {
    /// The folder, from `/` on.
    pub path: PathBuf,
}
