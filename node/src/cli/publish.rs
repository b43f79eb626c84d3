//! `banyan publish`: standard input → track.

use std::io::{self, IsTerminal};

use super::{
    args::Publish,
    client::Client,
    exit::{Failure, Outcome},
    pipe, render,
    signals::Signals,
};
use crate::relay::{Integrity, Mode};

/// Publishes standard input until it ends or a signal comes; both end the track.
pub(crate) async fn publish(args: Publish) -> Outcome {
    let client = Client::new(args.at.path())?;
    let mode = mode_name(args.mode);
    let Publish { track, framing, object_size, .. } = &args;
    let integrity = if args.integrity == Integrity::Signed { "signed" } else { "none" };
    let query = format!("framing={framing}&mode={mode}&integrity={integrity}&object_size={object_size}");
    let path = format!("/v1/tracks/{track}/publish?{query}");
    let mut signals = Signals::listen()?;
    let (mut input, failed) = pipe::stdin();
    let (chunks, queue) = tokio::sync::mpsc::channel(1);
    let mut publication = client.publish(path, queue);

    let forwarded = async {
        loop {
            let chunk = tokio::select! {
                chunk = input.recv() => chunk,
                () = signals.next() => None,
            };
            let Some(chunk) = chunk else { break };
            if chunks.send(chunk).await.is_err() {
                break;
            }
        }
    };
    let answered = tokio::select! {
        answer = publication.answer() => Some(answer),
        () = forwarded => None,
    };
    drop(chunks);
    let published = match answered {
        Some(answer) => answer?,
        None => tokio::select! {
            answer = publication.answer() => answer?,
            () = signals.next() => return Err(interrupted()),
        },
    };
    if let Ok(error) = { failed }.try_recv() {
        let hint = "the track was ended with what was read";
        return Err(Failure::internal(format!("cannot read standard input: {error}"), hint));
    }
    if io::stderr().is_terminal() {
        let amount = render::amount(published.bytes);
        eprintln!("published {} objects, {amount}, on {}", published.objects, published.track);
    }
    Ok(())
}

/// What a mode is called.
pub(crate) const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Live => "live",
        Mode::Reliable => "reliable",
    }
}

fn interrupted() -> Failure {
    Failure::internal("interrupted before the node had taken everything", "wait, or interrupt once only")
}
