//! `banyan status`, `peers`, `tracks`, `tree`, `events`: what a node shows.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    args::{self, Format, Show, Tree, TreeFormat},
    client::Client,
    exit::{Failure, Outcome},
    render::{self, graph, style::Style},
    sse::Events,
    watch::{Read, read},
};
use crate::views::{Envelope, OffloadView, Peers, Status, Tracks, TreeView, View};

pub(crate) async fn status(args: Read) -> Outcome {
    let lines = |status: &Status| items(Status::SCHEMA, std::slice::from_ref(status));
    read(&args, "/v1/status", render::views::status, lines).await
}

pub(crate) async fn peers(args: Read) -> Outcome {
    let lines = |peers: &Peers| items("banyan.peer/v1", &peers.peers);
    read(&args, "/v1/peers", render::views::peers, lines).await
}

pub(crate) async fn tracks(args: Read) -> Outcome {
    let lines = |tracks: &Tracks| items("banyan.track/v1", &tracks.tracks);
    read(&args, "/v1/tracks", render::views::tracks, lines).await
}

pub(crate) async fn tree(args: Tree) -> Outcome {
    let Tree { track, offload, at, format, watch } = args;
    let path = format!("/v1/tracks/{track}/{}", if offload { "offload" } else { "tree" });
    let Some(plain) = format.plain() else {
        if offload || watch {
            let hint = "leave out --offload and --watch";
            return Err(Failure::usage("a graph shows who feeds whom at one moment", hint));
        }
        let tree: TreeView = Client::new(at.path())?.view(&path).await?;
        return print(&if format == TreeFormat::Dot { graph::dot(&tree) } else { graph::mermaid(&tree) });
    };
    let args = Read { show: Show { at, format: plain }, watch };
    if offload {
        let lines = |offload: &OffloadView| items("banyan.offload_peer/v1", &offload.peers);
        return read(&args, &path, render::offload::offload, lines).await;
    }
    read(&args, &path, render::tree::tree, |tree: &TreeView| items("banyan.tree_node/v1", &tree.nodes)).await
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
