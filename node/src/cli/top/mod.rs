//! `banyan top`: the mesh live, in a terminal.
//!
//! [`App`] is a pure machine: keys, snapshots and events go in, [`draw`] shows what it holds. What is here
//! moves them: one task reads the node once a second and when it tells of a change, one follows its events,
//! one thread reads the keyboard.

mod app;
mod draw;
mod rates;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use ratatui::crossterm::event;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    args::At,
    client::Client,
    exit::{Exit, Failure, Outcome},
    render::style::Style,
    signals::Signals,
    sse::Events,
};
use app::{App, Flow, Input, Snapshot};

/// How often the node is read, and how soon after it tells of a change.
const EVERY: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(150);
/// How often the keyboard's thread looks whether it is still needed.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Inputs that wait to be shown; whoever brings more waits.
const INPUTS: usize = 256;

pub(super) const EXAMPLES: &str = "EXAMPLES:
  banyan top
  banyan top --track cam/front
  banyan top --mesh lab

KEYS:
  arrows or h j k l walk, tab goes to the next pane, enter folds or inspects, t chooses the track,
  ? explains the rest, q quits";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    at: At,
    /// The track whose tree is shown first [default: one that is live]
    #[arg(long, value_name = "TRACK")]
    track: Option<banyan_gossip::TrackName>,
}

/// Shows a node until it is told to quit.
pub(super) async fn top(args: Args) -> Outcome {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal", "use `banyan status`, `tree` or `events` in pipes"));
    }
    let client = Client::new(args.at.path())?;
    let track = args.track.map(|track| track.to_string());
    // Nothing is drawn before a node has answered.
    let first = read(&client, track.as_deref()).await?;
    let mut signals = Signals::listen()?;
    let (inputs, mut taken) = mpsc::channel(INPUTS);
    let (chosen, chosen_by_user) = watch::channel(track.clone());
    let (stirred, stirs) = mpsc::channel(1);
    let reading = tokio::spawn(read_on(client.clone(), chosen_by_user, stirs, inputs.clone()));
    let following = tokio::spawn(follow(client, stirred, inputs.clone()));

    let mut app = App::new(Style::of_stdout().colours, track);
    let mut flow = app.handle(Instant::now(), Input::Snapshot(Box::new(first)));
    let failed = |error: io::Error| Failure::new(Exit::Internal, format!("the terminal fails: {error}"), "try again");
    // Restores the terminal on a panic, too.
    let mut terminal = ratatui::try_init().map_err(failed)?;
    std::thread::spawn(move || read_keys(&inputs));
    let shown = loop {
        match flow {
            Flow::Quit => break Ok(()),
            Flow::Track => drop(chosen.send(app.track().map(str::to_owned))),
            Flow::Stay => {}
        }
        if let Err(error) = terminal.draw(|frame| draw::draw(&mut app, Instant::now(), frame)) {
            break Err(failed(error));
        }
        let input = tokio::select! {
            input = taken.recv() => input.unwrap_or(Input::Tick),
            () = signals.next() => break Ok(()),
            () = sleep(EVERY) => Input::Tick,
        };
        flow = app.handle(Instant::now(), input);
        // A burst is drawn once.
        while matches!(flow, Flow::Stay) {
            let Ok(input) = taken.try_recv() else { break };
            flow = app.handle(Instant::now(), input);
        }
    };
    ratatui::restore();
    reading.abort();
    following.abort();
    shown
}

/// Everything that is shown, read at once.
async fn read(client: &Client, track: Option<&str>) -> Outcome<Snapshot> {
    let (status, peers, tracks) =
        tokio::try_join!(client.view("/v1/status"), client.view("/v1/peers"), client.view("/v1/tracks"))?;
    let mut snapshot = Snapshot { status, peers, tracks, tree: None, offload: None };
    if let Some(track) = track {
        let (tree, offload) = (format!("/v1/tracks/{track}/tree"), format!("/v1/tracks/{track}/offload"));
        // A track that is gone has no tree; that is no failure.
        (snapshot.tree, snapshot.offload) = match tokio::try_join!(client.view(&tree), client.view(&offload)) {
            Ok((tree, offload)) => (Some(tree), Some(offload)),
            Err(failure) if failure.exit == Exit::NotFound => (None, None),
            Err(failure) => return Err(failure),
        };
    }
    Ok(snapshot)
}

async fn read_on(
    client: Client,
    mut chosen: watch::Receiver<Option<String>>,
    mut stirs: mpsc::Receiver<()>,
    inputs: mpsc::Sender<Input>,
) {
    loop {
        tokio::select! {
            changed = chosen.changed() => if changed.is_err() { return },
            stirred = timeout(EVERY, stirs.recv()) => if stirred.is_ok() { sleep(SOON).await },
        }
        let track = chosen.borrow_and_update().clone();
        let input = match read(&client, track.as_deref()).await {
            Ok(snapshot) => Input::Snapshot(Box::new(snapshot)),
            Err(failure) => Input::Trouble(failure.view.message),
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

async fn follow(client: Client, stirred: mpsc::Sender<()>, inputs: mpsc::Sender<Input>) {
    loop {
        if let Ok(mut events) = Events::open(&client).await {
            while let Ok(Some(event)) = events.next().await {
                if inputs.send(Input::Event(event)).await.is_err() {
                    return;
                }
                // Full: it is about to read anyway.
                let _ = stirred.try_send(());
            }
        }
        // The reader of snapshots says what is wrong.
        sleep(EVERY).await;
    }
}

fn read_keys(inputs: &mpsc::Sender<Input>) {
    while !inputs.is_closed() {
        let input = match event::poll(KEY_WAIT) {
            Ok(true) => match event::read() {
                Ok(event::Event::Key(key)) if key.is_press() => Input::Key(key),
                Ok(event::Event::Resize(..)) => Input::Tick,
                Ok(_) => continue,
                Err(_) => return,
            },
            Ok(false) => continue,
            Err(_) => return,
        };
        if inputs.blocking_send(input).is_err() {
            return;
        }
    }
}
