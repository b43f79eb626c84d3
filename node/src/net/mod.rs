//! Everything that touches sockets, files and clocks.

mod activity;
pub mod admission;
mod bell;
pub mod builder;
mod change;
mod checkup;
mod control;
pub(crate) mod core;
mod data;
mod data_dir;
pub(crate) mod event_log;
mod feeder;
mod frames;
pub mod fs_store;
pub mod host;
pub mod join;
pub(crate) mod keys;
pub mod library;
mod line;
pub(crate) mod meters;
pub mod node;
mod sealer;
pub mod streams;
pub mod subscriber;
pub(crate) mod system;
pub mod types;
mod verified;
mod writing;

pub(crate) use control::PROTOCOL_VERSION;
pub(crate) use core::check_tags;
