//! Asking for the manifest of a package: several peers, one after the other, so that a silent one holds up nobody.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use banyan_gossip::PeerId;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};

use super::{LibraryError, Shared, jobs::Job, lock, source::What};
use crate::library::manifest::{Manifest, PackageId};

/// How long a manifest may take from one peer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// When no manifest came for so long, another peer is asked as well.
const PATIENCE: Duration = Duration::from_secs(2);
/// Peers asked at a time; the answer of each takes up to
/// [`MANIFEST_BYTES_MAX`](crate::library::manifest::MANIFEST_BYTES_MAX) of memory.
const ASKED_MAX: usize = 4;
/// All were asked and none had it: they are asked again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Nothing if the peer has it no more, or cannot be reached; an error if it lied.
type Answer = Result<Option<Arc<Manifest>>, String>;

impl Shared {
    /// Who has some of it, as far as is known here.
    pub(super) fn holders(&self, job: &Job) -> BTreeSet<PeerId> {
        let mut holders: BTreeSet<PeerId> =
            lock(&self.state).merged.holders(job.package).map(|(peer, _)| peer).collect();
        if let Some(pushed) = &job.pushed {
            holders.insert(pushed.by);
            holders.extend(&pushed.peers);
            holders.remove(&self.me);
        }
        holders
    }

    /// The manifest of a job's package, and who sent one that is none or another's.
    pub(super) async fn fetch_manifest(
        self: &Arc<Self>,
        job: &Job,
    ) -> Result<(Arc<Manifest>, BTreeSet<PeerId>), LibraryError> {
        let mut liars = BTreeSet::new();
        loop {
            let mut holders: Vec<PeerId> = self.holders(job).difference(&liars).copied().collect();
            fastrand::shuffle(&mut holders);
            let ask = async {
                let found = self.manifest_of_any(holders, job.package, &mut liars).await;
                if found.is_none() {
                    job.phase("waiting", "manifest");
                    sleep(RETRY).await;
                }
                found
            };
            tokio::select! {
                found = ask => if let Some(manifest) = found { return Ok((manifest, liars)) },
                () = job.cancelled.cancelled() => return Err(LibraryError::Cancelled),
                () = self.stop.cancelled() => return Err(LibraryError::Unavailable),
            }
        }
    }

    async fn manifest_of_any(
        self: &Arc<Self>,
        holders: Vec<PeerId>,
        package: PackageId,
        liars: &mut BTreeSet<PeerId>,
    ) -> Option<Arc<Manifest>> {
        let mut holders = holders.into_iter();
        let mut asked = FuturesUnordered::new();
        loop {
            asked.extend(holders.next().map(|peer| self.manifest_of(peer, package)));
            let answer = tokio::select! {
                answer = asked.next() => answer,
                () = sleep(PATIENCE), if asked.len() < ASKED_MAX && holders.len() > 0 => continue,
            };
            match answer? {
                (_, Ok(Some(manifest))) => return Some(manifest),
                (_, Ok(None)) => {}
                (peer, Err(reason)) => {
                    tracing::warn!(%peer, reason, "a source lied about a manifest");
                    liars.insert(peer);
                }
            }
        }
    }

    async fn manifest_of(self: &Arc<Self>, peer: PeerId, package: PackageId) -> (PeerId, Answer) {
        let answer = match timeout(TIMEOUT, self.question(peer, What::Manifest(package))).await {
            Ok(Some(Ok(bytes))) => match self.spawn_blocking(move || Manifest::decode(&bytes)).await {
                Ok(Ok(manifest)) if manifest.id() == package => Ok(Some(Arc::new(manifest))),
                Ok(Ok(_)) => Err("it is the manifest of another package".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Ok(Some(Err(error))) => Err(error.to_string()),
            Ok(None) | Err(_) => Ok(None),
        };
        (peer, answer)
    }
}
