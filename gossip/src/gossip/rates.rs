//! How much news of one author is taken.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::PeerId;

/// Most authors remembered, of about 64 bytes each. Beyond it one is forgotten, and gets a fresh
/// burst: whoever floods the mesh under that many names is not slowed by a limit a name.
const AUTHORS_MAX: usize = 1024;

/// What each author may still publish: a token an op.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<PeerId, Bucket>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Rates {
    /// Takes a token of an author, who gets `rate` a second and has `burst` at most. Returns
    /// whether there was one.
    pub(super) fn take(&mut self, now: Instant, author: PeerId, (rate, burst): (u32, u32)) -> bool {
        if self.0.len() >= AUTHORS_MAX && !self.0.contains_key(&author) {
            self.0.pop_first();
        }
        let bucket = self.0.entry(author).or_insert(Bucket { tokens: burst, filled: now });
        let since = now.saturating_duration_since(bucket.filled);
        let grown = u32::try_from(since.as_millis() * u128::from(rate) / 1000).unwrap_or(burst);
        if grown > 0 {
            *bucket = Bucket { tokens: bucket.tokens.saturating_add(grown).min(burst), filled: now };
        }
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }

    /// Forgets those of whom nothing came for `idle`.
    pub(super) fn forget_idle(&mut self, now: Instant, idle: Duration) {
        self.0.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_authors_takes_bounded_memory_e3() {
        let now = Instant::now();
        let mut rates = Rates::default();
        for index in 0..2 * AUTHORS_MAX as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&index.to_be_bytes());
            assert!(rates.take(now, PeerId::from_key_bytes(key), (1, 1)));
        }
        assert_eq!(rates.0.len(), AUTHORS_MAX);
        rates.forget_idle(now + Duration::from_secs(1), Duration::from_secs(1));
        assert!(rates.0.is_empty());
    }
}
