//! `banyan status`, `peers`, `tracks`, `tree`, `events`: what a node shows.

use std::io::{self, Write};

use banyan_gossip::TrackName;
use serde::Serialize;

use super::{
    args::{self, Format, Show, Tree, TreeFormat},
    client::Client,
    exit::{Failure, Outcome},
    render::{self, graph, style::Style},
    sse::Events,
};
use crate::views::{Envelope, OffloadView, Peers, Status, Tracks, TreeView, View};

pub(crate) async fn status(args: Show) -> Outcome {
    let status: Status = client(&args)?.view("/v1/status").await?;
    let style = Style::of_stdout();
    match args.format {
        Format::Table => print(&render::views::status(style, &status)),
        Format::Json => print(&document(status)),
        Format::Jsonl => print(&items(Status::SCHEMA, &[status])),
    }
}

pub(crate) async fn peers(args: Show) -> Outcome {
    let peers: Peers = client(&args)?.view("/v1/peers").await?;
    match args.format {
        Format::Table => print(&render::views::peers(Style::of_stdout(), &peers)),
        Format::Json => print(&document(peers)),
        Format::Jsonl => print(&items("banyan.peer/v1", &peers.peers)),
    }
}

pub(crate) async fn tracks(args: Show) -> Outcome {
    let tracks: Tracks = client(&args)?.view("/v1/tracks").await?;
    match args.format {
        Format::Table => print(&render::views::tracks(Style::of_stdout(), &tracks)),
        Format::Json => print(&document(tracks)),
        Format::Jsonl => print(&items("banyan.track/v1", &tracks.tracks)),
    }
}

pub(crate) async fn tree(args: Tree) -> Outcome {
    let Tree { track, offload, at, format } = args;
    let Some(plain) = format.plain() else {
        if offload {
            return Err(Failure::usage("a graph shows who feeds whom, not how much", "leave out --offload"));
        }
        let tree: TreeView = Client::new(at.path())?.view(&format!("/v1/tracks/{track}/tree")).await?;
        return print(&if format == TreeFormat::Dot { graph::dot(&tree) } else { graph::mermaid(&tree) });
    };
    let show = Show { at, format: plain };
    if offload {
        return self::offload(&show, &track).await;
    }
    let tree: TreeView = client(&show)?.view(&format!("/v1/tracks/{track}/tree")).await?;
    match plain {
        Format::Table => print(&render::tree::tree(Style::of_stdout(), &tree)),
        Format::Json => print(&document(tree)),
        Format::Jsonl => print(&items("banyan.tree_node/v1", &tree.nodes)),
    }
}

async fn offload(show: &Show, track: &TrackName) -> Outcome {
    let offload: OffloadView = client(show)?.view(&format!("/v1/tracks/{track}/offload")).await?;
    match show.format {
        Format::Table => print(&render::offload::offload(Style::of_stdout(), &offload)),
        Format::Json => print(&document(offload)),
        Format::Jsonl => print(&items("banyan.offload_peer/v1", &offload.peers)),
    }
}

pub(crate) async fn events(args: args::Events) -> Outcome {
    let mut events = Events::open_since(&client(&args.show)?, args.since.unwrap_or_default(), !args.no_follow).await?;
    let style = Style::of_stdout();
    while let Some(event) = events.next().await? {
        match args.show.format {
            Format::Table => {
                let line = render::events::event(&event);
                print(&format!("{}\n", style.line(&[(render::style::Paint::Plain, line)])))?;
            }
            Format::Json | Format::Jsonl => print(&(json(&event.enveloped()) + "\n"))?,
        }
    }
    Ok(())
}

/// Prints one view.
pub(super) fn shown<T: View>(format: Format, view: T, table: impl FnOnce(Style, &T) -> String) -> Outcome {
    match format {
        Format::Table => print(&table(Style::of_stdout(), &view)),
        Format::Json => print(&document(view)),
        Format::Jsonl => print(&items(T::SCHEMA, &[view])),
    }
}

pub(super) fn client(args: &Show) -> Outcome<Client> {
    Client::new(args.at.path())
}

pub(crate) fn document(view: impl View) -> String {
    serde_json::to_string_pretty(&view.enveloped()).expect("views have text keys and finite numbers") + "\n"
}

pub(crate) fn items<T: Serialize>(schema: &str, items: &[T]) -> String {
    items.iter().map(|data| json(&Envelope { schema: schema.to_owned(), data }) + "\n").collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("views have text keys and finite numbers")
}

/// Prints text; ends the program quietly when nobody reads it any more.
pub(crate) fn print(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            let message = format!("cannot write to standard output: {error}");
            Err(Failure::internal(message, "what was written is incomplete"))
        }
    }
}
