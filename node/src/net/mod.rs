//! Everything that touches sockets, files and clocks.

pub mod host;
pub mod node;
