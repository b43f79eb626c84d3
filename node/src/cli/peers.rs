//! `banyan peers`: who is in the mesh, one of them, and how far away they are.

use clap::{Args, Subcommand};

use super::{
    args::{self, Format, Show},
    exit::Outcome,
    library::percent_encode,
    render::{self, style::Style},
    show::{self, client, document, items, print},
};
use crate::views::{View, why::PeerDetail};

#[derive(Debug, Args)]
#[command(after_help = args::PEERS_EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Peers {
    #[command(flatten)]
    show: Show,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is known of one peer: its state, its link, its part in each track.
    Show(One),
}

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct One {
    /// Its label, its id, or the beginning or end of its id
    peer: String,
    #[command(flatten)]
    show: Show,
}

const SHOW_EXAMPLES: &str = "EXAMPLES:
  banyan peers show kitchen
  banyan peers show q3Zx81kL --format json | jq .data.link";

pub(crate) async fn peers(args: Peers) -> Outcome {
    match args.command {
        None => show::peers(args.show).await,
        Some(Command::Show(one)) => detail(one).await,
    }
}

async fn detail(args: One) -> Outcome {
    let peer: PeerDetail = client(&args.show)?.view(&format!("/v1/peers/{}", percent_encode(&args.peer))).await?;
    match args.show.format {
        Format::Table => print(&render::why::peer(Style::of_stdout(), &peer)),
        Format::Json => print(&document(peer)),
        Format::Jsonl => print(&items(PeerDetail::SCHEMA, &[peer])),
    }
}
