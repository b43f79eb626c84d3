//! What tests of the program share.

use std::{path::PathBuf, time::Duration};

use banyan_node::{
    Builder, Node,
    api::{self, socket::Socket},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Time for a server to stop.
const LIMIT: Duration = Duration::from_secs(20);

/// A node with its API, alone in its mesh.
pub(crate) struct Served {
    pub(crate) node: Node,
    pub(crate) path: PathBuf,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    pub(crate) async fn start_with(describe: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("banyan.sock");
        let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0");
        let node = describe(builder).start().await.expect("it starts");
        let socket = Socket::bind(&path).expect("it is free");
        let stop = CancellationToken::new();
        let server = tokio::spawn(api::serve(node.clone(), socket, stop.clone().cancelled_owned()));
        Self { node, path, stop, server, _folder: folder }
    }

    pub(crate) async fn stop(self) {
        self.node.shutdown().await;
        self.stop.cancel();
        timeout(LIMIT, self.server).await.expect("it stops in time").expect("it does not panic");
        assert!(!self.path.exists(), "the socket file is gone");
    }
}
