//! What a node logs, on standard error.

use std::{
    env,
    io::{self, IsTerminal},
    sync::Arc,
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

use super::{
    args::LogFormat,
    exit::{Failure, Outcome},
};
use crate::{api::control::LogControl, logs};

/// What is logged unless told otherwise.
pub(super) const DEFAULT: &str = "warn,libp2p_kad=error,banyan_node=info,banyan_gossip=info,banyan_tree=info";

/// Starts to log. The filter may be changed later.
pub(super) fn start(filter: Option<&str>, format: LogFormat) -> Outcome<LogControl> {
    let filter = parse(filter.unwrap_or(DEFAULT))
        .map_err(|message| Failure::usage(message, "write --log debug or --log warn,banyan_node=debug"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt::layer().with_writer(logs::tee).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry.with(log).try_init(),
        LogFormat::Json => registry.with(log.json()).try_init(),
    };
    started.map_err(|error| Failure::internal(format!("cannot log: {error}"), "this is a bug; please report it"))?;
    Ok(Arc::new(move |filter| handle.reload(parse(filter)?).map_err(|error| error.to_string())))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    let shown = || filter.chars().take(160).collect::<String>();
    EnvFilter::builder().parse(filter).map_err(|error| format!("log filter {:?} is not valid: {error}", shown()))
}
