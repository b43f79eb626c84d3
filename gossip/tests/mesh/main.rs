//! Meshes of machines in virtual time.

#[path = "../common/keys.rs"]
mod keys;

mod convergence;
mod feeds;
mod user_events;
mod world;
