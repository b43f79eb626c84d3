//! A disk in memory that can stop, fail and lose power at every operation.
//!
//! It holds two images: the live one, which the running program sees, and the durable one with the
//! changes since. [`SimStore::lose_power`] keeps any subset of these changes, as the contract of
//! [`Store`](super::Store) allows.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Access, DirEntry, Kind, Metadata, Store, StoreError, parts};

type Inode = u64;
const ROOT: Inode = 0;

/// What happens at the operation with the number `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It and all that follow fail without effect.
    StopBefore,
    /// It takes effect; it and all that follow report a failure.
    StopAfter,
    /// It fails once: no space. A write is done by half.
    Full,
    /// It fails once: the disk. A write is done by half, a failed sync loses what it should have kept.
    Io,
}

/// Which of the changes that were not synced outlive the loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    None,
    All,
    /// The files' content, but no names.
    Content,
    /// The names, but not the files' content.
    Names,
    /// Each on its own by chance; writes also in part.
    Random(u64),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Content {
    bytes: Vec<u8>,
    executable: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
    Executable(bool),
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
                self.bytes[start..end].copy_from_slice(bytes);
            }
            Change::Len(len) => self.bytes.resize(*len as usize, 0),
            Change::Executable(executable) => self.executable = *executable,
        }
    }
}

#[derive(Debug, Clone)]
enum Node {
    File {
        live: Content,
        durable: Content,
        /// Since the last sync, in order.
        changes: Vec<Change>,
        modified: u64,
    },
    Dir {
        live: BTreeMap<String, Inode>,
        /// With the number of the change that each comes from.
        durable: BTreeMap<String, (u64, Option<Inode>)>,
    },
}

/// Names that change together.
#[derive(Debug, Clone)]
struct NameChange {
    number: u64,
    sets: Vec<(Inode, String, Option<Inode>)>,
}

#[derive(Debug, Clone)]
struct Disk {
    nodes: BTreeMap<Inode, Node>,
    names: Vec<NameChange>,
    next: u64,
    operations: u64,
    fault: Option<Fault>,
    stopped: bool,
    space: u64,
}

/// See the module. Clones are the same disk; [`SimStore::fork`] makes another.
#[derive(Debug, Clone)]
pub(crate) struct SimStore(Arc<Mutex<Disk>>);

/// An open file.
#[derive(Debug)]
pub(crate) struct SimFile(Inode, String);

