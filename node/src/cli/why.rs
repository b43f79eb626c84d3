//! `banyan why`: why a peer, or this node's place in a track, is as it is.

use super::{
    args::{Format, Show},
    exit::Outcome,
    library::percent_encode,
    render::{self, style::Style},
    show::{client, document, items, print},
};
use crate::views::{View, why::Why};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A track, or a peer by label, id, or the beginning or end of an id; peer:NAME or track:NAME if both are there
    #[arg(value_name = "PEER|TRACK")]
    what: String,
    #[command(flatten)]
    pub(crate) show: Show,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan why cam/front                            why this parent, who else could feed this node
  banyan why kitchen                              what is known of a peer, and why it is linked or not
  banyan why peer:cam
  banyan why cam/front --format json | jq '.data.candidates[] | select(.verdict == \"refused\")'
VERDICTS:
  parent, open (may be asked), doubtful (its own feed is), refused, unreachable, lost, unusable,
  unwilling, silent, full, too_deep, not_attached, other_publication, below (this node feeds it)";

pub(crate) async fn why(args: Args) -> Outcome {
    let why: Why = client(&args.show)?.view(&format!("/v1/why/{}", percent_encode(&args.what))).await?;
    match args.show.format {
        Format::Table => print(&render::why::why(Style::of_stdout(), &why)),
        Format::Json => print(&document(why)),
        Format::Jsonl => print(&items(Why::SCHEMA, &[why])),
    }
}
