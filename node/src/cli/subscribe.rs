//! `banyan subscribe`: track → standard output.

use std::{fmt::Write as _, io};

use http_body_util::BodyExt;
use hyper::HeaderMap;

use super::{
    args::Subscribe,
    client::Client,
    exit::{Exit, Failure, Outcome},
    pipe::Stdout,
};
use crate::{
    From,
    api::subscribe::{END_TRAILER, MISSING_TRAILER},
};

/// Writes a track to standard output until it ends.
pub(crate) async fn subscribe(args: Subscribe) -> Outcome {
    let client = Client::new(args.at.path())?;
    let mut stream = client.stream(&path(&args)).await?;
    let stdout = Stdout::new();
    let mut trailers = None;
    while let Some(frame) = stream.body.frame().await {
        match frame.map_err(|error| client.lost(&error))?.into_data() {
            Ok(chunk) => {
                if !stdout.write(chunk).await {
                    break;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    match stdout.finish().await {
        Ok(()) => ended(&trailers.unwrap_or_default()),
        // Whoever read has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::internal(
            format!("cannot write to standard output: {error}"),
            "what was written is incomplete",
        )),
    }
}

fn path(args: &Subscribe) -> String {
    let from = match args.from {
        From::Latest => "latest".to_owned(),
        From::Oldest => "oldest".to_owned(),
        From::Id(id) => id.to_string(),
    };
    let mut path = format!("/v1/tracks/{}/subscribe?from={from}&framing={}", args.track, args.framing);
    if let Some(timeout) = args.timeout {
        write!(path, "&timeout={}", timeout.as_secs_f64()).expect("a string takes everything");
    }
    path
}

/// How many objects were missing, as the trailers say.
pub(super) fn missing(trailers: &HeaderMap) -> u64 {
    trailers.get(MISSING_TRAILER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or_default()
}

/// What the trailers say about how a subscription ended.
pub(super) fn ended(trailers: &HeaderMap) -> Outcome {
    let missing = missing(trailers);
    let end = trailers.get(END_TRAILER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let and_missing = if missing > 0 { format!("; {missing} objects are missing") } else { String::new() };
    let partial = |message: &str, hint: &str| Err(Failure::new(Exit::Partial, format!("{message}{and_missing}"), hint));
    match end {
        "complete" if missing == 0 => Ok(()),
        "complete" => {
            let message = format!("{missing} objects are missing");
            Err(Failure::new(Exit::Partial, message, "read faster, or publish with --mode reliable"))
        }
        "origin-lost" => partial("the origin of the track vanished before its end", "subscribe again when it is back"),
        "too-slow" => partial("this subscriber held up a reliable track and was cut off", "read faster"),
        "shutdown" => partial("the node shut down before the track ended", "start it again with `banyan run`"),
        "timeout" if missing > 0 => partial("no object came in time", "wait longer with --timeout"),
        "timeout" => {
            let hint = "is the track being published? see `banyan tracks`";
            Err(Failure::new(Exit::Timeout, "no object came in time", hint))
        }
        _ => Err(Failure::internal(
            "the node did not say how the track ended",
            "use the same version of banyan for both",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(end: &'static str, missing: u64) -> u8 {
        let end = (END_TRAILER, hyper::header::HeaderValue::from_static(end));
        let trailers = HeaderMap::from_iter([end, (MISSING_TRAILER, missing.into())]);
        ended(&trailers).map_or_else(|failure| failure.exit as u8, |()| 0)
    }

    #[test]
    fn exit_code_tells_how_the_track_ended() {
        assert_eq!(exit("complete", 0), 0);
        assert_eq!(exit("complete", 3), 9);
        assert_eq!(exit("origin-lost", 0), 9);
        assert_eq!(exit("too-slow", 0), 9);
        assert_eq!(exit("shutdown", 0), 9);
        assert_eq!(exit("timeout", 0), 6);
        assert_eq!(exit("timeout", 1), 9);
        assert_eq!(ended(&HeaderMap::new()).map_err(|failure| failure.exit as u8), Err(1));
    }
}
