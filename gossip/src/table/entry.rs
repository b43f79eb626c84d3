//! What is held of one peer, in two words: its row is shared, and what few peers have is apart.

use std::time::Instant;

use crate::{
    Presence, Row,
    op::{Claim, Op, SignedOp},
    table::Status,
};

#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    row: Option<SignedOp>,
    rare: Option<Box<Rare>>,
}

/// What most live peers do not have.
#[derive(Debug, Clone, Default)]
struct Rare {
    death: Option<SignedOp>,
    suspect: bool,
    /// Certified dead while a link to it works: it is about to refute, or the link to break. The
    /// trees above that link must not break for a certificate from beyond a healed partition.
    spared: bool,
    /// When it was found dead or left; tombstones age from here.
    buried: Option<Instant>,
    /// Buried so long ago that others are no longer told.
    silent: bool,
}

impl Entry {
    pub(crate) fn row(&self) -> Option<&Row> {
        self.signed_row()?.row()
    }

    /// The row as its owner signed it.
    pub(crate) const fn signed_row(&self) -> Option<&SignedOp> {
        self.row.as_ref()
    }

    /// The row, if it still counts.
    pub(super) fn live_row(&self) -> Option<&SignedOp> {
        self.signed_row().filter(|_| self.is_live())
    }

    pub(crate) fn row_version(&self) -> (u64, u64) {
        self.row().map_or((0, 0), |row| (row.incarnation, row.version))
    }

    /// The death certificate.
    pub(crate) fn death(&self) -> Option<(&Claim, &SignedOp)> {
        let signed = self.rare.as_ref()?.death.as_ref()?;
        let Some(Op::Death(claim)) = signed.op() else {
            return None;
        };
        Some((claim, signed))
    }

    /// The incarnation that is certified dead.
    pub(crate) fn death_incarnation(&self) -> Option<u64> {
        self.death().map(|(claim, _)| claim.suspect_incarnation)
    }

    /// When it was found dead or left.
    pub(crate) fn buried(&self) -> Option<Instant> {
        self.rare.as_ref()?.buried
    }

    /// Whether others are told of it.
    pub(crate) fn is_shared(&self) -> bool {
        self.rare.as_ref().is_none_or(|rare| !rare.silent)
    }

    pub(super) fn hush(&mut self) {
        self.rare.get_or_insert_default().silent = true;
    }

    pub(crate) fn is_live(&self) -> bool {
        self.status().is_some_and(Status::is_live)
    }

    pub(crate) fn status(&self) -> Option<Status> {
        let row = self.row()?;
        let (suspect, spared) = self.rare.as_ref().map_or((false, false), |rare| (rare.suspect, rare.spared));
        Some(match self.death_incarnation() {
            _ if row.presence == Presence::Left => Status::Left,
            Some(incarnation) if incarnation >= row.incarnation && !spared => Status::Dead,
            Some(incarnation) if incarnation >= row.incarnation => Status::Suspect,
            _ if suspect => Status::Suspect,
            _ => Status::Alive,
        })
    }

    /// Takes a row if it is news.
    pub(super) fn take_row(&mut self, signed: SignedOp) -> bool {
        let Some(row) = signed.row() else {
            return false;
        };
        let known = self.row_version();
        if self.row.is_some() && (row.incarnation, row.version) <= known {
            return false;
        }
        let outlived = self.death_incarnation() < Some(row.incarnation);
        if let Some(rare) = self.rare.as_deref_mut() {
            // A suspicion names an incarnation; this one was not accused.
            rare.suspect &= row.incarnation <= known.0;
            if outlived {
                // A death of an earlier life says nothing any more.
                (rare.death, rare.spared) = (None, false);
            }
        }
        self.row = Some(signed);
        true
    }

    /// Takes a death certificate if it is news. `spare`: a live peer becomes a suspect only.
    pub(super) fn take_death(&mut self, signed: SignedOp, spare: bool) -> bool {
        let Some(Op::Death(claim)) = signed.op() else {
            return false;
        };
        let refuted = self.row().is_some_and(|row| row.incarnation > claim.suspect_incarnation);
        if refuted || Some(claim.suspect_incarnation) <= self.death_incarnation() {
            return false;
        }
        let spared = spare && self.is_live();
        let rare = self.rare.get_or_insert_default();
        (rare.death, rare.spared) = (Some(signed), spared);
        true
    }

    pub(super) fn set_suspect(&mut self, suspect: bool) -> bool {
        if self.rare.is_none() && !suspect {
            return false;
        }
        std::mem::replace(&mut self.rare.get_or_insert_default().suspect, suspect) != suspect
    }

    pub(super) fn unspare(&mut self) -> bool {
        self.rare.as_mut().is_some_and(|rare| std::mem::take(&mut rare.spared))
    }

    /// Brings the burial in line with the status.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.is_live() {
            self.rare.get_or_insert_default().buried.get_or_insert(now);
        } else if let Some(rare) = self.rare.as_deref_mut() {
            (rare.buried, rare.silent) = (None, false);
            if rare.death.is_none() && !rare.suspect {
                self.rare = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_two_words() {
        assert_eq!(size_of::<Entry>(), 2 * size_of::<usize>());
    }
}
