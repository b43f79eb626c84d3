//! The library: packages that every node can fetch from every other, piece by piece, each piece checked.
//!
//! A package is a folder. Its [`manifest`] names every file with size, mode and hashes, and the hash of the
//! manifest is the package's id, so whoever knows the id knows every byte. Files are cut into [`piece`]s of
//! 1 MiB, which are subtrees of the file's BLAKE3 hash: a piece is checked on its own, and the pieces' hashes
//! are checked against the file's. [`path`] says which names a file may have.
//!
//! Each node says in its [`catalog`] what it offers, and everybody merges the catalogs of all. A [`download`] asks
//! many sources at once for what is missing, [`serve`] shares the uplink among those that ask, and [`push`] hands
//! different pieces to different peers, so that a package leaves its source about once however many get it.
//!
//! Nothing here does IO or looks at a clock.

pub mod bitfield;
pub mod catalog;
pub mod download;
pub mod journal;
pub mod manifest;
pub mod pace;
pub mod path;
pub mod piece;
pub mod push;
pub mod scan;
pub mod sentinel;
pub mod serve;
pub mod store;
pub mod transaction;
pub mod unpack;
pub mod wire;
