//! The peer table of a mesh: who is there, with which capacity and depth.
//!
//! Every peer writes one [`Row`] about itself, signed with its Ed25519 key and replaced as a whole.
//! Rows spread as [`op::SignedOp`]s; merging keeps the greater `(incarnation, version)`, which makes
//! the table a state-based CRDT. This crate is pure: time and randomness are arguments, and it knows
//! neither sockets nor trees.
//!
//! # Driving it
//! Feed [`Gossip`] with [`Gossip::handle_input`], or with [`Gossip::handle_timeout`] when
//! [`Gossip::poll_timeout`] is due; then take every [`Output`] from [`Gossip::poll_output`].

mod deed;
mod gossip;
pub mod id;
mod io;
mod keys;
pub mod message;
mod mix;
pub mod name;
mod offences;
pub mod op;
mod own_row;
mod recent;
pub mod row;
mod suspicion;
mod sync;
pub mod table;

pub use deed::Deed;
pub use gossip::Gossip;
pub use id::PeerId;
pub use io::{Applied, Config, Event, Input, LocalPeer, Offence, Output, Reason};
pub use keys::{Ed25519Keys, Keys, Signed};
pub use message::Message;
pub use name::{Label, MeshName, TrackName};
pub use own_row::RowBody;
pub use row::{LibraryDigest, Presence, RelayPolicy, Role, Row, TrackEntry};
pub use suspicion::{Suspected, SuspicionConfig};
