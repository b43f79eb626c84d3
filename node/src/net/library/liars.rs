//! Real nodes, of which one answers wrongly about a package that others have, too.

use std::{fs, io, path::Path, time::Duration};

use futures::{AsyncWrite, AsyncWriteExt};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{batch::Batch, *};
use crate::{
    Node,
    library::{
        catalog::Entry,
        manifest::{FileEntry, MODE_FILE, Manifest},
        path::PackagePath,
        piece::{FileHasher, PIECE_BYTES},
        serve::BLOCK_BYTES,
        wire::{Answer, BLOCK_HEAD_BYTES, Block, HEAD_BYTES, Head, Kind as Frame, put_chunk},
    },
};

/// What a node does to its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lie {
    #[default]
    Nothing,
    /// It answers nothing until it does something else.
    Waits,
    /// The same, but for manifests and what it has.
    WaitsWithPieces,
    /// A bit of each block is another.
    Flips,
    /// It does so, and closes the stream after each piece.
    FlipsAndLeaves,
    /// Each piece lacks its last block.
    EndsEarly,
    /// Each piece has a byte too many.
    RunsOver,
    /// A block is longer than any may be.
    LongBlock,
    /// Each piece is called by another's number.
    OtherPiece,
    /// Each piece is called by a number that none has.
    NoSuchPiece,
    /// It sends what it has sent again and again.
    Repeats,
    /// It begins with a piece and says nothing more.
    Stalls,
    /// It sends the manifest of another package, which has another size.
    OtherManifest,
    /// It announces a manifest that is larger than any may be.
    LongManifest,
}

/// What a node does to its answers, and what it has done.
#[derive(Debug, Default)]
pub(super) struct Liar {
    lie: Mutex<Lie>,
    changed: Notify,
    told: Mutex<Told>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    /// Pieces that it has begun to send.
    pieces: u32,
    manifests: u32,
    /// Bytes that it has repeated.
    repeated_bytes: u64,
    /// It has stopped to repeat, because nobody listens.
    stopped: bool,
}

/// Notes that it has stopped to repeat, also when what it does is dropped with its stream.
struct Ends<'a>(&'a Mutex<Told>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        lock(self.0).stopped = true;
    }
}

impl Liar {
    fn set(&self, lie: Lie) {
        *lock(&self.lie) = lie;
        *lock(&self.told) = Told::default();
        self.changed.notify_waiters();
    }

