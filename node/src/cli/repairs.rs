//! `banyan repairs`: how this node found other parents.

use super::{
    exit::Outcome,
    render,
    show::items,
    watch::{Read, read_part},
};
use crate::views::repairs::Repairs;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    read: Read,
    /// Show the last so many [default: all that are remembered, at most 1000]
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan repairs
  banyan repairs --last 10
  banyan repairs --format jsonl | jq -c 'select(.data.gap_ms > 200).data'
COLUMNS:
  SILENT    for how long nothing had come from the old parent when it was noticed
  ATTACHED  from then to the open stream from the new parent
  PAUSE     from the last object before to the first after
  REPLAYED  objects that the new parent had waiting";

pub(crate) async fn repairs(args: Args) -> Outcome {
    let last = |repairs: &mut Repairs| {
        let first = repairs.repairs.len().saturating_sub(args.last.unwrap_or(usize::MAX));
        repairs.repairs.drain(..first);
    };
    let lines = |repairs: &Repairs| items("banyan.repair/v1", &repairs.repairs);
    read_part(&args.read, "/v1/repairs", last, render::repairs::repairs, lines).await
}
