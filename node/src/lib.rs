//! A Banyan node, as a library.
//!
//! With the feature `net` (on by default) this is the whole node: see [`Node`]. Without it, only
//! the pure machines are left, which simulators drive.

pub mod admission;
mod batch;
pub mod count;
pub mod library;
pub mod mesh;
pub mod relay;
pub mod streams;
pub mod views;

#[cfg(feature = "net")]
pub mod api;
#[cfg(feature = "net")]
pub mod cli;
#[cfg(feature = "net")]
mod logs;
#[cfg(feature = "net")]
pub mod net;

pub use banyan_gossip::{Label, MeshName, PeerId, RelayPolicy, TrackName};
pub use banyan_tree::{Right, Rule, RuleError, Rules};
pub use library::push::{Accept, Targets};
#[cfg(feature = "net")]
pub use net::{
    admission::Admission,
    builder::Builder,
    event_log::Since,
    join::join,
    library::{Library, LibraryError, Selector},
    node::{EventStream, Node, Publisher},
    streams::{Peer, StreamHandle},
    subscriber::Subscriber,
    types::{
        BuildError, End, From, Item, JoinError, KeyError, KeyFileError, NodeError, PublishOptions, SubscribeOptions,
    },
};
pub use relay::{Integrity, Mode};
