//! Parents chosen in advance, with links that are warm.

use std::{collections::BTreeMap, time::Instant};

use banyan_gossip::PeerId;

use crate::{
    Context, Output, Source, Tree,
    choice::{self, Chain},
    message::BACKUPS_MAX,
    pick::Wish,
};

/// Parents chosen in advance.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    pub(crate) list: Vec<PeerId>,
    /// Peers whose links were asked for, or could not be had; not asked for again before then.
    asked: BTreeMap<PeerId, Instant>,
}

/// Most peers remembered as asked for.
const ASKED_MAX: usize = 64;

/// Weight lost per level. Less than in a choice at leisure, and free slots count with their cube: many lose
/// their parents at the same moment, whoever has few slots refuses some of them, and a few levels can
/// be made good later.
const LEVEL_FACTOR: f64 = 0.8;

impl Tree {
    /// A backup whose link is gone is chosen anew.
    pub(crate) fn on_backup_lost(&mut self, now: Instant, peer: PeerId) {
        if let Some(index) = self.backups.list.iter().position(|backup| *backup == peer) {
            self.backups.list.remove(index);
            self.backups.asked.insert(peer, now + self.config.refused_for);
            self.wake_upkeep(now);
        }
    }

    /// The backups that could help now, the best first.
    pub(crate) fn ranked_backups(&mut self, cx: &Context<'_>) -> Vec<PeerId> {
        let mut ranked: Vec<(bool, f64, PeerId)> = Vec::new();
        for peer in &self.backups.list {
            let entry = cx.peers.live(peer).and_then(|row| Some((row.free, row.tracks.get(&self.track)?)));
            let Some((free, depth)) = entry.and_then(|(free, entry)| Some((free, entry.depth?))) else {
                continue;
            };
            let weight = (f64::from(free) + 0.25).powi(3) * LEVEL_FACTOR.powi(i32::from(depth));
            let key = (1.0 - self.rng.f64()).ln() / weight;
            ranked.push((cx.links.linked(peer), key, *peer));
        }
        ranked.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
        ranked.into_iter().map(|(.., peer)| peer).collect()
    }

    /// Drops backups that became useless, and fills up: the grandparent, peers drawn from the table
    /// that are not fed by the parent, and siblings if there is nobody else.
    pub(crate) fn refresh_backups(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut rng = self.rng.fork();
        let Some((source, parent)) = self.source.zip(self.upstream.parent.as_ref()) else {
            return;
        };
        let wanted = usize::from(parent.settings.backups).min(BACKUPS_MAX);
        let deepest = self.upstream.last_depth.unwrap_or(u8::MAX);
        let wish = Wish { source, repair: true, deepest, avoid: Some(parent.peer), desperate: true };
        let grandparent = parent.path.len().checked_sub(2).map(|index| parent.path[index]);
        let siblings = parent.siblings.clone();
        let mut clean: Vec<PeerId> = Vec::new();
        let mut doubtful: Vec<PeerId> = Vec::new();
        let mut consider = |peers: Vec<PeerId>| {
            for peer in peers {
                let known = clean.contains(&peer) || doubtful.contains(&peer);
                match self.backup_standing(now, cx, wish, peer).filter(|_| !known) {
                    Some(Chain::Clean) => clean.push(peer),
                    Some(Chain::Doubtful) => doubtful.push(peer),
                    Some(Chain::Below) | None => {}
                }
            }
            clean.len() < wanted
        };
        let known = self.backups.list.iter().copied().chain(grandparent).collect();
        if consider(known)
            && consider(self.with_query(now, cx, wish, |query| choice::sample(query, 2 * wanted, &mut rng)))
        {
            consider(self.with_query(now, cx, wish, |query| choice::survey(query, wanted, &mut rng)).drawn);
            consider(siblings);
        }
        // The grandparent hears first that the parent is gone, and has its slot.
        if let Some(index) = clean.iter().position(|peer| Some(*peer) == grandparent) {
            clean.swap(0, index);
        }
        clean.truncate(wanted);
        if clean.is_empty() {
            clean = doubtful;
            clean.truncate(wanted);
        }
        self.backups.list = clean;
        self.warm_backups(now, cx);
    }

    /// How a backup is fed; `None` if it cannot be one.
    fn backup_standing(&self, now: Instant, cx: &Context<'_>, wish: Wish, peer: PeerId) -> Option<Chain> {
        let unusable = peer == self.me
            || self.parent() == Some(peer)
            || self.children.contains_key(&peer)
            || cx.links.silent(&peer);
        let failed = !cx.links.linked(&peer)
            && !self.backups.list.contains(&peer)
            && self.backups.asked.get(&peer).is_some_and(|until| *until > now);
        if unusable || failed {
            return None;
        }
        let row = cx.peers.live(&peer)?;
        let entry = row.tracks.get(&self.track)?;
        let fits = entry.depth? <= wish.deepest && row.capacity > 0 && Source::of(peer, entry) == Some(wish.source);
        let chain = || self.with_query(now, cx, wish, |query| choice::chain(query, peer));
        fits.then(chain)
    }

    fn warm_backups(&mut self, now: Instant, cx: &Context<'_>) {
        self.backups.asked.retain(|_, until| *until > now);
        for peer in self.backups.list.clone() {
            let asked = self.backups.asked.contains_key(&peer);
            if !cx.links.linked(&peer) && !asked && self.backups.asked.len() < ASKED_MAX {
                self.backups.asked.insert(peer, now + self.config.refused_for);
                self.push(Output::Connect { peer });
            }
        }
    }
}