    /// What is written to who asks in place of these frames.
    pub(super) async fn change(&self, out: Batch, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<Batch> {
        let has_blocks = frames(&out.bytes[..out.filled]).iter().any(|(head, _)| head.kind == Frame::Block);
        let lie = loop {
            let changed = self.changed.notified();
            match *lock(&self.lie) {
                Lie::Nothing => return Ok(out),
                Lie::WaitsWithPieces if !has_blocks => return Ok(out),
                Lie::Waits | Lie::WaitsWithPieces => {}
                lie => break lie,
            }
            changed.await;
        };
        let mut said = Vec::new();
        for (head, frame) in frames(&out.bytes[..out.filled]) {
            if head.kind != Frame::Block {
                self.put_other(lie, head, frame, &mut said);
                continue;
            }
            let (block, bytes) = block(frame);
            self.put_block(lie, block, bytes, &mut said);
            if lie == Lie::FlipsAndLeaves && is_last(block, bytes) {
                stream.write_all(&said).await?;
                stream.close().await?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
        if lie == Lie::Repeats && frames(&said).iter().any(|(head, _)| head.kind == Frame::Block) {
            let _ends = Ends(&self.told);
            while stream.write_all(&said).await.is_ok() {
                lock(&self.told).repeated_bytes += said.len() as u64;
            }
        }
        Ok(said.into())
    }

    fn put_block(&self, lie: Lie, block: Block, bytes: &[u8], said: &mut Vec<u8>) {
        let mut put = |block: Block, bytes: &[u8]| {
            block.put(said, bytes.len() as u32);
            said.extend_from_slice(bytes);
        };
        match lie {
            Lie::EndsEarly | Lie::Repeats if is_last(block, bytes) => return,
            Lie::Stalls if lock(&self.told).pieces > 0 => return,
            // What comes after a piece of one block would not be silence.
            Lie::Stalls if is_last(block, bytes) => {
                lock(&self.told).pieces += 1;
                return;
            }
            Lie::Flips | Lie::FlipsAndLeaves => {
                let mut bytes = bytes.to_vec();
                *bytes.last_mut().expect("a block has bytes") ^= 0x80;
                put(block, &bytes);
            }
            Lie::RunsOver if is_last(block, bytes) => {
                let (first, rest) = bytes.split_at(bytes.len() / 2);
                put(block, first);
                put(Block { offset: block.offset + first.len() as u32, ..block }, &[rest, &[7]].concat());
            }
            Lie::LongBlock => put(block, &[7; BLOCK_BYTES as usize + 1]),
            Lie::OtherPiece => put(Block { piece: block.piece ^ (PIECES / 2), ..block }, bytes),
            Lie::NoSuchPiece => put(Block { piece: block.piece + 1000, ..block }, bytes),
            _ => put(block, bytes),
        }
        if block.offset == 0 {
            lock(&self.told).pieces += 1;
        }
    }

    fn put_other(&self, lie: Lie, head: Head, frame: &[u8], said: &mut Vec<u8>) {
        let answer = (head.kind == Frame::Control).then(|| Answer::decode(&frame[HEAD_BYTES..]).expect("own words"));
        match (lie, answer) {
            (Lie::Stalls, Some(Answer::End(_))) => {}
            // The set of pieces takes less.
            (Lie::OtherManifest, Some(Answer::Blob(id, 65..))) => {
                let other = manifest(&content(PIECE_BYTES as usize + 5)).encode();
                Answer::Blob(id, other.len() as u64).put(said);
                put_chunk(said, id, &other);
                lock(&self.told).manifests += 1;
            }
            (Lie::OtherManifest, None) if frame.len() > 2 * HEAD_BYTES + 64 => {}
            (Lie::LongManifest, Some(Answer::Blob(id, 65..))) => {
                Answer::Blob(id, u64::MAX).put(said);
                lock(&self.told).manifests += 1;
            }
            _ => said.extend_from_slice(frame),
        }
    }
}

/// A block of a piece, and its bytes.
fn block(frame: &[u8]) -> (Block, &[u8]) {
    let (fields, bytes) = frame[HEAD_BYTES..].split_first_chunk::<BLOCK_HEAD_BYTES>().expect("a block has fields");
    (Block::decode(*fields), bytes)
}

const fn is_last(block: Block, bytes: &[u8]) -> bool {
    bytes.len() < BLOCK_BYTES as usize || block.offset + BLOCK_BYTES == PIECE_BYTES
}

/// The frames in these bytes: how each begins, and all of it.
fn frames(mut bytes: &[u8]) -> Vec<(Head, &[u8])> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.first_chunk() {
        let head = Head::decode(*head).expect("a frame of one's own");
        let (frame, rest) = bytes.split_at(HEAD_BYTES + head.bytes as usize);
        frames.push((head, frame));
        bytes = rest;
    }
    frames
}

/// Pieces of the file of the package.
const PIECES: u32 = 8;
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// More than fits into all buffers between two nodes, and far less than goes over a link until it is idle.
const REPEATED_BYTES_MAX: u64 = 96 << 20;

async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let checking = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, checking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Bytes of which no two pieces are the same.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn manifest(bytes: &[u8]) -> Manifest {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    let path = PackagePath::new("large.bin").expect("valid");
    Manifest::new(vec![FileEntry::new(path, MODE_FILE, hasher.finish())]).expect("valid")
}

struct Peer {
    node: Node,
    folder: TempDir,
}

impl Peer {
    async fn start(bootstrap: Option<&Self>, package: Option<&[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if let Some(bytes) = package {
            fs::create_dir(folder.path().join("set")).expect("makes a folder");
            fs::write(folder.path().join("set/large.bin"), bytes).expect("writes");
            fs::write(folder.path().join("set/version.ini"), "name=set\nversion=1\n").expect("writes");
        }
        let mut builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").library(folder.path());
        if let Some(other) = bootstrap {
            let address = async || other.node.status().await.expect("it runs").addresses.into_iter().next();
            builder = builder.bootstrap(until("it listens", address).await);
        }
        Self { node: builder.start().await.expect("it starts"), folder }
    }

    /// Waits until so many others are known to have the package.
    async fn sees(&self, peers: usize) {
        until("the sources are known", async || {
            let titles = self.library().view().await.expect("it runs").titles;
            titles.iter().any(|title| title.name == "set" && title.peers == peers).then_some(())
        })
        .await;
    }

    fn library(&self) -> Library {
        self.node.library().expect("it shares a folder")
    }

    fn shared(&self) -> Arc<Shared> {
        self.library().shared
    }
}

/// One that lies and two that do not, all with the same package.
struct World {
    original: Vec<u8>,
    honest: [Peer; 2],
    liar: Peer,
}

/// What became of a job beside a liar.
struct Outcome {
    /// What is said of the liar.
    state: String,
    told: Told,
}

impl World {
    async fn start() -> Self {
        let original = content((PIECES * PIECE_BYTES) as usize);
        let first = Peer::start(None, Some(&original)).await;
        let second = Peer::start(Some(&first), Some(&original)).await;
        let liar = Peer::start(Some(&first), Some(&original)).await;
        for peer in [&first, &second, &liar] {
            peer.sees(2).await;
        }
        Self { original, honest: [first, second], liar }
    }

    /// A node that knows all three.
    async fn target(&self) -> Peer {
        let target = Peer::start(Some(&self.honest[0]), None).await;
        target.sees(3).await;
        target
    }

    /// Fetches the package while one source lies; the others wait until that is `seen` in what is said of the liar, so
    /// that it has its turn.
    async fn fetch(&self, target: &Peer, lie: Lie, waiting: Lie, seen: impl Fn(&str, Told) -> bool) -> Outcome {
        self.honest.iter().for_each(|honest| honest.shared().liar.set(waiting));
        let liar = self.liar.shared();
        liar.liar.set(lie);
        let library = target.library();
        let job = library.get(&"set".into(), false).await.expect("it begins");
        let look = async || {
            let view = library.job(job.id).await.expect("it is known");
            self.assert_unspoilt(target.folder.path());
            view
        };
        let name = self.liar.node.peer_id().to_string();
        let state = |view: &JobView| {
            let source = view.sources.iter().find(|source| source.peer_id == name);
            source.map_or_else(String::new, |source| source.state.clone())
        };
        until(&format!("the liar is seen: {lie:?}"), async || {
            let view = look().await;
            let is_seen = seen(&state(&view), *lock(&liar.liar.told));
            assert!(is_seen || view.state != "done", "{lie:?}: the liar was not asked");
            is_seen.then_some(())
        })
        .await;
        self.honest.iter().for_each(|honest| honest.shared().liar.set(Lie::Nothing));
        let view = until("the job ends", async || {
            let view = look().await;
            (!matches!(&*view.state, "running" | "waiting")).then_some(view)
        })
        .await;
        assert_eq!(view.state, "done", "{lie:?}: {:?}", view.error);
        let found = fs::read(target.folder.path().join("set/large.bin")).expect("it is there");
        assert!(found == self.original, "{lie:?}");
        for source in &view.sources {
            let is_liar = source.peer_id == name;
            assert!(if is_liar { source.bytes == 0 } else { !is_left_out(&source.state) }, "{lie:?}: {view:?}");
        }
        let told = *lock(&liar.liar.told);
        *lock(&liar.liar.lie) = Lie::Nothing;
        Outcome { state: state(&view), told }
    }

    /// Below a folder no byte of the package is wrong: what is in place is whole, and what is staged is right or not
    /// written yet.
    fn assert_unspoilt(&self, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            // What is put in place goes while it is looked at.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                } else if entry.file_name() == "large.bin" {
                    let Ok(found) = fs::read(entry.path()) else { continue };
                    let staged = entry.path().components().any(|part| part.as_os_str() == ".banyan");
                    let right = |(found, right): (&[u8], &[u8])| {
                        found == right || (staged && found.iter().zip(right).all(|(a, b)| a == b || *a == 0))
                    };
                    let mut blocks = found.chunks(1 << 16).zip(self.original.chunks(1 << 16));
                    assert!(blocks.all(right), "{} has a wrong byte", entry.path().display());
                    assert!(staged || found.len() == self.original.len(), "{} is not whole", entry.path().display());
                }
            }
        }
    }
}

