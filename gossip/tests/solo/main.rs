//! One machine, or two.

#[path = "../common/keys.rs"]
mod keys;

mod faults;
mod feeds;
mod kit;
mod view;
