//! How long something would be if it were written.

use std::io::{Result, Write};

/// Takes whatever is written to it and keeps its length alone, in bytes.
#[derive(Debug, Default)]
pub struct Count(pub usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
