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
        self.places.get(self.place_of(author).0).is_some_and(Option::is_some)
    }

    /// Whether an author, who gets `rate` tokens a second and has `burst` at most, has one left. Changes nothing: it may be
    /// somebody else who speaks in its name.
    pub(super) fn allow(&self, now: Instant, author: &PeerId, rate: (u32, u32)) -> bool {
        let (place, author) = self.place_of(author);
        let bucket = self.places.get(place).and_then(Option::as_ref).filter(|bucket| bucket.author == author);
        bucket.is_none_or(|bucket| bucket.filled(now, rate).tokens > 0)
    }

    /// Takes a token of an author. Returns whether there was one.
    pub(super) fn take(&mut self, now: Instant, author: &PeerId, rate: (u32, u32)) -> bool {
        let (place, author) = self.place_of(author);
        self.places.resize(PLACES, None);
        let full = Bucket { author, tokens: rate.1, filled: now };
        let bucket =
            self.places[place].filter(|bucket| bucket.author == author).map_or(full, |bucket| bucket.filled(now, rate));
        self.places[place] = Some(Bucket { tokens: bucket.tokens.saturating_sub(1), ..bucket });
        bucket.tokens > 0
    }

    /// Where an author's bucket is, and how it is told from others there.
    fn place_of(&self, author: &PeerId) -> (usize, u32) {
        let hash = mix_peer(self.salt, author);
        (hash as usize % PLACES, (hash >> 32) as u32)
    }
}

impl Bucket {
    /// With what has come since.
    fn filled(self, now: Instant, (rate, burst): (u32, u32)) -> Self {
        let since = now.saturating_duration_since(self.filled);
        match u32::try_from(since.as_millis() * u128::from(rate) / 1000).unwrap_or(burst) {
            0 => self,
            grown => Self { tokens: self.tokens.saturating_add(grown).min(burst), filled: now, ..self },
        }
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
