//! `banyan leave`, `capacity`, `tags`, `event`, `join`, `log`: what changes a node while it runs.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    args::Show,
    exit::Outcome,
    render::{short, style::Style, table::pairs},
    show::{client, shown},
};
use crate::views::{
    View,
    control::{Capacity, CapacityRequest, JoinRequest, Joined, Left, Log, Tags, TagsRequest, TellRequest, Told},
};

#[derive(Debug, Args)]
#[command(after_help = LEAVE_EXAMPLES)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
#[command(after_help = CAPACITY_EXAMPLES)]
pub(crate) struct CapacityArgs {
    /// How many children to feed at most, over all tracks; 0 never relays
    slots: u16,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
#[command(after_help = TAGS_EXAMPLES)]
pub(crate) struct TagsArgs {
    #[command(subcommand)]
    action: TagsAction,
}

#[derive(Debug, Subcommand)]
enum TagsAction {
    /// Say these things of the node, beside what it says already
    #[command(after_help = TAGS_EXAMPLES)]
    Set {
        /// KEY=VALUE
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_tag)]
        tags: Vec<(String, String)>,
        #[command(flatten)]
        show: Show,
    },
    /// No longer say these things
    #[command(after_help = TAGS_EXAMPLES)]
    Unset {
        /// KEY
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        #[command(flatten)]
        show: Show,
    },
}

#[derive(Debug, Args)]
#[command(after_help = EVENT_EXAMPLES)]
pub(crate) struct EventArgs {
    #[command(subcommand)]
    action: EventAction,
}

#[derive(Debug, Subcommand)]
enum EventAction {
    /// Tell every node of the mesh, each once
    #[command(after_help = EVENT_EXAMPLES)]
    Send {
        /// What kind of event it is: 1 to 64 bytes
        name: String,
        /// Anything more: at most 512 bytes
        #[arg(default_value = "", hide_default_value = true)]
        payload: String,
        #[command(flatten)]
        show: Show,
    },
}

#[derive(Debug, Args)]
#[command(after_help = JOIN_EXAMPLES)]
pub(crate) struct JoinArgs {
    /// Where a node of the mesh listens: host:port or a multiaddr
    #[arg(value_name = "ADDR")]
    address: String,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
#[command(after_help = LOG_EXAMPLES)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    action: LogAction,
}

#[derive(Debug, Subcommand)]
enum LogAction {
    /// Log by another filter until the node ends
    #[command(after_help = LOG_EXAMPLES)]
    Level {
        /// error, warn, info, debug, trace, or target=level,…
        filter: String,
        #[command(flatten)]
        show: Show,
    },
}

pub(crate) async fn leave(args: LeaveArgs) -> Outcome {
    send(&args.show, Method::POST, "/v1/leave", None::<&()>, |left: &Left| {
        format!("{} has left the mesh", short(&left.peer_id))
    })
    .await
}

pub(crate) async fn capacity(args: CapacityArgs) -> Outcome {
    let request = CapacityRequest { capacity: args.slots };
    send(&args.show, Method::PUT, "/v1/capacity", Some(&request), |capacity: &Capacity| {
        format!("{} of {} slots are free", capacity.slots_free, capacity.capacity)
    })
    .await
}

pub(crate) async fn tags(args: TagsArgs) -> Outcome {
    let (request, show) = match args.action {
        TagsAction::Set { tags, show } => (TagsRequest { set: tags.into_iter().collect(), unset: Vec::new() }, show),
        TagsAction::Unset { keys, show } => (TagsRequest { set: BTreeMap::new(), unset: keys }, show),
    };
    send(&show, Method::POST, "/v1/tags", Some(&request), |tags: &Tags| {
        let tags: Vec<_> = tags.tags.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        if tags.is_empty() { "no tags".to_owned() } else { pairs(Style::of_stdout(), &tags).trim_end().to_owned() }
    })
    .await
}

pub(crate) async fn event(args: EventArgs) -> Outcome {
    let EventAction::Send { name, payload, show } = args.action;
    let request = TellRequest { name, payload };
    send(&show, Method::POST, "/v1/events", Some(&request), |told: &Told| format!("told as {}", told.id)).await
}

pub(crate) async fn join(args: JoinArgs) -> Outcome {
    let request = JoinRequest { address: args.address };
    send(&args.show, Method::POST, "/v1/join", Some(&request), |joined: &Joined| {
        format!("joined by {}", joined.peer_id)
    })
    .await
}

pub(crate) async fn log(args: LogArgs) -> Outcome {
    let LogAction::Level { filter, show } = args.action;
    send(&show, Method::PUT, "/v1/log", Some(&Log { filter }), |log: &Log| format!("logs {}", log.filter)).await
}

/// Sends a request and prints the answer: as a sentence, or as JSON.
async fn send<T: View + DeserializeOwned>(
    show: &Show,
    method: Method,
    path: &str,
    document_sent: Option<&impl Serialize>,
    sentence: impl FnOnce(&T) -> String,
) -> Outcome {
    let answer: T = client(show)?.send(method, path, document_sent).await?;
    shown(show.format, answer, |_, answer| sentence(answer) + "\n")
}

/// `KEY=VALUE`.
pub(crate) fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is KEY=VALUE, as in site=berlin")?;
    let tags = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    crate::net::check_tags(&tags).map_err(|error| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

const LEAVE_EXAMPLES: &str = "EXAMPLES:
  banyan leave                                    hand the children over, say goodbye, end the node
  banyan leave --mesh lab";

const CAPACITY_EXAMPLES: &str = "EXAMPLES:
  banyan capacity 4                               feed at most four others until the node ends
  banyan capacity 0                               feed nobody; children look for other parents";

const TAGS_EXAMPLES: &str = "EXAMPLES:
  banyan tags set site=berlin rack=7              everybody sees them in `banyan peers --format json`
  banyan tags unset rack";

const EVENT_EXAMPLES: &str = "EXAMPLES:
  banyan event send deploy v2                     tell every node of the mesh
  banyan events --format jsonl | jq -r 'select(.data.event == \"user\").data.payload'";

const JOIN_EXAMPLES: &str = "EXAMPLES:
  banyan join machine-a:4001
  banyan join /ip4/10.0.0.7/udp/4001/quic-v1";

const LOG_EXAMPLES: &str = "EXAMPLES:
  banyan log level debug
  banyan log level warn,banyan_node::net=trace";
