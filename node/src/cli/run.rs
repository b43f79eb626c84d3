//! `banyan run`: the node of this machine.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::{Arc, RwLock},
    time::Duration,
};

use banyan_gossip::{MeshName, RelayPolicy};
use banyan_tree::Rules;
use tokio::{
    signal::unix::SignalKind,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    args::{Relay, Run},
    config,
    exit::{Exit, Failure, Outcome},
    key, log,
    notify::Supervisor,
    reload::Reload,
    signals::Signals,
};
use crate::{
    Builder, Node,
    admission::Token,
    api::{
        self,
        control::Controls,
        http::Http,
        socket::{self, Socket},
    },
    library::{catalog::AllowList, push::Accept},
    views::Status,
};

/// How long the banner waits for the first listener address.
const ADDRESSES: Duration = Duration::from_secs(1);

/// Runs a node until a signal comes or somebody asks it to leave; a second signal ends the program at once.
pub(crate) async fn run() -> Outcome {
    let words: Vec<OsString> = env::args_os().collect();
    let (mut args, config) = config::load(&words)?;
    let log = log::start(args.log.as_deref(), args.log_format)?;
    let mut signals = Signals::listen()?;
    if let Some(token) = args.join.take() {
        take_up(&token, &mut args).await?;
    }
    let socket = Socket::bind(&args.at.path())?;
    let socket_path = socket.path().to_owned();
    let supervisor = Arc::new(Supervisor::from_environment());
    let http = match args.http {
        Some(address) => Some(Http::bind(address).await?),
        None => None,
    };
    let page = http.as_ref().map(Http::address);
    let node = builder(&args, &supervisor)?.start().await?;
    let stop = CancellationToken::new();
    let config = Arc::new(RwLock::new(config));
    let controls = Controls { log: Some(Arc::clone(&log)), config: Some(Arc::clone(&config)) };
    let server = tokio::spawn(api::serve_with(node.clone(), socket, controls, stop.clone().cancelled_owned()));
    let http = http.map(|http| tokio::spawn(api::serve_http(node.clone(), http, stop.clone().cancelled_owned())));
    let orphaned = CancellationToken::new();
    if args.exit_with_stdin {
        watch_stdin(orphaned.clone());
    }
    supervisor.tell("READY=1");

    let reload = Reload { words, node: node.clone(), log, config };
    tokio::select! {
        () = async {
            greet(&node, &args, &socket_path, page).await;
            std::future::pending().await
        } => {}
        () = until_told(&mut signals, &reload) => {}
        () = orphaned.cancelled() => {}
        () = node.closed() => {}
    }

    supervisor.tell("STOPPING=1");
    tracing::info!("leaving the mesh; once more to leave at once");
    tokio::select! {
        () = async {
            node.shutdown().await;
            stop.cancel();
            let _ = server.await;
            if let Some(http) = http {
                let _ = http.await;
            }
        } => Ok(()),
        // The socket file stays behind; the next node replaces it.
        () = signals.next() => process::exit(Exit::Internal as i32),
    }
}

/// Takes up an invitation, which also says which mesh is meant.
async fn take_up(token: &Token, args: &mut Run) -> Outcome {
    if args.at.mesh != token.mesh && args.at.mesh.as_str() != "default" {
        let message = format!("the invitation is to mesh {}, not to {}", token.mesh, args.at.mesh);
        return Err(Failure::usage(message, "leave --mesh out"));
    }
    args.at.mesh = token.mesh.clone();
    key::join(token, &data_dir(args)?).await
}

/// Until a signal says that the node is to leave; meanwhile SIGHUP has the settings read again. When the
/// terminal is gone that the node was started on, SIGHUP says so and means to leave.
async fn until_told(signals: &mut Signals, reload: &Reload) {
    let terminal = io::stderr().is_terminal();
    while signals.next_kind().await == SignalKind::hangup() && terminal == io::stderr().is_terminal() {
        reload.reload().await;
    }
}

fn builder(args: &Run, supervisor: &Arc<Supervisor>) -> Outcome<Builder> {
    let relay = match args.relay {
        Relay::Never => RelayPolicy::Never,
        Relay::WhenAsked => RelayPolicy::WhenAsked,
        Relay::Always => RelayPolicy::Always,
    };
    let mut builder =
        Node::builder().mesh(args.at.mesh.clone()).data_dir(data_dir(args)?).mdns(!args.no_mdns).relay(relay);
    builder = builder.tags(args.tag.iter().cloned().collect()).rules(rules(args)?);
    if let Some(interval) = supervisor.watchdog() {
        let supervisor = Arc::clone(supervisor);
        builder = builder.heartbeat(interval, move || supervisor.tell("WATCHDOG=1"));
    }
    if let Some(label) = &args.label {
        builder = builder.label(label.clone());
    }
    builder = args.listen.iter().fold(builder, |builder, address| builder.listen(address));
    builder = args.library.iter().fold(builder, |builder, path| builder.library(path));
    builder = builder.library_allow(allow_list(&args.library_allow));
    builder = builder.library_accept(args.library_accept.iter().cloned().fold(Accept::None, Accept::and));
    builder = args.bootstrap.iter().fold(builder, |builder, address| builder.bootstrap(address));
    if let Some(path) = &args.key_file {
        builder = builder.key_file(path);
    }
    if let Some(key) = &args.key {
        builder = builder.key(key.clone());
    }
    if let Some(capacity) = args.capacity {
        builder = builder.capacity(capacity);
    }
    if let Some(slots) = args.root_slots {
        builder = builder.root_slots(slots);
    }
    if let Some(levels) = args.max_depth {
        builder = builder.max_depth(levels);
    }
    if let Some(links) = args.max_links {
        builder = builder.max_links(links);
    }
    Ok(builder)
}

