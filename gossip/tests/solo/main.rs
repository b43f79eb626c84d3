//! One machine, or two.

mod faults;
mod feeds;
mod kit;
mod view;
