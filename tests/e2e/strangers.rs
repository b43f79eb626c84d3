//! What those cost a node who may not get in: connections that say nothing, garbage, and TLS handshakes without the
//! key of the mesh, a thousand a second; from one host, and from as many hosts as there are connections.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    lab::Done,
    node::{Node, Spec, eventually},
    table::Row,
};

/// How hard.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attempts a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Seconds of each kind.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Only kinds whose names begin so.
    kinds: Vec<String>,
}

/// What a stranger does once it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Closes at once.
    Closes,
    /// Says nothing.
    Silent,
    /// Sends bytes that mean nothing.
    Garbage,
    /// Sends what a node sends first, up to the first message of TLS, and nothing more.
    Handshake,
}

/// Connections that a stranger holds at most.
const HELD_MAX: usize = 400;

pub(crate) fn run(banyan: &Path, args: &Args) -> Done<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("banyan-strangers-").tempdir()?;
    let key = folder.path().join("mesh.key");
    let made = Command::new(banyan).args(["key", "new"]).arg(&key).stdout(Stdio::null()).status()?;
    if !made.success() {
        return Err("cannot make a key".into());
    }
    let hello = first_flight(banyan, folder.path())?;
    let kinds = [
        ("closes", Kind::Closes),
        ("silent", Kind::Silent),
        ("garbage", Kind::Garbage),
        ("handshake", Kind::Handshake),
    ];
    let wanted = |name: &str| args.kinds.is_empty() || args.kinds.iter().any(|wanted| name.starts_with(wanted));
    let mut rows = Vec::new();
    for (name, kind) in kinds.into_iter().filter(|(name, _)| wanted(name)) {
        for many in [false, true] {
            let mut pair = Pair::start(banyan, folder.path(), &key)?;
            rows.extend(attack(&mut pair, (name, kind), many, &hello, args)?);
            rows.iter()
                .rev()
                .take(2)
                .rev()
                .for_each(|row| eprintln!("  {} | {} | {}", row.fault, row.measured, row.word()));
        }
    }
    Ok(rows)
}

/// Two members, linked; the first is the victim.
#[derive(Debug)]
struct Pair {
    victim: Node,
    friend: Node,
    address: SocketAddr,
}

impl Pair {
    fn start(banyan: &Path, folder: &Path, key: &Path) -> Done<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let node = |name: &str, listen: &str, join: Option<&str>| {
            let at = |what: &str| folder.join(format!("{name}{what}"));
            let mut spec = Spec::new(banyan, name, at(""), at(".sock"));
            spec.listen(listen);
            spec.args(&["--key-file", &key.to_string_lossy()]);
            spec.args(join.map(|join| ["--bootstrap", join]).as_ref().map_or(&[], |join| &join[..]));
            Node::new(spec)
        };
        let mut victim = node("victim", &format!("/ip4/127.0.0.1/tcp/{port}"), None);
        let mut friend = node("friend", "/ip4/127.0.0.1/tcp/0", Some(&address.to_string()));
        victim.start()?;
        friend.start()?;
        victim.knows(1)?;
        Ok(Self { victim, friend, address })
    }
}

