//! iroh-blobs on the work of `tests/netns/library.sh beside`: one process serves a file, others fetch it, each of which
//! serves what it has.
//!
//! The file is cut into parts, each of them a blob: iroh-blobs asks one provider at a time for a blob, and splits only
//! requests for several. Each receiver asks for the parts in an order of its own, and tries providers in an order drawn
//! anew for each part, so that receivers have something for each other; if told to, the source after all others.

use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Parser};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey, address_lookup::memory::MemoryLookup, endpoint::presets,
    protocol::Router,
};
use iroh_blobs::{
    BlobsProtocol, Hash,
    api::downloader::{DownloadOptions, Downloader, SplitStrategy},
    store::fs::FsStore,
    util::connection_pool,
};

/// How long a connection may take: the default of a second is short for many processes on few cores.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often what failed is asked for again.
const ATTEMPTS: usize = 20;

type Failure = Box<dyn Error + Send + Sync>;

/// iroh-blobs, serving a file or fetching it.
#[derive(Debug, Parser)]
#[command(name = "blobs", version, max_term_width = 100)]
enum Command {
    /// Serve a file. Says `ready`, and stays.
    Serve {
        #[command(flatten)]
        host: Host,
        /// Bytes of a part.
        #[arg(long, default_value_t = 256 * 1024)]
        part: usize,
        /// Where to write the hashes of the parts, one a line.
        #[arg(long)]
        parts: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// Fetch it. Says `ready`, begins when standard input ends, says `done` and the seconds since 1970, and stays.
    Fetch {
        #[command(flatten)]
        host: Host,
        /// The hashes of the parts.
        #[arg(long)]
        parts: PathBuf,
        /// The source: `NUMBER=ADDRESS:PORT`.
        #[arg(long, value_parser = provider)]
        source: EndpointAddr,
        /// Another that may have parts.
        #[arg(long = "other", value_parser = provider)]
        others: Vec<EndpointAddr>,
        /// Ask the source for a part when no other has it.
        #[arg(long)]
        source_last: bool,
        /// Where to write the file when all is there; said by `written`.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Host {
    /// Number of this process: its key is made of it.
    #[arg(long)]
    number: u8,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The folder of its blobs.
    #[arg(long)]
    store: PathBuf,
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32])
}

fn provider(text: &str) -> Result<EndpointAddr, String> {
    let (number, address) = text.split_once('=').ok_or("it has no `=`")?;
    let number = number.parse().map_err(|error| format!("{number}: {error}"))?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok(EndpointAddr::new(key(number).public()).with_ip_addr(address))
}

/// Whom to ask for a part.
#[derive(Debug, Clone)]
struct Providers {
    source: EndpointId,
    others: Vec<EndpointId>,
    source_last: bool,
}

impl IntoIterator for Providers {
    type Item = EndpointId;
    type IntoIter = std::vec::IntoIter<EndpointId>;

    /// In an order that is drawn anew each time.
    fn into_iter(self) -> Self::IntoIter {
        let Self { source, others: mut order, source_last } = self;
        if !source_last {
            order.push(source);
        }
        fastrand::shuffle(&mut order);
        if source_last {
            order.push(source);
        }
        order.into_iter()
    }
}

impl Host {
    /// Serves what is in the store, and knows these peers.
    async fn start(&self, known: Vec<EndpointAddr>) -> Result<(FsStore, Router), Failure> {
        let endpoint = Endpoint::builder(presets::Empty)
            .crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .secret_key(key(self.number))
            .relay_mode(RelayMode::Disabled)
            .clear_ip_transports()
            .bind_addr(self.listen)?
            .address_lookup(MemoryLookup::from_endpoint_info(known))
            .bind()
            .await?;
        let store = FsStore::load(&self.store).await?;
        let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None)).spawn();
        Ok((store, router))
    }
}

async fn serve(host: Host, part: usize, parts: PathBuf, file: PathBuf) -> Result<(), Failure> {
    let (store, _router) = host.start(Vec::new()).await?;
    let mut hashes = String::new();
    for part in fs::read(file)?.chunks(part.max(1)) {
        hashes += &format!("{}\n", store.blobs().add_slice(part).await?.hash);
    }
    fs::write(parts, hashes)?;
    println!("ready");
    std::future::pending().await
}

async fn fetch(
    host: Host,
    parts: PathBuf,
    known: Vec<EndpointAddr>,
    providers: Providers,
    out: PathBuf,
) -> Result<(), Failure> {
    let (store, router) = host.start(known).await?;
    let hashes: Vec<Hash> = fs::read_to_string(parts)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    let mut pool_options = connection_pool::Options::default();
    pool_options.connect_timeout = CONNECT_TIMEOUT;
    let downloader = Downloader::builder(&store, router.endpoint()).pool_options(pool_options).build();
    println!("ready");
    tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
    let mut order = hashes.clone();
    fastrand::shuffle(&mut order);
    for attempt in 1.. {
        let options = DownloadOptions::new(order.clone(), providers.clone(), SplitStrategy::Split);
        match downloader.download_with_opts(options).await {
            Ok(()) => break,
            Err(error) if attempt < ATTEMPTS => eprintln!("attempt {attempt}: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    println!("done {:.3}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64());
    let mut file = fs::File::create(out)?;
    for hash in hashes {
        file.write_all(&store.blobs().get_bytes(hash).await?)?;
    }
    println!("written");
    std::future::pending().await
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Serve { host, part, parts, file } => serve(host, part, parts, file).await,
        Command::Fetch { host, parts, source, others, source_last, out } => {
            let others_ids = others.iter().map(|other| other.id).collect();
            let providers = Providers { source: source.id, others: others_ids, source_last };
            fetch(host, parts, [vec![source], others].concat(), providers, out).await
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
