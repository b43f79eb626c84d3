//! The library: packages that every node may have, fetched verified, installed without a torn state.

pub mod store;
