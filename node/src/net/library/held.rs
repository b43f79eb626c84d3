//! What this node has of packages, wherever it lies.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use super::{
    lock,
    root::{Local, Root},
};
use crate::library::{bitfield::PieceSet, manifest::Manifest, piece::Piece, sentinel::Title, store::path_of};

/// A download that is under way.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) root: Arc<Root>,
    pub(super) folder: String,
    pub(super) title: Title,
    pub(super) manifest: Arc<Manifest>,
    /// Pieces that were checked and written.
    pub(super) have: Mutex<PieceSet>,
}

/// A package, or a part of it.
#[derive(Debug, Clone)]
pub(super) enum Held {
    Complete { root: Arc<Root>, folder: String, local: Local },
    Partial(Arc<Partial>),
}

impl Held {
    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        match self {
            Self::Complete { local, .. } => &local.manifest,
            Self::Partial(partial) => &partial.manifest,
        }
    }

    pub(super) fn root(&self) -> &Arc<Root> {
        match self {
            Self::Complete { root, .. } => root,
            Self::Partial(partial) => &partial.root,
        }
    }

    pub(super) fn pieces(&self) -> PieceSet {
        match self {
            Self::Complete { local, .. } => PieceSet::full(local.manifest.piece_count()),
            Self::Partial(partial) => lock(&partial.have).clone(),
        }
    }

    /// Whether all of these are there; pieces that do not exist are for others to refuse.
    pub(super) fn has(&self, pieces: Range<u32>) -> bool {
        match self {
            Self::Complete { .. } => true,
            Self::Partial(partial) => {
                let have = lock(&partial.have);
                pieces.end <= have.len() && pieces.into_iter().all(|piece| have.contains(Piece(piece)))
            }
        }
    }

    /// Where a file of it is in the store. Blocks.
    pub(super) fn path(&self, file: usize) -> Option<String> {
        let entry = self.manifest().files().get(file)?;
        match self {
            Self::Complete { root, folder, .. } => {
                let dir = root.library.place(folder).ok()??;
                Some(path_of(&dir, entry.path.as_str()))
            }
            Self::Partial(partial) => Some(partial.root.library.staged(&partial.folder, entry)),
        }
    }
}
