//! What is asked of a peer on one stream, and what the peer answers to it.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use super::{Attached, FromSource, Question, What};
use crate::library::{
    bitfield::PieceSet,
    catalog::CATALOG_BYTES_MAX,
    download::{End, RequestId},
    manifest::MANIFEST_BYTES_MAX,
    piece::Piece,
    wire::{Answer, Ask, Blob, Offer, WireError},
};

/// What was asked on one stream and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    pub(super) questions: BTreeMap<u64, (Question, Blob)>,
    follows: BTreeMap<u64, (u64, Attached, Blob)>,
    pub(super) requests: BTreeMap<u64, (u64, RequestId, Attached, Range<u32>)>,
    ids: BTreeMap<(u64, RequestId), u64>,
}

impl Table {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Whether somebody waits for the answer to a question.
    pub(super) fn has_questions(&self) -> bool {
        self.questions.values().any(|(question, _)| !question.answer.is_closed())
    }

    pub(super) fn attach(&mut self, job: u64, attached: Attached, out: &mut Vec<u8>) {
        let id = self.id();
        match &attached.offer {
            Some(offer) => Ask::Push(id, Offer::clone(offer)),
            None => Ask::Follow(id, attached.manifest.id()),
        }
        .put(out);
        self.follows.insert(id, (job, attached, Blob::default()));
    }

    /// What a job follows.
    pub(super) fn follow(&self, job: u64) -> Option<u64> {
        self.follows.iter().find(|(_, (other, ..))| *other == job).map(|(id, _)| *id)
    }

    pub(super) fn detach(&mut self, job: u64, out: &mut Vec<u8>) {
        let follows = self.follows.iter().filter(|(_, (other, ..))| *other == job);
        for id in follows.map(|(id, _)| *id).collect::<Vec<_>>() {
            Ask::Unfollow(id).put(out);
            self.follows.remove(&id);
        }
        // What is on its way comes, and is dropped.
        for (id, (_, _, _, pieces)) in self.requests.iter().filter(|(_, (other, ..))| *other == job) {
            pieces.clone().for_each(|piece| Ask::Cancel(*id, piece).put(out));
        }
        self.ids.retain(|(other, _), _| *other != job);
    }

    pub(super) fn question(&mut self, question: Question, out: &mut Vec<u8>) {
        let id = self.id();
        match question.what {
            What::Catalog(digest) => Ask::Catalog(id, digest),
            What::Manifest(package) => Ask::Manifest(id, package),
        }
        .put(out);
        self.questions.insert(id, (question, Blob::default()));
    }

    pub(super) fn pieces(
        &mut self,
        job: u64,
        attached: &Attached,
        request: RequestId,
        pieces: Range<u32>,
        out: &mut Vec<u8>,
    ) {
        let id = self.id();
        Ask::Pieces(id, attached.manifest.id(), pieces.start, pieces.end - pieces.start).put(out);
        self.requests.insert(id, (job, request, attached.clone(), pieces));
        self.ids.insert((job, request), id);
    }

    pub(super) fn cancel(&self, job: u64, request: RequestId, piece: Piece, out: &mut Vec<u8>) {
        if let Some(id) = self.ids.get(&(job, request)) {
            Ask::Cancel(*id, piece.0).put(out);
        }
    }

    /// A request is over.
    fn finish(&mut self, id: u64, end: End) -> Result<Told, WireError> {
        let over = self.requests.remove(&id).ok_or(WireError::Unasked("the end of what was not asked"))?;
        let (job, request, attached, _) = over;
        self.ids.remove(&(job, request));
        Ok(Some((attached, FromSource::Ended(request, end))))
    }

    pub(super) fn on_answer(&mut self, answer: Answer) -> Result<Told, WireError> {
        let unasked = || WireError::Unasked("an answer to what was not asked");
        match answer {
            Answer::Blob(id, bytes) => {
                if let Some((question, blob)) = self.questions.get_mut(&id) {
                    let most = match question.what {
                        What::Catalog(_) => CATALOG_BYTES_MAX,
                        What::Manifest(_) => MANIFEST_BYTES_MAX,
                    };
                    blob.expect(bytes, most)?;
                } else if let Some((_, attached, blob)) = self.follows.get_mut(&id) {
                    blob.expect(bytes, attached.manifest.piece_count().div_ceil(8) as usize)?;
                } else if id > self.next {
                    return Err(unasked());
                }
                self.on_chunk(id, &[])
            }
            Answer::Has(id, ranges) => {
                Ok(self.follows.get(&id).map(|(_, attached, _)| (attached.clone(), FromSource::Has(ranges))))
            }
            Answer::Push(id, state) => {
                let pushed = self.follows.get(&id).filter(|(_, attached, _)| attached.offer.is_some());
                Ok(pushed.map(|(_, attached, _)| (attached.clone(), FromSource::Push(state))))
            }
            Answer::End(id) => self.finish(id, End::Sent),
            Answer::Busy(id, after_ms) => self.finish(id, End::Busy(Duration::from_millis(after_ms.into()))),
            Answer::Gone(id) => {
                if let Some((_, attached, _)) = self.follows.remove(&id) {
                    return Ok(Some((attached, FromSource::Down)));
                }
                if let Some((job, request, attached, _)) = self.requests.remove(&id) {
                    self.ids.remove(&(job, request));
                    return Ok(Some((attached, FromSource::Down)));
                }
                let known = self.questions.remove(&id).is_some() || id <= self.next;
                if known { Ok(None) } else { Err(unasked()) }
            }
        }
    }

    /// Bytes of a catalog, a manifest or a set of pieces. What is not wanted any more is dropped.
    pub(super) fn on_chunk(&mut self, id: u64, bytes: &[u8]) -> Result<Told, WireError> {
        if let Some((_, blob)) = self.questions.get_mut(&id) {
            blob.push(bytes)?;
            if let Some(bytes) = blob.take()
                && let Some((question, _)) = self.questions.remove(&id)
            {
                let _ = question.answer.send(Ok(bytes));
            }
        } else if let Some((_, attached, blob)) = self.follows.get_mut(&id) {
            blob.push(bytes)?;
            if let Some(bytes) = blob.take() {
                let have = PieceSet::from_bytes(&bytes, attached.manifest.piece_count())
                    .map_err(|_| WireError::Unasked("a set of pieces of another package"))?;
                return Ok(Some((attached.clone(), FromSource::Up(have))));
            }
        } else if id > self.next {
            return Err(WireError::Unasked("a part of what was not asked"));
        }
        Ok(None)
    }
}

/// Whom to tell what.
type Told = Option<(Attached, FromSource)>;
