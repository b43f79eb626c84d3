//! The arguments, parsed once into what they mean.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use banyan_gossip::{Label, MeshName, TrackName};
use banyan_tree::Rule;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    bench, config, control, debug, demo, doctor, key, library, peers, program, repairs, top, wait, watch::Read, why,
};
use crate::{
    From, Since,
    admission::{MeshKey, Token},
    api::{
        framing::{Framing, OBJECT_BYTES_DEFAULT},
        query, socket,
    },
    library::push::Accept,
    relay::{Integrity, Mode},
};

/// One source, many machines: nodes that find each other and relay live streams.
#[derive(Debug, Parser)]
#[command(name = "banyan", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node of this machine until Ctrl-C.
    Run(Box<Run>),
    /// Publish standard input as a track; the track ends with it.
    Publish(Publish),
    /// Write a track to standard output.
    Subscribe(Subscribe),
    /// Show this node at a glance.
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Read),
    /// Show who is in the mesh.
    Peers(peers::Peers),
    /// Show what is published and followed.
    #[command(after_help = TRACKS_EXAMPLES)]
    Tracks(Read),
    /// Draw the relay tree of a track.
    Tree(Tree),
    /// Watch the mesh live: the tree, peers, tracks, rates, repairs.
    #[command(after_help = top::EXAMPLES)]
    Top(top::Args),
    /// Follow what happens: joins, losses, parent changes, repairs.
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(Events),
    /// Wait until the node is ready, peers are known, or a track is there.
    Wait(wait::Args),
    /// Look for what is wrong with this machine, its node and its mesh.
    Doctor(doctor::Args),
    /// Collect what helps to find out what is wrong.
    Debug(debug::Debug),
    /// Say why a peer, or this node's place in a track, is as it is.
    Why(why::Args),
    /// Show how this node found other parents: causes, detection, pauses.
    Repairs(repairs::Args),
    /// The mesh keys: who is admitted.
    Key(key::Key),
    /// Invite another machine into the mesh: print a token for `banyan run --join`.
    Invite(key::Invite),
    /// Tell every node of the mesh something.
    Event(control::EventArgs),
    /// Say things of this node that everybody sees.
    Tags(control::TagsArgs),
    /// Offer another number of slots.
    Capacity(control::CapacityArgs),
    /// Join by an address.
    Join(control::JoinArgs),
    /// Leave the mesh and end the node.
    Leave(control::LeaveArgs),
    /// Change what the node logs.
    Log(control::LogArgs),
    /// Settings: show them, check a file, write one.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Packages: what the mesh has, fetched from everyone who has it, and installed.
    Library(library::Library),
    /// See it work: real nodes on this machine, a stream, and kills.
    Demo(demo::Args),
    /// Measure how fast streams get through, on this machine or in a mesh that runs.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Write a completion script for a shell.
    Completions(program::CompletionsArgs),
    /// Write the manual pages.
    Man(program::ManArgs),
    /// Say which version this is.
    Version(program::VersionArgs),
}

/// Which node to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct At {
    /// The node's unix socket [default: that of the mesh]
    #[arg(long, value_name = "PATH", env = "BANYAN_SOCKET", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
    /// The mesh whose node on this machine is meant
    #[arg(long, value_name = "NAME", env = "BANYAN_MESH", hide_env_values = true, default_value = "default")]
    pub(crate) mesh: MeshName,
}

impl At {
    pub(crate) fn path(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| socket::default_path(&self.mesh))
    }
}

