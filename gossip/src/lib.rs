//! The peer table of a mesh: who is there, with which capacity and depth.
//!
//! Every peer writes one [`Row`] about itself, signed with its Ed25519 key and replaced as a whole.
//! Rows spread as [`op::Op`]s; merging keeps the greater `(incarnation, version)`, which makes the
//! table a state-based CRDT. This crate is pure: time and randomness are arguments, and it knows
//! neither sockets nor trees.

pub mod id;
pub mod name;
pub mod row;

pub use id::PeerId;
pub use name::{Label, MeshName, TrackName};
pub use row::{Presence, Role, Row, TrackEntry};
