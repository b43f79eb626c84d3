//! How fast a package comes from one source, beside what else goes over one stream of the same transport: the same file, copied, and bytes
//! from memory to nowhere.
//!
//! `cargo run --release -p banyan-node --example library_copy -- [MIB] [FOLDER]`

use std::{
    env, fs, io,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use banyan_node::{
    MeshName, Node, Selector,
    net::host::{self, HostConfig, HostEvent, Limits},
};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::{sync::mpsc, task::block_in_place, time::sleep};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = env::args().skip(1);
    let mib: u64 = args.next().map_or(Ok(1024), |text| text.parse())?;
    let folder = args.next().map_or_else(env::temp_dir, PathBuf::from);
    let work = tempfile::tempdir_in(folder)?;
    let (a, b) = (work.path().join("a"), work.path().join("b"));
    write_package(&a.join("big"), mib)?;
    fs::create_dir_all(&b)?;
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let (stream, stream_cpu) = copy(mib, None).await?;
        let (file, file_cpu) = copy(mib, Some((&a.join("big/big.bin"), &work.path().join("copy")))).await?;
        let (fetched, committed, fetch_cpu) = fetch(&a, &b).await?;
        let cost = |cpu: f64| cpu * 1024.0 / mib as f64;
        let rate = |time: Duration| mib as f64 / time.as_secs_f64();
        ratios.push(rate(fetched) / rate(file));
        println!(
            "round {round}: stream {:.0} MiB/s, file {:.0}, package {:.0} fetched, {:.0} with commit: {:.2} of file, {:.2} of stream; \
             CPU {:.2}, {:.2} and {:.2} s a GiB at both ends; {}",
            rate(stream),
            rate(file),
            rate(fetched),
            rate(committed),
            rate(fetched) / rate(file),
            rate(fetched) / rate(stream),
            cost(stream_cpu),
            cost(file_cpu),
            cost(fetch_cpu),
            memory(),
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2} of file", ratios[ratios.len() / 2]);
    Ok(())
}

/// Seconds that all threads of this process have computed, by clock ticks of 10 ms.
fn cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    format!("{} {}", field("VmHWM"), field("VmRSS")).replace('\t', " ")
}

fn write_package(folder: &Path, mib: u64) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = io::BufWriter::new(fs::File::create(folder.join("big.bin"))?);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut block = vec![0; 1 << 20];
    rng.fill(&mut block);
    for number in 0..mib {
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block)?;
    }
    file.flush()?;
    fs::write(folder.join("version.ini"), "name=big\nversion=1\n")?;
    Ok(())
}

/// Bytes over one data stream, a file to a file or from memory to nowhere: how long that takes, and what it computes.
async fn copy(mib: u64, files: Option<(&Path, &Path)>) -> Result<(Duration, f64)> {
    let config = |listen: Vec<host::Multiaddr>| HostConfig {
        seed: std::array::from_fn(|_| fastrand::u8(..)),
        mesh: MeshName::new("copy").expect("valid"),
        listen,
        mdns: false,
        limits: Limits::default(),
        door: host::Door::default(),
    };
    let (reading, mut events) = host::start(config(vec!["/ip4/127.0.0.1/tcp/0".parse()?])).await?;
    let (writing, mut own_events) = host::start(config(Vec::new())).await?;
    tokio::spawn(async move { while own_events.recv().await.is_some() {} });
    let (streams, mut came) = mpsc::channel(1);
    let (addresses, mut address) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                HostEvent::Listening { address } => drop(addresses.try_send(address)),
                HostEvent::Data { stream, .. } => drop(streams.try_send(stream)),
                _ => {}
            }
        }
    });
    let address = address.recv().await.ok_or("it listens")?;
    let mut to = writing.open_data(reading.peer_id(), vec![address]).await?;
    let mut block = vec![7; 512 * 1024];
    to.write_all(&block[..1]).await?;
    to.flush().await?;
    let mut from = came.recv().await.ok_or("it comes")?;
    from.read_exact(&mut [0]).await?;
    let (mut source, mut target) = match files {
        Some((source, target)) => (Some(fs::File::open(source)?), Some(fs::File::create(target)?)),
        None => (None, None),
    };
    let (started, computed) = (Instant::now(), cpu()?);
    let total = mib << 20;
    let reader = tokio::spawn(async move {
        let (mut buffer, mut left) = (vec![0; 1 << 20], total);
        while left > 0 {
            match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    if let Some(target) = &mut target {
                        block_in_place(|| target.write_all(&buffer[..read]))?;
                    }
                    left -= read as u64;
                }
            }
        }
        io::Result::Ok(left)
    });
    for _ in 0..2 * mib {
        if let Some(source) = &mut source {
            block_in_place(|| source.read_exact(&mut block))?;
        }
        to.write_all(&block).await?;
        to.flush().await?;
    }
    if reader.await?? != 0 {
        return Err("bytes are missing".into());
    }
    let (took, computed) = (started.elapsed(), cpu()? - computed);
    if let Some((_, target)) = files {
        fs::remove_file(target)?;
    }
    writing.shutdown().await;
    reading.shutdown().await;
    Ok((took, computed))
}

/// How long a package takes until all is there, and until it is in place, and what that computes; then removes it.
async fn fetch(from: &Path, to: &Path) -> Result<(Duration, Duration, f64)> {
    let builder = || Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0");
    let source = builder().library(from).start().await?;
    let address = loop {
        if let Some(address) = source.status().await?.addresses.into_iter().next() {
            break address;
        }
        sleep(Duration::from_millis(10)).await;
    };
    let target = builder().library(to).bootstrap(address).start().await?;
    let library = target.library().ok_or("it shares a folder")?;
    while library.view().await?.titles.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let big = Selector::from("big");
    let (started, computed) = (Instant::now(), cpu()?);
    let job = library.get(&big, false).await?;
    let mut fetched = None;
    let done = loop {
        let view = library.job(job.id).await?;
        if view.phase == "committing" {
            fetched.get_or_insert_with(|| started.elapsed());
        }
        if view.state != "running" && view.state != "waiting" {
            break view;
        }
        sleep(Duration::from_millis(2)).await;
    };
    if let Some(error) = done.error {
        return Err(error.into());
    }
    let (committed, computed) = (started.elapsed(), cpu()? - computed);
    let removal = library.remove(&big).await?;
    while library.job(removal.id).await?.state == "running" {
        sleep(Duration::from_millis(10)).await;
    }
    target.shutdown().await;
    source.shutdown().await;
    Ok((fetched.unwrap_or(committed), committed, computed))
}