#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) at: At,
    /// A file with settings [default: ~/.config/banyan/MESH.toml, else /etc/banyan/MESH.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "BANYAN_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// What people call this node: A-Z a-z 0-9 _ -
    #[arg(long)]
    pub(crate) label: Option<Label>,
    /// What this node says of itself beyond that, may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = control::parse_tag)]
    pub(crate) tag: Vec<(String, String)>,
    /// Who may publish and who may follow a track, or all whose names begin so: "cam/*: publish=WHO subscribe=WHO", where
    /// WHO is all, none, or peer ids, tag:KEY and tag:KEY=VALUE with commas; may be repeated, the first that matches
    /// decides [default: everybody may]
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Vec<Rule>,
    /// Where identity and incarnation are kept [default: ~/.local/state/banyan/MESH]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address to listen on, may be repeated [default: any port of all interfaces, TCP and QUIC]
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// A node to join by: multiaddr or host:port, may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(crate) bootstrap: Vec<String>,
    /// The file of the mesh keys: only who has one of them is admitted [default: mesh.key in the data directory, if
    /// it is there; else the mesh is open]
    #[arg(long, value_name = "FILE", env = "BANYAN_KEY_FILE", conflicts_with = "key")]
    pub(crate) key_file: Option<PathBuf>,
    /// The mesh key itself; from the environment, since others can read a command line
    #[arg(long, hide = true, env = "BANYAN_KEY", hide_env_values = true)]
    pub(crate) key: Option<MeshKey>,
    /// Join the mesh of whoever ran `banyan invite`; needed once
    #[arg(long, value_name = "TOKEN", env = "BANYAN_JOIN", hide_env_values = true)]
    pub(crate) join: Option<Token>,
    /// Do not look for nodes by multicast DNS
    #[arg(long)]
    pub(crate) no_mdns: bool,
    /// How many children to feed at most, over all tracks; 0 never relays
    #[arg(long, value_name = "N")]
    pub(crate) capacity: Option<u16>,
    /// Whether to relay tracks that this node does not follow, for nodes that find no free slot
    #[arg(long, value_name = "POLICY", default_value = "when-asked")]
    pub(crate) relay: Relay,
    /// How many peers to feed directly on tracks published here [default: 30]
    #[arg(long, value_name = "N")]
    pub(crate) root_slots: Option<u16>,
    /// Deepest level of a tree [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) max_depth: Option<u8>,
    /// Links to random peers beside those that trees need [default: 6]
    #[arg(long, value_name = "N")]
    pub(crate) max_links: Option<u16>,
    /// A folder to share, whose sub-folders are packages; may be repeated. The first takes what is fetched
    #[arg(long, value_name = "DIR")]
    pub(crate) library: Vec<PathBuf>,
    /// Offer others only this package, by name or id; may be repeated [default: all that is shared]
    #[arg(long, value_name = "PACKAGE", requires = "library")]
    pub(crate) library_allow: Vec<String>,
    /// From whom packages are taken that others push: all, none, or the id of a peer; may be repeated [default: none]
    #[arg(long, value_name = "PEER", requires = "library")]
    pub(crate) library_accept: Vec<Accept>,
    /// Show a page for browsers, metrics and the API to read on this TCP address: 127.0.0.1:PORT
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) http: Option<SocketAddr>,
    /// What to log: error, warn, info, debug, trace, or target=level,… [default: info of banyan, else warn]
    #[arg(long, value_name = "FILTER", env = "BANYAN_LOG", hide_env_values = true)]
    pub(crate) log: Option<String>,
    /// How to log, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Leave the mesh when standard input ends
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

#[derive(Debug, Args)]
#[command(after_help = PUBLISH_EXAMPLES)]
pub(crate) struct Publish {
    /// The track: A-Z a-z 0-9 . _ / -
    pub(crate) track: TrackName,
    #[command(flatten)]
    pub(crate) at: At,
    /// What is an object: what was read at once, a line, or what a 4-byte big-endian length says
    #[arg(long, value_name = "bytes|lines|length", default_value = "bytes")]
    pub(crate) framing: Framing,
    /// What happens to subscribers that cannot keep up: they skip, or the publisher waits
    #[arg(long, value_name = "live|reliable", default_value = "live", value_parser = query::parse_mode)]
    pub(crate) mode: Mode,
    /// Whether the objects are signed, so that no relay can change them unnoticed
    #[arg(long, value_name = "signed|none", default_value = "none", value_parser = query::parse_integrity)]
    pub(crate) integrity: Integrity,
    /// Largest object of bytes framing, in bytes
    #[arg(long, value_name = "N", default_value_t = OBJECT_BYTES_DEFAULT, value_parser = query::parse_object_size)]
    pub(crate) object_size: usize,
}

