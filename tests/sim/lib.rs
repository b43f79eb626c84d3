//! A deterministic simulator: whole meshes of the program's own machines in one thread of virtual
//! time, with a network, disks and processes that fail as real ones do.
//!
//! [`world::World`] holds hosts and what is between them; [`check`] holds what must be true at every
//! step and at rest; [`scenarios`] are claims, each with a world that puts it to the test. The same
//! seed gives the same run, down to the last message, and a violation prints one line that shows it
//! again.

pub mod check;
mod conn;
mod data;
mod disk;
pub mod faults;
mod host;
mod keys;
pub mod liar;
mod links;
pub mod measure;
pub mod net;
pub mod plot;
pub mod queue;
#[path = "../scenarios/mod.rs"]
pub mod scenarios;
pub mod sweep;
mod trace;
pub mod world;
