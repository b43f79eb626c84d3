//! The relay of one track: frames, the ring, resume by id, de-duplication.

use serde::{Deserialize, Serialize};

/// Largest object, in bytes.
pub const OBJECT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What happens to a subscriber that cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It skips ahead and is told which objects it missed.
    #[default]
    Live,
    /// Nothing is lost: the publisher waits, bounded by the ring.
    Reliable,
}
