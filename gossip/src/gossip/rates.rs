//! How much news of one author is taken.

use std::time::Instant;

use crate::{PeerId, mix::mix_peer};

/// Authors remembered, of 32 bytes each. Two that fall on one place forget each other, and get a fresh
/// burst: whoever floods the mesh under many names is not slowed by a limit a name.
const PLACES: usize = 1024;

/// What each author may still publish: a token an op.
#[derive(Debug)]
pub(super) struct Rates {
    salt: u64,
    /// By a hash of the author; taken when the first one comes.
    places: Vec<Option<Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// The other half of the author's hash.
    author: u32,
    tokens: u32,
    filled: Instant,
}

impl Rates {
    /// Nobody has published anything. The salt is secret.
    pub(super) const fn new(salt: u64) -> Self {
        Self { salt, places: Vec::new() }
    }

    /// Whether the place of an author was ever taken: a look at it fetches it from memory.
    pub(super) fn is_taken(&self, author: &PeerId) -> bool {
        self.places.get(mix_peer(self.salt, author) as usize % PLACES).is_some_and(Option::is_some)
    }

    /// Whether an author, who gets `rate` tokens a second and has `burst` at most, has one left.
    pub(super) fn allow(&mut self, now: Instant, author: &PeerId, rate: (u32, u32)) -> bool {
        self.bucket(now, author, rate).tokens > 0
    }

    /// Takes a token of an author. Returns whether there was one.
    pub(super) fn take(&mut self, now: Instant, author: &PeerId, rate: (u32, u32)) -> bool {
        let bucket = self.bucket(now, author, rate);
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }

    fn bucket(&mut self, now: Instant, author: &PeerId, (rate, burst): (u32, u32)) -> &mut Bucket {
        let hash = mix_peer(self.salt, author);
        let author = (hash >> 32) as u32;
        self.places.resize(PLACES, None);
        let place = &mut self.places[hash as usize % PLACES];
        let full = Bucket { author, tokens: burst, filled: now };
        let bucket = place.get_or_insert(full);
        if bucket.author != author {
            *bucket = full;
        }
        let since = now.saturating_duration_since(bucket.filled);
        let grown = u32::try_from(since.as_millis() * u128::from(rate) / 1000).unwrap_or(burst);
        if grown > 0 {
            *bucket = Bucket { tokens: bucket.tokens.saturating_add(grown).min(burst), filled: now, ..full };
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(index: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&index.to_be_bytes());
        PeerId::from_key_bytes(key)
    }

    #[test]
    fn any_number_of_authors_takes_bounded_memory_e3() {
        let now = Instant::now();
        let mut rates = Rates::new(7);
        for index in 0..2 * PLACES as u64 {
            assert!(rates.take(now, &author(index), (1, 1)));
            assert!(!rates.take(now, &author(index), (1, 1)));
        }
        assert_eq!(rates.places.capacity(), PLACES);
        assert!(size_of::<Option<Bucket>>() <= 32);
    }
}
