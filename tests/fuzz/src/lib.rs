//! What each fuzz target does with its input. None may panic, and what can be read must be written alike.

mod decoders;
mod library;
mod machines;

pub use decoders::{admission, control, data_frames, opening};
pub use library::{catalog, index, journal, manifest, titles, unpack, wire};
pub use machines::{mesh, serve, streams};
