//! How a node is described and started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{Ed25519Keys, Label, LocalPeer, MeshName, RelayPolicy};
use banyan_tree::Rules;
use tokio::sync::mpsc;

use super::{
    admission::Admission,
    control::{Hello, PROTOCOL_VERSION},
    core::{self, Heartbeat, Parts, check_tags},
    data_dir::{DataDir, Identity},
    event_log::EventLog,
    host::{self, Door, HostConfig, HostError, Limits, Multiaddr},
    keys::{self, KeyStore},
    library::{Library, port::Port},
    meters::Meters,
    node::Node,
    streams::session::Incoming,
    types::{BuildError, KeyFileError},
    verified::SharedKeys,
};
use crate::{
    admission::MeshKey,
    library::{catalog::AllowList, push::Accept},
    mesh::{self, Mesh},
    relay::TrackConfig,
};

/// Requests of users that wait to be handled.
const REQUESTS: usize = 64;
/// Where a node listens when it is not told: any free port.
const DEFAULT_LISTEN: [&str; 4] =
    ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"];

/// Collects what a node needs to start.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) mesh: MeshName,
    pub(crate) label: Option<Label>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) listen: Vec<String>,
    pub(crate) bootstrap: Vec<String>,
    pub(crate) mdns: bool,
    pub(crate) capacity: Option<u16>,
    pub(crate) relay: RelayPolicy,
    pub(crate) root_slots: u16,
    pub(crate) max_depth: u8,
    pub(crate) max_links: u16,
    pub(crate) key: Option<MeshKey>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) library: Vec<PathBuf>,
    pub(crate) library_allow: AllowList,
    pub(crate) library_accept: Accept,
    pub(crate) rules: Rules,
}

impl Builder {
    /// The mesh to join; nodes of other meshes are not talked to. Default: `default`.
    #[must_use]
    pub fn mesh(mut self, mesh: MeshName) -> Self {
        self.mesh = mesh;
        self
    }

    /// What a person calls this node.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// What this node says of itself to everybody, beyond its label: at most 16 tags.
    #[must_use]
    pub fn tags(mut self, tags: BTreeMap<String, String>) -> Self {
        self.tags = tags;
        self
    }