#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_EXAMPLES)]
pub(crate) struct Subscribe {
    /// The track, which need not be published yet
    pub(crate) track: TrackName,
    #[command(flatten)]
    pub(crate) at: At,
    /// Where to start: the next object, the oldest still held, or an object id
    #[arg(long, value_name = "latest|oldest|ID", default_value = "latest", value_parser = query::parse_from)]
    pub(crate) from: From,
    /// How to write objects: payloads, lines, or 8-byte id + 4-byte length + payload
    #[arg(long, value_name = "bytes|lines|length", default_value = "bytes")]
    pub(crate) framing: Framing,
    /// End when no object came for so many seconds [default: wait for ever]
    #[arg(long, value_name = "S", value_parser = query::parse_timeout)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) at: At,
    /// How to print
    #[arg(long, default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = TREE_EXAMPLES)]
pub(crate) struct Tree {
    /// The track
    pub(crate) track: TrackName,
    /// Show who forwards how much instead
    #[arg(long)]
    pub(crate) offload: bool,
    #[command(flatten)]
    pub(crate) at: At,
    /// How to print
    #[arg(long, default_value = "table")]
    pub(crate) format: TreeFormat,
    /// Look again every second: redraw on a terminal, else print what has changed
    #[arg(long)]
    pub(crate) watch: bool,
}

/// [`Format`], and graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TreeFormat {
    /// For people
    Table,
    /// One document
    Json,
    /// One item a line
    Jsonl,
    /// For Graphviz
    Dot,
    /// For Mermaid
    Mermaid,
}

impl TreeFormat {
    /// `None`: a graph.
    pub(crate) const fn plain(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Json => Some(Format::Json),
            Self::Jsonl => Some(Format::Jsonl),
            Self::Dot | Self::Mermaid => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) show: Show,
    /// Start in the past: after the event of this number, so long ago, or with all that are kept
    #[arg(long, value_name = "SEQ|30s|10m|2h|all", value_parser = query::parse_since)]
    pub(crate) since: Option<Since>,
    /// End with what has happened, instead of waiting for more
    #[arg(long, requires = "since")]
    pub(crate) no_follow: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One document
    Json,
    /// One item a line
    Jsonl,
}

/// [`banyan_gossip::RelayPolicy`] as the command line knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Relay {
    /// Only what it follows
    Never,
    /// If every slot among those who follow the track is taken
    WhenAsked,
    /// The same, and asked before nodes that say when-asked
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan demo                                     see it work
  banyan run                                      be a node of this LAN
  ffmpeg … -f mpegts - | banyan publish cam/1     publish, on one machine
  banyan subscribe cam/1 | ffplay -               subscribe, on any other
  banyan library                                  what the mesh has in its libraries

EXIT CODES:
  0 done, 1 internal error, 2 wrong usage, 3 not found, 4 no node answers, 5 denied, 6 timeout,
  7 conflict, 8 damaged data, 9 incomplete, 10 degraded";

const RUN_EXAMPLES: &str = "EXAMPLES:
  banyan run                                      find the other nodes of this LAN
  banyan run --label kitchen --capacity 4         feed at most four others
  banyan run --listen /ip4/0.0.0.0/tcp/4001       be reachable on a known port
  banyan run --bootstrap machine-a:4001           join where multicast does not pass
  banyan run --library ~/library                  share packages, and fetch others into that folder
  banyan run --rule 'cam/*: publish=tag:studio'   follow no others that publish cam/…; the same on all nodes
  banyan run --http 127.0.0.1:7070                show itself to a browser on this machine
  banyan run --mesh lab                           a second mesh on this machine
  banyan run --log debug --log-format json 2>log

