//! A Banyan node, as a library.
//!
//! With the feature `net` (on by default) this is the whole node: see [`Node`]. Without it, only
//! the pure machines are left, which simulators drive.

pub mod mesh;
pub mod relay;
pub mod views;

#[cfg(feature = "net")]
pub mod api;
#[cfg(feature = "net")]
pub mod cli;
#[cfg(feature = "net")]
pub mod net;

pub use banyan_gossip::{Label, MeshName, PeerId, TrackName};
#[cfg(feature = "net")]
pub use net::node::{
    BuildError, Builder, End, EventStream, From, Item, Node, NodeError, PublishOptions, Publisher, SubscribeOptions,
    Subscriber,
};
pub use relay::Mode;
