//! What a machine does: its clock jumps, its disk is full, its files run out.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Bench, Row, WHOLE, whole};
use crate::{
    lab::{Done, Lab},
    stage::Stage,
    stream::Load,
};

/// Where distributions put the library that shows a process another time.
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// A relay's clock goes forward by an hour, then back by two; the monotonic one goes on, as it does in a real jump.
pub(super) fn clock(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let name = "a relay's clock set forward by an hour, then back by two";
    let Some(library) = FAKETIME.iter().map(PathBuf::from).find(|path| path.exists()) else {
        return Ok(vec![Row::skipped(name, WHOLE, "there is no libfaketime here")]);
    };
    let mut lab = Lab::new(bench.banyan, 8)?;
    let offsets: Vec<PathBuf> = (1..=8).map(|host| lab.folder.path().join(format!("clock{host}"))).collect();
    for (node, offset) in lab.nodes.iter_mut().zip(&offsets) {
        fs::write(offset, "+0")?;
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        node.spec.environment = vec![
            set("LD_PRELOAD", &library.to_string_lossy()),
            set("FAKETIME_TIMESTAMP_FILE", &offset.to_string_lossy()),
            set("FAKETIME_NO_CACHE", "1"),
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
    }
    lab.start()?;
    let stage = Stage::on(lab, Load { size: 500, ..Load::VIDEO })?;
    let relay = stage.relay()?;
    let lost = |stage: &Stage| stage.lab.nodes.iter().map(|node| node.events(&["peer_lost"]).len()).sum::<usize>();
    let blames = ["parent_silent", "withheld"];
    let (before, moves) = (lost(&stage), stage.changes_of_parents(&blames));
    stage.forget_pauses();
    for offset in ["+3600", "-3600"] {
        fs::write(&offsets[usize::from(relay) - 1], offset)?;
        stage.run(5.0);
    }
    let (deaths, moves) = (lost(&stage) - before, stage.changes_of_parents(&blames) - moves);
    // A new life of it begins with a clock that is behind.
    let mut stage = stage;
    stage.lab.node(relay).kill();
    stage.run(0.5);
    stage.lab.node(relay).start()?;
    stage.everyone_gets_more(Duration::from_secs(30))?;
    let (outcome, _lab) = stage.end()?;
    Ok(vec![
        Row::new(
            name,
            "nobody is declared dead, no parent is taken for silent",
            format!("{deaths} deaths, {moves} moves"),
            deaths + moves == 0,
        ),
        whole(name, &outcome),
    ])
}

/// A file system of one megabyte, unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Done<Self> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "banyan"]).arg(at).status()?;
        if mounted.success() { Ok(Self(at.to_owned())) } else { Err("cannot mount a file system".into()) }
    }

    fn fill(&self) -> Done {
        let mut file = File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk of a relay's state is full.
pub(super) fn disk(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let name = "the disk of a node's state is full";
    let mut lab = Lab::new(bench.banyan, 8)?;
    let victim = 5_u8;
    let disk = SmallDisk::mount(&lab.node(victim).spec.data_dir)?;
    lab.start()?;
    let mut stage = Stage::on(lab, Load::VIDEO)?;
    disk.fill()?;
    stage.run(3.0);
    stage.everyone_gets_more(Duration::from_secs(10))?;
    let node = stage.lab.node(victim);
    node.kill();
    node.start()?;
    let code = node.ended();
    let said = fs::read_to_string(node.log())?;
    let said = said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or("nothing").to_owned();
    fs::remove_file(disk.0.join("filler"))?;
    stage.lab.node(victim).start()?;
    stage.everyone_gets_more(Duration::from_secs(30))?;
    let (outcome, lab) = stage.end()?;
    drop(lab);
    Ok(vec![
        whole(name, &outcome),
        Row::new(name, "started then, it ends at once and says why; with room again it starts", said, code == Some(1)),
    ])
}

/// Files that the node may have open.
const FILES: usize = 96;

/// A node that may open few files, and somebody who takes them all.
pub(super) fn files(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let name = "a node without free file descriptors (96 in all)";
    let mut lab = Lab::new(bench.banyan, 8)?;
    let victim = 5_u8;
    let before = &mut lab.node(victim).spec.before;
    before.extend(["sh", "-c", &format!("ulimit -n {FILES}; exec \"$@\""), "sh"].map(str::to_owned));
    lab.start()?;
    let stage = Stage::on(lab, Load::VIDEO)?;
    let node = &stage.lab.nodes[usize::from(victim) - 1];
    let socket = node.spec.socket.clone();
    let mut taken: Vec<UnixStream> = (0..200).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    stage.run(2.0);
    let open = node.open_files();
    let cpu = node.cpu();
    stage.run(5.0);
    let busy = (node.cpu() - cpu).as_secs_f64() / 5.0;
    let alive = node.pid().is_some();
    taken.clear();
    let answers = crate::node::eventually(Duration::from_secs(20), || node.view("/v1/status").ok()).is_some();
    stage.everyone_gets_more(Duration::from_secs(30))?;
    let (outcome, _lab) = stage.end()?;
    Ok(vec![
        whole(name, &outcome),
        Row::new(
            name,
            "it does not spin (less than half a core), and answers when files are free again",
            format!("{open} files open, {:.0} % of a core", busy * 100.0),
            alive && answers && busy < 0.5,
        ),
    ])
}
