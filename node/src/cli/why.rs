//! `banyan why`: why a peer, or this node's place in a track, is as it is.

use super::{
    exit::Outcome,
    library::percent_encode,
    render,
    show::items,
    watch::{Read, read},
};
use crate::views::{View, why::Why};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A track, or a peer by label, id, or the beginning or end of an id; peer:NAME or track:NAME if both are there
    #[arg(value_name = "PEER|TRACK")]
    what: String,
    #[command(flatten)]
    read: Read,
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
    let lines = |why: &Why| items(Why::SCHEMA, std::slice::from_ref(why));
    read(&args.read, &format!("/v1/why/{}", percent_encode(&args.what)), render::why::why, lines).await
}