fn is_left_out(state: &str) -> bool {
    state.starts_with("quarantined: ")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_wrong_pieces_is_left_out_after_two_and_the_others_bring_all_d6() {
    let world = World::start().await;
    for (lie, what) in [
        (Lie::Flips, "it sent pieces that do not match their hash"),
        (Lie::FlipsAndLeaves, "it sent pieces that do not match their hash"),
        (Lie::EndsEarly, "it broke the protocol"),
        (Lie::RunsOver, "it broke the protocol"),
        (Lie::LongBlock, "it broke the protocol"),
        (Lie::OtherPiece, "it "),
        (Lie::NoSuchPiece, "it broke the protocol"),
        (Lie::Repeats, "it "),
    ] {
        let target = world.target().await;
        let outcome = world.fetch(&target, lie, Lie::WaitsWithPieces, |state, _| is_left_out(state)).await;
        let Outcome { state, told } = outcome;
        assert!(state.starts_with(&format!("quarantined: {what}")), "{lie:?}: {state}");
        assert!((1..=2).contains(&told.pieces), "{lie:?}: {told:?}");
        if lie == Lie::Repeats {
            let told = until("nobody listens to the liar any more", async || {
                Some(*lock(&world.liar.shared().liar.told)).filter(|told| told.stopped)
            })
            .await;
            assert!(told.repeated_bytes < REPEATED_BYTES_MAX, "{told:?}");
        }
        target.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_requests_and_stalls_holds_up_nobody_d5() {
    let world = World::start().await;
    let target = world.target().await;
    let outcome = world.fetch(&target, Lie::Stalls, Lie::WaitsWithPieces, |state, _| state == "stalled").await;
    assert_eq!(outcome.state, "stalled");
    assert!(outcome.told.pieces > 0);
    target.node.shutdown().await;
    // One that answers nothing at all, not even with a manifest.
    let target = world.target().await;
    let outcome = world.fetch(&target, Lie::Waits, Lie::Nothing, |_, _| true).await;
    assert_eq!(outcome.state, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_a_manifest_or_a_size_is_left_out_and_the_others_bring_all_d6() {
    let world = World::start().await;
    for lie in [Lie::OtherManifest, Lie::LongManifest] {
        let target = world.target().await;
        let outcome = world.fetch(&target, lie, Lie::Waits, |_, told| told.manifests > 0).await;
        assert_eq!(outcome.state, "quarantined: it broke the protocol", "{lie:?}");
        assert_eq!(outcome.told.pieces, 0, "{lie:?}");
        target.node.shutdown().await;
    }
    let target = world.target().await;
    let liar = world.liar.shared();
    let package = {
        let mut state = lock(&liar.state);
        let entry = |entry: &Entry| Entry { bytes: entry.bytes + 1, ..entry.clone() };
        let entries = state.announced.entries().iter().map(entry).collect();
        state.announced = Catalog::new(state.announced.revision() + 1, entries).expect("valid");
        state.announced.entries()[0].package
    };
    liar.offer.notify_one();
    let manifest = Arc::clone(liar.held(package).expect("it is there").manifest());
    until("the wrong size is known", async || lock(&target.shared().state).merged.misstating(&manifest).next()).await;
    let outcome = world.fetch(&target, Lie::Flips, Lie::WaitsWithPieces, |state, _| is_left_out(state)).await;
    assert_eq!((&*outcome.state, outcome.told.pieces), ("quarantined: it broke the protocol", 0));
}
