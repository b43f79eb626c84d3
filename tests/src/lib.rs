//! Tests of Banyan that cross crates; see `tests/`.