impl SimStore {
    pub(crate) fn new() -> Self {
        let root = Node::Dir { live: BTreeMap::new(), durable: BTreeMap::new() };
        Self(Arc::new(Mutex::new(Disk {
            nodes: BTreeMap::from([(ROOT, root)]),
            names: Vec::new(),
            next: 1,
            operations: 0,
            fault: None,
            stopped: false,
            space: u64::MAX,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("nothing panics while it is held")
    }

    /// A copy that goes its own way: nothing stopped, no fault planned.
    pub(crate) fn fork(&self) -> Self {
        let mut disk = self.disk().clone();
        (disk.stopped, disk.fault) = (false, None);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Operations so far; the next one has this number.
    pub(crate) fn operations(&self) -> u64 {
        self.disk().operations
    }

    pub(crate) fn plan(&self, fault: Fault) {
        self.disk().fault = Some(fault);
    }

    /// Bytes that may still be written.
    pub(crate) fn limit_space(&self, bytes: u64) {
        self.disk().space = bytes;
    }

    /// What is there after the power has come back.
    pub(crate) fn lose_power(&self, keep: Keep) -> Self {
        let mut disk = self.disk().clone();
        disk.lose_power(keep);
        Self(Arc::new(Mutex::new(disk)))
    }

    /// A hash of all that is seen.
    pub(crate) fn image(&self) -> [u8; 32] {
        let disk = self.disk();
        let mut hasher = blake3::Hasher::new();
        let mut rest = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = rest.pop() {
            hasher.update(path.as_bytes()).update(&[0]);
            match &disk.nodes[&inode] {
                Node::File { live, .. } => {
                    hasher.update(&[1, live.executable.into()]).update(blake3::hash(&live.bytes).as_bytes());
                }
                Node::Dir { live, .. } => {
                    rest.extend(live.iter().map(|(name, inode)| (format!("{path}/{name}"), *inode)));
                }
            }
        }
        hasher.finalize().into()
    }

    /// Makes all durable.
    pub(crate) fn settle(&self) {
        self.disk().lose_power(Keep::All);
    }
}

impl Disk {
    fn lose_power(&mut self, keep: Keep) {
        let mut rng = fastrand::Rng::with_seed(if let Keep::Random(seed) = keep { seed } else { 0 });
        for change in std::mem::take(&mut self.names) {
            let kept = match keep {
                Keep::None | Keep::Content => false,
                Keep::All | Keep::Names => true,
                Keep::Random(_) => rng.bool(),
            };
            if kept {
                self.make_durable(&change);
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File { live, durable, changes, .. } => {
                    for mut change in changes.drain(..) {
                        let kept = match keep {
                            Keep::None | Keep::Names => false,
                            Keep::All | Keep::Content => true,
                            Keep::Random(_) => rng.bool(),
                        };
                        if let (Keep::Random(_), Change::Write(_, bytes)) = (keep, &mut change)
                            && rng.bool()
                        {
                            bytes.truncate(rng.usize(0..=bytes.len()));
                        }
                        if kept {
                            durable.apply(&change);
                        }
                    }
                    *live = durable.clone();
                }
                Node::Dir { live, durable } => {
                    durable.retain(|_, (_, inode)| inode.is_some());
                    *live = durable.iter().filter_map(|(name, (_, inode))| Some((name.clone(), (*inode)?))).collect();
                }
            }
        }
        (self.stopped, self.fault, self.space) = (false, None, u64::MAX);
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (dir, name, inode) in &change.sets {
            if let Some(Node::Dir { durable, .. }) = self.nodes.get_mut(dir) {
                let entry = durable.entry(name.clone()).or_insert((change.number, *inode));
                if entry.0 <= change.number {
                    *entry = (change.number, *inode);
                }
            }
        }
    }

    /// Counts an operation and does it, unless a fault is planned for it.
    fn operate<T>(
        &mut self,
        path: &str,
        effect: impl FnOnce(&mut Self) -> Result<T, StoreError>,
        broken: impl FnOnce(&mut Self),
    ) -> Result<T, StoreError> {
        let failed = |what: &'static str| Err(StoreError::Io { path: path.to_owned(), source: io::Error::other(what) });
        let number = self.operations;
        self.operations += 1;
        if self.stopped {
            return failed("stopped");
        }
        match self.fault.filter(|fault| fault.at == number).map(|fault| fault.what) {
            None => effect(self),
            Some(What::StopBefore) => {
                self.stopped = true;
                failed("stopped")
            }
            Some(What::StopAfter) => {
                let _outcome = effect(self);
                self.stopped = true;
                failed("stopped")
            }
            Some(What::Full) => {
                broken(self);
                Err(StoreError::Full(path.to_owned()))
            }
            Some(What::Io) => {
                broken(self);
                failed("broken")
            }
        }
    }

    /// `None`: nothing is there. Fails where a part before the last is no folder.
    fn find(&self, path: &str) -> Result<Option<Inode>, StoreError> {
        let mut inode = ROOT;
        for part in parts(path)? {
            let Node::Dir { live, .. } = &self.nodes[&inode] else {
                return Err(StoreError::WrongKind(path.to_owned(), "folder"));
            };
            match live.get(part) {
                Some(found) => inode = *found,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    fn existing(&self, path: &str) -> Result<Inode, StoreError> {
        self.find(path)?.ok_or_else(|| StoreError::NotFound(path.to_owned()))
    }

    /// The folder that a path is in, and the last part of the path.
    fn place(&self, path: &str) -> Result<(Inode, String), StoreError> {
        let name = parts(path)?.pop().ok_or_else(|| StoreError::BadPath(path.to_owned()))?.to_owned();
        let dir = self.existing(super::ops::parent(path))?;
        match &self.nodes[&dir] {
            Node::Dir { .. } => Ok((dir, name)),
            Node::File { .. } => Err(StoreError::WrongKind(path.to_owned(), "folder")),
        }
    }

    fn entries(&self, path: &str, inode: Inode) -> Result<&BTreeMap<String, Inode>, StoreError> {
        match &self.nodes[&inode] {
            Node::Dir { live, .. } => Ok(live),
            Node::File { .. } => Err(StoreError::WrongKind(path.to_owned(), "folder")),
        }
    }

    fn is_dir(&self, inode: Inode) -> bool {
        matches!(self.nodes[&inode], Node::Dir { .. })
    }

    fn set_names(&mut self, sets: Vec<(Inode, String, Option<Inode>)>) {
        for (dir, name, inode) in &sets {
            if let Some(Node::Dir { live, .. }) = self.nodes.get_mut(dir) {
                match inode {
                    Some(inode) => live.insert(name.clone(), *inode),
                    None => live.remove(name),
                };
            }
        }
        self.next += 1;
        self.names.push(NameChange { number: self.next, sets });
    }

    fn create(&mut self, path: &str, node: Node) -> Result<Inode, StoreError> {
        let (dir, name) = self.place(path)?;
        if self.find(path)?.is_some() {
            return Err(StoreError::Exists(path.to_owned()));
        }
        self.next += 1;
        let inode = self.next;
        self.nodes.insert(inode, node);
        self.set_names(vec![(dir, name, Some(inode))]);
        Ok(inode)
    }

    fn change(&mut self, inode: Inode, change: Change) {
        let now = self.operations;
        if let Some(Node::File { live, changes, modified, .. }) = self.nodes.get_mut(&inode) {
            live.apply(&change);
            *modified = now;
            changes.push(change);
        }
    }

    fn write(&mut self, file: &SimFile, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let fits = bytes.len().min(usize::try_from(self.space).unwrap_or(usize::MAX));
        self.space -= fits as u64;
        self.change(file.0, Change::Write(offset, bytes[..fits].to_vec()));
        if fits < bytes.len() { Err(StoreError::Full(file.1.clone())) } else { Ok(()) }
    }
}

impl Store for SimStore {
    type File = SimFile;

    fn open(&self, path: &str, access: Access) -> Result<SimFile, StoreError> {
        let effect = |disk: &mut Disk| {
            let inode = if access == Access::Create {
                let (live, durable) = (Content::default(), Content::default());
                let modified = disk.operations;
                disk.create(path, Node::File { live, durable, changes: Vec::new(), modified })?
            } else {
                disk.existing(path)?
            };
            if disk.is_dir(inode) {
                return Err(StoreError::WrongKind(path.to_owned(), "file"));
            }
            Ok(SimFile(inode, path.to_owned()))
        };
        self.disk().operate(path, effect, |_| {})
    }

    fn read_at(&self, file: &SimFile, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let effect = |disk: &mut Disk| {
            let Node::File { live, .. } = &disk.nodes[&file.0] else { unreachable!("only files are opened") };
            let rest = live.bytes.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        };
        self.disk().operate(&file.1, effect, |_| {})
    }

    fn write_at(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let half = |disk: &mut Disk| {
            let _outcome = disk.write(file, offset, &bytes[..bytes.len() / 2]);
        };
        self.disk().operate(&file.1, |disk| disk.write(file, offset, bytes), half)
    }

    fn set_len(&self, file: &SimFile, len: u64) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            disk.change(file.0, Change::Len(len));
            Ok(())
        };
        self.disk().operate(&file.1, effect, |_| {})
    }

    fn set_executable(&self, file: &SimFile, executable: bool) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            disk.change(file.0, Change::Executable(executable));
            Ok(())
        };
        self.disk().operate(&file.1, effect, |_| {})
    }

    fn sync(&self, file: &SimFile) -> Result<(), StoreError> {
        let sync = |disk: &mut Disk, works: bool| {
            if let Some(Node::File { durable, changes, .. }) = disk.nodes.get_mut(&file.0) {
                for change in changes.drain(..).filter(|_| works) {
                    durable.apply(&change);
                }
            }
        };
        let effect = |disk: &mut Disk| {
            sync(disk, true);
            Ok(())
        };
        self.disk().operate(&file.1, effect, |disk| sync(disk, false))
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, StoreError> {
        let effect = |disk: &mut Disk| {
            let Some(inode) = disk.find(path)? else { return Ok(None) };
            let metadata = match &disk.nodes[&inode] {
                Node::File { live, modified, .. } => Metadata {
                    kind: Kind::File,
                    size: live.bytes.len() as u64,
                    executable: live.executable,
                    modified_ns: i128::from(*modified),
                    inode,
                },
                Node::Dir { .. } => Metadata { kind: Kind::Dir, size: 0, executable: false, modified_ns: 0, inode },
            };
            Ok(Some(metadata))
        };
        self.disk().operate(path, effect, |_| {})
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, StoreError> {
        let effect = |disk: &mut Disk| {
            let names = disk.entries(dir, disk.existing(dir)?)?.keys();
            Ok(names.map(|name| DirEntry { name: name.clone(), nameable: true }).collect())
        };
        self.disk().operate(dir, effect, |_| {})
    }

    fn create_dir(&self, path: &str) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            disk.create(path, Node::Dir { live: BTreeMap::new(), durable: BTreeMap::new() }).map(|_| ())
        };
        self.disk().operate(path, effect, |_| {})
    }

    fn sync_dir(&self, path: &str) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            let dir = disk.existing(path)?;
            disk.entries(path, dir)?;
            let (synced, rest) = std::mem::take(&mut disk.names)
                .into_iter()
                .partition(|change: &NameChange| change.sets.iter().any(|(touched, ..)| *touched == dir));
            disk.names = rest;
            synced.iter().for_each(|change| disk.make_durable(change));
            Ok(())
        };
        self.disk().operate(path, effect, |_| {})
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            let inode = disk.existing(from)?;
            let ((old_dir, old_name), (new_dir, new_name)) = (disk.place(from)?, disk.place(to)?);
            if to.starts_with(&format!("{from}/")) {
                return Err(StoreError::BadPath(to.to_owned()));
            }
            if let Some(taken) = disk.find(to)?
                && (disk.is_dir(inode) || disk.is_dir(taken))
            {
                return Err(StoreError::Exists(to.to_owned()));
            }
            disk.set_names(vec![(old_dir, old_name, None), (new_dir, new_name, Some(inode))]);
            Ok(())
        };
        self.disk().operate(from, effect, |_| {})
    }

    fn remove_file(&self, path: &str) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            if disk.is_dir(disk.existing(path)?) {
                return Err(StoreError::WrongKind(path.to_owned(), "file"));
            }
            let (dir, name) = disk.place(path)?;
            disk.set_names(vec![(dir, name, None)]);
            Ok(())
        };
        self.disk().operate(path, effect, |_| {})
    }

    fn remove_dir(&self, path: &str) -> Result<(), StoreError> {
        let effect = |disk: &mut Disk| {
            let inode = disk.existing(path)?;
            if !disk.entries(path, inode)?.is_empty() {
                return Err(StoreError::NotEmpty(path.to_owned()));
            }
            let (dir, name) = disk.place(path)?;
            disk.set_names(vec![(dir, name, None)]);
            Ok(())
        };
        self.disk().operate(path, effect, |_| {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::store::{read_all, replace_file, write_new};

    #[test]
    fn simulated_disk_keeps_the_contract() {
        super::super::conformance::check(&SimStore::new());
    }

    #[test]
    fn nothing_unsynced_is_sure_to_outlive_a_loss_of_power() {
        let disk = SimStore::new();
        write_new(&disk, "a", b"first").expect("writes");
        assert!(disk.lose_power(Keep::None).metadata("a").expect("looks").is_none());
        disk.sync_dir("").expect("syncs");
        let file = disk.open("a", Access::Write).expect("opens");
        disk.write_at(&file, 0, b"FIRST").expect("writes");
        disk.rename("a", "b").expect("renames");
        let read = |keep, path| read_all(&disk.lose_power(keep), path, 99).expect("reads");
        assert_eq!(read(Keep::None, "a").as_deref(), Some(&b"first"[..]));
        assert_eq!(read(Keep::All, "b").as_deref(), Some(&b"FIRST"[..]));
        assert_eq!(read(Keep::Content, "a").as_deref(), Some(&b"FIRST"[..]));
        assert_eq!(read(Keep::Names, "b").as_deref(), Some(&b"first"[..]));
        assert_eq!(read(Keep::Names, "a"), None);
    }

    #[test]
    fn failed_sync_loses_what_it_should_have_kept() {
        let disk = SimStore::new();
        let file = disk.open("a", Access::Create).expect("opens");
        disk.sync_dir("").expect("syncs");
        disk.write_at(&file, 0, b"x").expect("writes");
        disk.plan(Fault { at: disk.operations(), what: What::Io });
        assert!(disk.sync(&file).is_err());
        disk.sync(&file).expect("succeeds, and lies");
        assert_eq!(read_all(&disk.lose_power(Keep::All), "a", 9).expect("reads"), Some(Vec::new()));
    }

    #[test]
    fn replaced_file_is_old_or_new_after_every_crash() {
        let mut points = 0;
        for what in [What::StopBefore, What::StopAfter] {
            for at in 0.. {
                let disk = SimStore::new();
                replace_file(&disk, "a", b"old").expect("writes");
                let first = disk.operations();
                disk.plan(Fault { at: first + at, what });
                let done = replace_file(&disk, "a", b"new").is_ok();
                for keep in (0..8).map(Keep::Random).chain([Keep::None, Keep::All, Keep::Content, Keep::Names]) {
                    let after = read_all(&disk.lose_power(keep), "a", 9).expect("reads").expect("is there");
                    assert!(after == b"new" || !done && after == b"old", "{what:?} {at} {keep:?}: {after:?}");
                    points += 1;
                }
                if done {
                    break;
                }
            }
        }
        assert!(points > 100, "{points}");
    }
}