/// The rules of the arguments.
pub(super) fn rules(args: &Run) -> Outcome<Rules> {
    Rules::new(args.rule.clone())
        .map_err(|error| Failure::usage(error.to_string(), "a * at the end stands for many tracks"))
}

fn data_dir(args: &Run) -> Outcome<PathBuf> {
    match &args.data_dir {
        Some(path) => Ok(path.clone()),
        None => default_data_dir(&args.at.mesh, env::var_os("XDG_STATE_HOME").map(PathBuf::from), env::home_dir()),
    }
}

/// Everything, unless something is named.
fn allow_list(packages: &[String]) -> AllowList {
    let mut allow = AllowList::default();
    for package in packages {
        match package.parse() {
            Ok(id) => allow.packages.insert(id),
            Err(_) => allow.names.insert(package.clone()),
        };
    }
    allow
}

/// `$XDG_STATE_HOME/banyan/<mesh>`, else `~/.local/state/banyan/<mesh>`.
fn default_data_dir(mesh: &MeshName, state: Option<PathBuf>, home: Option<PathBuf>) -> Outcome<PathBuf> {
    let state = state
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|path| path.is_absolute()).map(|home| home.join(".local/state")))
        .ok_or_else(|| Failure::usage("there is no home directory for the identity", "name a --data-dir"))?;
    Ok(state.join("banyan").join(mesh.as_str()))
}

/// Tells when standard input ends, that is, when whoever started this node is gone.
fn watch_stdin(ended: CancellationToken) {
    tokio::task::spawn_blocking(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0; 256];
        while matches!(stdin.read(&mut buffer), Ok(length) if length > 0) {}
        ended.cancel();
    });
}

/// Says on standard output who this node is and what to try.
async fn greet(node: &Node, args: &Run, socket: &Path, page: Option<SocketAddr>) {
    let deadline = Instant::now() + ADDRESSES;
    let status = loop {
        let Ok(status) = node.status().await else { return };
        if !status.addresses.is_empty() || Instant::now() >= deadline {
            break status;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let default = socket == socket::default_path(&args.at.mesh) && args.at.mesh.as_str() == "default";
    // Nobody reads it when standard output is gone; the node runs all the same.
    let _ = io::stdout().write_all(banner(&status, socket, page, default).as_bytes());
}

fn banner(status: &Status, socket: &Path, page: Option<SocketAddr>, default: bool) -> String {
    let at = if default { String::new() } else { format!(" --socket {}", socket.display()) };
    let label = status.label.as_ref().map(|label| format!(" as {label}")).unwrap_or_default();
    let mut addresses = status.addresses.join("\n           ");
    if addresses.is_empty() {
        addresses.push_str("nowhere yet");
    }
    let page = page.map(|address| format!("page       http://{address}/\n")).unwrap_or_default();
    format!(
        "banyan {}, in mesh {}{label}\n\
         peer       {}\n\
         listens on {addresses}\n\
         socket     {}\n\
         {page}\n\
         try, here and on another machine:\n  \
           while date; do sleep 1; done | banyan publish demo/clock --framing lines{at}\n  \
           banyan subscribe demo/clock --framing lines{at}\n  \
           banyan tree demo/clock{at}\n\n",
        status.version,
        status.mesh,
        status.peer_id,
        socket.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_directory_follows_the_state_directory_or_home() {
        let mesh = MeshName::new("lab").expect("it is a name");
        let at = |state: Option<&str>, home: Option<&str>| {
            default_data_dir(&mesh, state.map(PathBuf::from), home.map(PathBuf::from)).ok()
        };
        assert_eq!(at(Some("/s"), Some("/h")), Some("/s/banyan/lab".into()));
        assert_eq!(at(Some("s"), Some("/h")), Some("/h/.local/state/banyan/lab".into()));
        assert_eq!(at(None, Some("/h")), Some("/h/.local/state/banyan/lab".into()));
        assert_eq!(at(None, None), None);
    }

    #[test]
    fn packages_are_offered_by_name_or_id_d3() {
        assert_eq!(allow_list(&[]), AllowList::default());
        let id = "0f".repeat(32);
        let allow = allow_list(&["two words".to_owned(), id.clone()]);
        assert_eq!(allow.names.into_iter().collect::<Vec<_>>(), ["two words"]);
        assert_eq!(allow.packages.into_iter().map(|id| id.to_string()).collect::<Vec<_>>(), [id]);
    }

    #[test]
    fn banner_names_the_socket_where_it_is_not_the_usual_one() {
        let status = Status {
            peer_id: "12D3KooWx".to_owned(),
            label: Some("h1".to_owned()),
            tags: Default::default(),
            mesh: "lab".to_owned(),
            version: "1.2.3".to_owned(),
            addresses: vec!["/ip4/10.0.0.1/tcp/1".to_owned(), "/ip4/10.0.0.1/tcp/2".to_owned()],
            incarnation: 1,
            capacity: 8,
            slots_free: 8,
            relay: "when-asked".to_owned(),
            links: 0,
            peers: 0,
            tracks: Vec::new(),
            uptime_s: 0,
        };
        let text = banner(&status, Path::new("/x.sock"), None, false);
        assert!(text.contains("banyan tree demo/clock --socket /x.sock\n"), "{text}");
        assert!(text.starts_with("banyan 1.2.3, in mesh lab as h1\npeer       12D3KooWx\n"), "{text}");
        assert!(!banner(&status, Path::new("/x.sock"), None, true).contains("--socket"));
    }
}
