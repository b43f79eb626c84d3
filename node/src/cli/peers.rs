//! `banyan peers`: who is in the mesh, one of them, and how far away they are.

use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::sleep;

use super::{
    args::{self, Format, Show},
    exit::Outcome,
    library::percent_encode,
    render::{self, style::Style},
    show::{self, client, items, print},
    watch::{Read, read, read_part},
};
use crate::views::{Peers as PeersView, View, checkup, why::PeerDetail};

#[derive(Debug, Args)]
#[command(after_help = args::PEERS_EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Peers {
    #[command(flatten)]
    read: Read,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure round trips to one peer, from node to node.
    Ping(Ping),
    /// Show how far away the linked peers are, or one that need not be linked.
    Rtt(Rtt),
    /// Show what is known of one peer: its state, its link, its part in each track.
    Show(One),
}

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct One {
    /// Its label, its id, or the beginning or end of its id
    peer: String,
    #[command(flatten)]
    read: Read,
}

#[derive(Debug, Args)]
#[command(after_help = PING_EXAMPLES)]
struct Ping {
    /// Its label, its id, or the beginning or end of its id
    peer: String,
    /// How many times, a second apart
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
#[command(after_help = RTT_EXAMPLES)]
struct Rtt {
    /// Its label, its id, or the beginning or end of its id [default: all that are linked]
    peer: Option<String>,
    #[command(flatten)]
    read: Read,
}

const PING_EXAMPLES: &str = "EXAMPLES:
  banyan peers ping kitchen
  banyan peers ping kitchen --count 1 --format json | jq .data.rtt_ms
EXIT CODES:
  0 every question was answered, 6 one was not";

const RTT_EXAMPLES: &str = "EXAMPLES:
  banyan peers rtt
  banyan peers rtt kitchen";

const SHOW_EXAMPLES: &str = "EXAMPLES:
  banyan peers show kitchen
  banyan peers show q3Zx81kL --format json | jq .data.link";

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn peers(args: Peers) -> Outcome {
    match args.command {
        None => show::peers(args.read).await,
        Some(Command::Show(one)) => detail(one).await,
        Some(Command::Ping(args)) => ping(args).await,
        Some(Command::Rtt(args)) => rtt(args).await,
    }
}

async fn detail(args: One) -> Outcome {
    let lines = |peer: &PeerDetail| items(PeerDetail::SCHEMA, std::slice::from_ref(peer));
    read(&args.read, &format!("/v1/peers/{}", percent_encode(&args.peer)), render::why::peer, lines).await
}

async fn ping(args: Ping) -> Outcome {
    let client = client(&args.show)?;
    let path = format!("/v1/peers/{}/ping", percent_encode(&args.peer));
    for nth in 0..args.count {
        if nth > 0 {
            sleep(PAUSE).await;
        }
        let ping: checkup::Ping = client.view(&path).await?;
        match args.show.format {
            Format::Table => print(&render::why::ping(Style::of_stdout(), &ping))?,
            Format::Json | Format::Jsonl => print(&items(checkup::Ping::SCHEMA, &[ping]))?,
        }
    }
    Ok(())
}

async fn rtt(args: Rtt) -> Outcome {
    if let Some(peer) = args.peer {
        return ping(Ping { peer, count: 1, show: args.read.show }).await;
    }
    let nearest = |peers: &mut PeersView| {
        peers.peers.retain(|peer| peer.linked);
        peers.peers.sort_by(|a, b| a.rtt_ms.unwrap_or(f64::MAX).total_cmp(&b.rtt_ms.unwrap_or(f64::MAX)));
    };
    let lines = |peers: &PeersView| items("banyan.peer/v1", &peers.peers);
    read_part(&args.read, "/v1/peers", nearest, render::views::peers, lines).await
}
