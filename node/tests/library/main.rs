//! Libraries of several nodes on real sockets and disks.

mod faults;
mod fetching;
mod nodes;
mod pushing;
