//! Everything that touches sockets, files and clocks.

mod control;
mod core;
mod data;
mod data_dir;
pub mod host;
mod line;
pub mod node;
mod subscriber;
