//! Meshes of machines in virtual time.

mod convergence;
mod feeds;
mod world;