fn attack(pair: &mut Pair, (name, kind): (&str, Kind), many: bool, hello: &[u8], args: &Args) -> Done<[Row; 2]> {
    let usual = cpu_share(&pair.victim, || eventually(Duration::from_secs(3), || None::<()>));
    let links_before = pair.victim.events(&["link_down"]).len();
    // What the first strangers leave behind, buffers that are kept included, is no growth.
    let mut stranger = Stranger { kind, many, hello, to: pair.address, held: VecDeque::new(), turned: 0, made: 0 };
    stranger.knock(args.rate, args.seconds / 2.0);
    let rss_before = pair.victim.resident_bytes();
    let made_before = stranger.made;
    let busy = cpu_share(&pair.victim, || stranger.knock(args.rate, args.seconds));
    let rate = f64::from(u32::try_from(stranger.made - made_before)?) / args.seconds;
    let rss_after = pair.victim.resident_bytes();
    drop(stranger);
    let linked = pair.victim.events(&["link_down"]).len() == links_before && pair.victim.knows(1).is_ok();
    let from = if many { "each from another host" } else { "from one host" };
    let fault = format!("strangers: {name}, {from}");
    let cost = (busy - usual).max(0.0) * 100.0;
    let mib = |bytes: u64| bytes as f64 / 1048576.0;
    let grown = mib(rss_after) - mib(rss_before);
    drop(pair.friend.stop());
    Ok([
        Row::new(
            &fault,
            "1,000 a second cost at most 10 % of a core",
            format!("{rate:.0} a second: {cost:.1} % ({:.1} % before)", usual * 100.0),
            cost <= 10.0 && rate >= 0.9 * f64::from(args.rate),
        ),
        Row::new(
            &fault,
            "memory does not grow (1 MiB), links live",
            format!(
                "{:.1} MiB, then {:.1} MiB{}",
                mib(rss_before),
                mib(rss_after),
                if linked { "" } else { "; the link broke" }
            ),
            grown < 1.0 && linked,
        ),
    ])
}

/// The share of a core that a node uses meanwhile.
fn cpu_share<T>(node: &Node, meanwhile: impl FnOnce() -> T) -> f64 {
    let (began, before) = (Instant::now(), node.cpu());
    meanwhile();
    (node.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

#[derive(Debug)]
struct Stranger<'a> {
    kind: Kind,
    many: bool,
    hello: &'a [u8],
    to: SocketAddr,
    held: VecDeque<Socket>,
    turned: u32,
    made: u64,
}

impl Stranger<'_> {
    fn knock(&mut self, rate: u32, seconds: f64) {
        let began = Instant::now();
        let mut number = 0_u32;
        while began.elapsed().as_secs_f64() < seconds {
            let due = began + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
            if Instant::now() < due {
                continue;
            }
            number += 1;
            if let Ok(socket) = self.connect() {
                self.made += 1;
                if self.kind != Kind::Closes {
                    self.held.push_back(socket);
                }
            }
            if self.held.len() > HELD_MAX {
                self.held.pop_front();
            }
        }
    }

    fn connect(&mut self) -> io::Result<Socket> {
        let mut socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if self.many {
            // Every address of the loopback network is this machine's.
            self.turned += 1;
            let [_, a, b, c] = (self.turned % 0x00ff_fff0 + 2).to_be_bytes();
            socket.bind(&SocketAddr::from((Ipv4Addr::new(127, a, b, c), 0)).into())?;
        }
        // A full queue of the system's is no attempt that reached the node.
        socket.connect_timeout(&self.to.into(), Duration::from_millis(500))?;
        match self.kind {
            Kind::Closes | Kind::Silent => {}
            Kind::Garbage => drop(socket.write(&[0x55; 256])),
            Kind::Handshake => drop(socket.write(self.hello)),
        }
        Ok(socket)
    }
}

/// What a node sends to another up to the first message of its TLS handshake, recorded.
fn first_flight(banyan: &Path, folder: &Path) -> Done<Vec<u8>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = |what: &str| folder.join(format!("recorded{what}"));
    let mut spec = Spec::new(banyan, "recorded", at(""), at(".sock"));
    spec.args(&["--bootstrap", &listener.local_addr()?.to_string()]);
    spec.listen("/ip4/127.0.0.1/tcp/0");
    let mut node = Node::new(spec);
    node.start()?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut recorded = Vec::new();
    // multistream-select: each end says its version, then the protocol that is wanted, each with its length.
    for _ in 0..2 {
        let line = line(&mut stream)?;
        stream.write_all(&line)?;
        recorded.extend(line);
    }
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut record)?;
    recorded.extend(head);
    recorded.extend(record);
    Ok(recorded)
}

fn line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0];
    stream.read_exact(&mut length)?;
    let mut line = vec![0; usize::from(length[0])];
    stream.read_exact(&mut line)?;
    line.insert(0, length[0]);
    Ok(line)
}
