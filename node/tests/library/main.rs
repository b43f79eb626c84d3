//! Libraries of several nodes on real sockets and disks.

mod fetching;
mod nodes;
mod pushing;
