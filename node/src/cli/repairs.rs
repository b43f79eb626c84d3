//! `banyan repairs`: how this node found other parents.

use super::{
    args::{Format, Show},
    exit::Outcome,
    render::{self, style::Style},
    show::{client, document, items, print},
};
use crate::views::repairs::Repairs;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) show: Show,
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
    let mut repairs: Repairs = client(&args.show)?.view("/v1/repairs").await?;
    if let Some(last) = args.last {
        repairs.repairs.drain(..repairs.repairs.len().saturating_sub(last));
    }
    match args.show.format {
        Format::Table => print(&render::repairs::repairs(Style::of_stdout(), &repairs)),
        Format::Json => print(&document(repairs)),
        Format::Jsonl => print(&items("banyan.repair/v1", &repairs.repairs)),
    }
}