    /// What the node's main loop does as often as this as long as it turns, to show that it does; it must not block.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration, beat: impl Fn() + Send + Sync + 'static) -> Self {
        self.heartbeat = Some(Heartbeat::new(interval, Arc::new(beat)));
        self
    }

    /// Where identity and incarnation are kept. Without one, the identity lasts as long as the node.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// A multiaddr to listen on; may be given several times. Default: any port of all interfaces, TCP and QUIC.
    #[must_use]
    pub fn listen(mut self, multiaddr: impl Into<String>) -> Self {
        self.listen.push(multiaddr.into());
        self
    }

    /// A node to join: a multiaddr (with or without `/p2p/…`) or `host:port`; may be given several times.
    #[must_use]
    pub fn bootstrap(mut self, address: impl Into<String>) -> Self {
        self.bootstrap.push(address.into());
        self
    }

    /// Whether to look for nodes on the local network by multicast DNS. Default: yes.
    #[must_use]
    pub const fn mdns(mut self, enabled: bool) -> Self {
        self.mdns = enabled;
        self
    }

    /// How many children this node feeds at most, over all tracks. Default: the mesh-wide ceiling.
    #[must_use]
    pub const fn capacity(mut self, slots: u16) -> Self {
        self.capacity = Some(slots);
        self
    }

    /// Whether this node relays tracks that it does not subscribe to, for those who find no free slot. Default:
    /// [`RelayPolicy::WhenAsked`].
    #[must_use]
    pub const fn relay(mut self, policy: RelayPolicy) -> Self {
        self.relay = policy;
        self
    }

    /// How many peers this node feeds directly on a track that it publishes. Default: 30.
    #[must_use]
    pub const fn root_slots(mut self, slots: u16) -> Self {
        self.root_slots = slots;
        self
    }

    /// Deepest level of a tree. Default: 16.
    #[must_use]
    pub const fn max_depth(mut self, levels: u8) -> Self {
        self.max_depth = levels;
        self
    }

    /// Links kept to random peers beside those that trees need. Default: 6; 0 switches them off.
    #[must_use]
    pub const fn max_links(mut self, links: u16) -> Self {
        self.max_links = links;
        self
    }

    /// A mesh key that lasts as long as the node: nodes without one of its keys are not talked to (C7). Default: the
    /// keys of [`Builder::key_file`].
    #[must_use]
    pub fn key(mut self, key: MeshKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The file of the mesh keys, one a line, of which the first is used and all are accepted. Default: `mesh.key`
    /// in the data directory; if that is not there, the mesh is open.
    #[must_use]
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// A folder to share, whose sub-folders are packages; may be given several times. The first takes what is
    /// fetched.
    #[must_use]
    pub fn library(mut self, path: impl Into<PathBuf>) -> Self {
        self.library.push(path.into());
        self
    }

    /// Which packages others may know of and fetch (D3). Default: all.
    #[must_use]
    pub fn library_allow(mut self, allow: AllowList) -> Self {
        self.library_allow = allow;
        self
    }

    /// From whom packages are taken that others push here. Default: from nobody.
    #[must_use]
    pub fn library_accept(mut self, accept: Accept) -> Self {
        self.library_accept = accept;
        self
    }

    /// Who may publish and who may follow which track, for all that this node has to say in it; meant to be the same on
    /// all nodes of a mesh. Default: everybody may.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// [`BuildError`]: nothing is left running.
    pub async fn start(self) -> Result<Node, BuildError> {
        check_tags(&self.tags).map_err(|error| BuildError::Tags(error.to_string()))?;
        let mut bootstraps = addresses(&self.bootstrap, host::parse_address)?;
        let listen = if self.listen.is_empty() {
            addresses(&DEFAULT_LISTEN.map(str::to_owned), host::parse_listen_address)?
        } else {
            addresses(&self.listen, host::parse_listen_address)?
        };
        let (data_dir, identity) = match &self.data_dir {
            Some(path) => DataDir::open(path).map(|(dir, identity)| (Some(dir), identity))?,
            None => {
                let failed = |source| BuildError::DataDir { path: "/dev/urandom".into(), source };
                (None, Identity::ephemeral().map_err(failed)?)
            }
        };
        if let Some(path) = &self.data_dir {
            bootstraps.extend(addresses(&keys::load_bootstraps(path)?, host::parse_address)?);
        }
        let keys = Ed25519Keys::from_seed(&identity.seed);
        let me = LocalPeer { peer: keys.peer_id(), incarnation: identity.incarnation };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            mesh: self.mesh.clone(),
            incarnation: identity.incarnation,
            instance: fastrand::u64(..),
        };
        let door = self.door()?;
        let host_config = HostConfig {
            seed: identity.seed,
            mesh: self.mesh.clone(),
            listen,
            mdns: self.mdns,
            limits: Limits::default(),
            door: door.clone(),
        };
        let admission = Admission::new(self.mesh.clone(), door);
        let (host, host_events) = host::start(host_config).await.map_err(|error| match error {
            HostError::Listen { address, reason } => BuildError::Listen { address: address.to_string(), reason },
            other => BuildError::Listen { address: "any address".to_owned(), reason: other.to_string() },
        })?;
        let config = self.mesh_config(bootstraps.len());
        let shared = Arc::new(SharedKeys::new(Ed25519Keys::from_seed(&identity.seed)));
        let mesh = Mesh::new(me, config, shared, fastrand::Rng::new(), Instant::now());
        let (requests, from_users) = mpsc::channel(REQUESTS);
        let started = Instant::now();
        let events = Arc::new(EventLog::new(started));
        let incoming = Arc::<Incoming>::default();
        let port = Port::new(requests.downgrade(), host.clone());
        let (library, door) =
            Library::start(mesh.me(), port, &self.library, self.library_allow, self.library_accept).await?;
        let meters = Arc::new(Meters::new(host.metrics()));
        let node = Node::new(
            mesh.me(),
            requests,
            Arc::downgrade(&events),
            Arc::clone(&incoming),
            library,
            admission,
            Arc::clone(&meters),
        );
        tokio::spawn(core::run(Parts {
            mesh,
            host,
            host_events,
            requests: from_users,
            events,
            started,
            data_dir,
            bootstraps,
            bootstraps_named: self.bootstrap.len(),
            hello,
            track_config: TrackConfig::default(),
            // Not those of the mesh: seals are many, and each node verifies them for itself.
            keys: Arc::new(keys),
            incoming,
            library: Some(door),
            meters,
            heartbeat: self.heartbeat,
        }));
        Ok(node)
    }

    fn door(&self) -> Result<Door, KeyFileError> {
        let in_data_dir = |name: &dyn Fn(&Path) -> PathBuf| self.data_dir.as_deref().map(name);
        let mut store = KeyStore {
            keys: self.key_file.clone().or_else(|| in_data_dir(&keys::key_file)),
            invites: in_data_dir(&|dir| dir.join("invites")),
        };
        if self.key.is_some() {
            store.keys = None;
        }
        let mut keyring = store.load(self.key_file.is_none())?;
        if let Some(key) = &self.key {
            keyring.install(key.clone()).expect("it is the first key");
        }
        Ok(Door::new(keyring, store))
    }

    fn mesh_config(&self, bootstraps: usize) -> mesh::Config {
        let mut config = mesh::Config::new(self.mesh.clone());
        config.label = self.label.clone();
        config.tags = self.tags.clone();
        config.capacity = self.capacity;
        config.relay = self.relay;
        config.bootstraps = bootstraps;
        config.tree.root_slots = self.root_slots;
        config.tree.max_depth = self.max_depth;
        config.tree.doubts = true;
        config.tree.rules = Arc::new(self.rules.clone());
        config.connector.max_links = usize::from(self.max_links);
        config
    }
}

impl Default for Builder {
    fn default() -> Self {
        let mesh = mesh::Config::new(MeshName::new("default").expect("it follows the rules"));
        Self {
            label: None,
            tags: BTreeMap::new(),
            heartbeat: None,
            data_dir: None,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            capacity: None,
            relay: RelayPolicy::default(),
            root_slots: mesh.tree.root_slots,
            max_depth: mesh.tree.max_depth,
            max_links: u16::try_from(mesh.connector.max_links).expect("the default is small"),
            mesh: mesh.mesh,
            key: None,
            key_file: None,
            library: Vec::new(),
            library_allow: AllowList::default(),
            library_accept: Accept::default(),
            rules: Rules::default(),
        }
    }
}

fn addresses(
    texts: &[String],
    parse: fn(&str) -> Result<Multiaddr, host::AddressError>,
) -> Result<Vec<Multiaddr>, BuildError> {
    let invalid =
        |error: host::AddressError| BuildError::Address { address: error.text, reason: error.reason.to_owned() };
    texts.iter().map(|text| parse(text).map_err(invalid)).collect()
}
