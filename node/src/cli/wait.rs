//! `banyan wait`: until something is so.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    args::At,
    client::Client,
    exit::{Exit, Failure, Outcome},
    library::percent_encode,
};
use crate::{
    api::{query, wait::parse_condition},
    views::checkup::Waited,
};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node listens; so many other live peers are known; a track is published, and fed here if it is followed here
    #[arg(value_name = "ready|peers=N|track=T", value_parser = check)]
    condition: String,
    /// Give up after so many seconds [default: wait for ever]
    #[arg(long, value_name = "S", value_parser = query::parse_timeout)]
    timeout: Option<Duration>,
    #[command(flatten)]
    at: At,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan wait ready && echo it runs
  banyan wait peers=3 --timeout 30
  banyan wait track=cam/front --timeout 10 && banyan subscribe cam/front | ffplay -

EXIT CODES:
  0 it is so, 6 it was not so in time";

/// How long one question waits at the node.
const ROUND: Duration = Duration::from_secs(20);

/// Between two tries to reach a node that is not there yet.
const AGAIN: Duration = Duration::from_millis(50);

fn check(text: &str) -> Result<String, String> {
    parse_condition(text).map(|_| text.to_owned())
}

pub(crate) async fn wait(args: Args) -> Outcome {
    let client = Client::new(args.at.path())?;
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map_or(ROUND, |at| at.saturating_duration_since(Instant::now()).min(ROUND));
        // A node that was asked for no time at all still says what lacks.
        let timeout = left.as_secs_f64().max(0.001);
        let path = format!("/v1/wait/{}?timeout={timeout}", percent_encode(&args.condition));
        let over = deadline.is_some_and(|at| at <= Instant::now());
        match client.view::<Waited>(&path).await {
            Ok(waited) if waited.met => return Ok(()),
            Ok(waited) if deadline.is_some_and(|at| at <= Instant::now()) => {
                let missing = waited.missing.unwrap_or_else(|| format!("{} is not so", waited.condition));
                return Err(Failure::new(Exit::Timeout, missing, "wait longer, or ask why: banyan doctor"));
            }
            Ok(_) => {}
            Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
            Err(failure) if over => {
                return Err(Failure { exit: Exit::Timeout, ..failure });
            }
            Err(_) => sleep(AGAIN.min(left)).await,
        }
    }
}