SETTINGS:
  Every option may also be set in the environment (--max-links 8 as BANYAN_MAX_LINKS=8, lists with
  commas, rules with semicolons) or in a file (max-links = 8): see `banyan config init`. A flag comes before the environment,
  and that before the file. On SIGHUP the file is read again.";

const PUBLISH_EXAMPLES: &str = "EXAMPLES:
  banyan publish cam/front < video.ts
  tail -f app.log | banyan publish logs/app --framing lines
  banyan publish models/new --mode reliable < model.bin
  curl --unix-socket \"$XDG_RUNTIME_DIR/banyan/default.sock\" -T - http://banyan/v1/tracks/cam/front/publish";

const SUBSCRIBE_EXAMPLES: &str = "EXAMPLES:
  banyan subscribe cam/front > video.ts
  banyan subscribe logs/app --framing lines | grep error
  banyan subscribe cam/front --from oldest --timeout 5

EXIT CODES:
  0 the track ended and all was delivered, 6 no object came within --timeout,
  9 objects are missing, or the origin vanished";

const STATUS_EXAMPLES: &str = "EXAMPLES:
  banyan status
  banyan status --format json | jq .data.addresses
  banyan status --mesh lab";

pub(crate) const PEERS_EXAMPLES: &str = "EXAMPLES:
  banyan peers
  banyan peers show kitchen
  banyan peers --format jsonl | jq -r 'select(.data.state == \"alive\").data.peer_id'";

const TRACKS_EXAMPLES: &str = "EXAMPLES:
  banyan tracks
  banyan tracks --format json | jq -r '.data.tracks[].track'";

const TREE_EXAMPLES: &str = "EXAMPLES:
  banyan tree cam/front
  banyan tree cam/front --format dot | dot -Tsvg > tree.svg
  banyan tree cam/front --format json | jq '.data.nodes[] | select(.attached | not)'
  banyan tree cam/front --watch";

const EVENTS_EXAMPLES: &str = "EXAMPLES:
  banyan events
  banyan events --since 10m --no-follow
  banyan events --since 4711
  banyan events --format jsonl | jq -c 'select(.data.event == \"repaired\").data'";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn arguments_are_well_defined() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("EXAMPLES"), "{}", command.get_name());
        }
    }

    #[test]
    fn commands_are_understood() {
        let Ok(Command::Publish(publish)) = parsed("banyan publish cam/1 --framing lines --mode reliable") else {
            panic!("it is a publication");
        };
        assert_eq!((publish.framing, publish.mode, publish.object_size), (Framing::Lines, Mode::Reliable, 65536));
        let Ok(Command::Subscribe(subscribe)) = parsed("banyan subscribe cam/1 --from 7 --timeout 0.5") else {
            panic!("it is a subscription");
        };
        assert_eq!((subscribe.from, subscribe.timeout), (From::Id(7), Some(Duration::from_millis(500))));
        let Ok(Command::Run(run)) = parsed("banyan run --mesh lab --listen /ip4/1.2.3.4/tcp/1 --listen b --no-mdns")
        else {
            panic!("it is a run");
        };
        assert_eq!((run.at.mesh.as_str(), run.listen.len(), run.no_mdns), ("lab", 2, true));
    }

    #[test]
    fn nonsense_is_refused() {
        let lines = [
            "banyan publish a..b",
            "banyan publish a --framing words",
            "banyan publish a --object-size 0",
            "banyan publish a --mode fast",
            "banyan subscribe /a",
            "banyan subscribe a --from yesterday",
            "banyan subscribe a --timeout -1",
            "banyan run --label a/b",
            "banyan run --capacity 70000",
            "banyan run --max-depth 0",
            "banyan run --rule cam/*",
            "banyan status --format xml",
            "banyan status --mesh a/b",
            "banyan fly",
        ];
        for line in lines {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
