//! Hosts on the loopback interface.

use std::{future::Future, time::Duration};

use banyan_gossip::PeerId;
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};

use super::{
    DialFailure, Host, HostConfig, HostEvent, Limits, Multiaddr, OpenError, Protocol, Stream, parse_address, start,
};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A host with what it told so far.
struct Test {
    host: Host,
    events: mpsc::Receiver<HostEvent>,
    addresses: Vec<Multiaddr>,
}

impl Test {
    async fn start(listen: &[&str]) -> Self {
        Self::with(listen, "lab", Limits::default()).await
    }

    async fn with(listen: &[&str], mesh: &str, limits: Limits) -> Self {
        let config = HostConfig {
            seed: std::array::from_fn(|_| fastrand::u8(..)),
            mesh: mesh.parse().expect("mesh name"),
            listen: listen.iter().map(|address| address.parse().expect("address")).collect(),
            mdns: false,
            limits,
        };
        let (host, events) = start(config).await.expect("the host starts");
        let mut test = Self { host, events, addresses: Vec::new() };
        for _ in listen {
            let HostEvent::Listening { address } = test.next().await else { panic!("it listens first") };
            test.addresses.push(address);
        }
        test
    }

    fn id(&self) -> PeerId {
        self.host.peer_id()
    }

    async fn next(&mut self) -> HostEvent {
        within(self.events.recv()).await.expect("the host runs")
    }

    /// The next event that `pick` takes; others are dropped.
    async fn wait<T>(&mut self, mut pick: impl FnMut(HostEvent) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await) {
                return picked;
            }
        }
    }

    async fn link(&mut self) -> Link {
        self.wait(|event| match event {
            HostEvent::Link { peer, connection, stream, dialer, address, .. } => {
                Some(Link { peer, connection, stream, dialer, address })
            }
            _ => None,
        })
        .await
    }

    async fn failure(&mut self) -> DialFailure {
        self.wait(|event| match event {
            HostEvent::DialFailed { reason, .. } => Some(reason),
            HostEvent::Link { peer, .. } => panic!("an unexpected link to {peer}"),
            _ => None,
        })
        .await
    }

    async fn data(&mut self) -> Stream {
        self.wait(|event| match event {
            HostEvent::Data { stream, .. } => Some(stream),
            _ => None,
        })
        .await
    }

    async fn link_closed(&mut self) {
        self.wait(|event| matches!(event, HostEvent::LinkClosed { .. }).then_some(())).await;
    }

    fn dial(&self, peer: Option<PeerId>, addresses: &[Multiaddr]) {
        assert!(self.host.try_dial(0, peer, addresses.to_vec()));
    }
}

struct Link {
    peer: PeerId,
    connection: super::ConnectionId,
    stream: Stream,
    dialer: bool,
    address: Multiaddr,
}

async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Links `a`, which dials, and `b`.
async fn linked(a: &mut Test, b: &mut Test) -> (Link, Link) {
    a.dial(Some(b.id()), &b.addresses);
    futures::join!(a.link(), b.link())
}

fn port(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    port.expect("an address with a port")
}

async fn pass(from: &mut Stream, to: &mut Stream, bytes: &[u8]) {
    from.write_all(bytes).await.expect("written");
    from.flush().await.expect("flushed");
    let mut read = vec![0; bytes.len()];
    within(to.read_exact(&mut read)).await.expect("read");
    assert_eq!(read, bytes);
}

async fn two_hosts_link(listen: &str) {
    let (mut a, mut b) = (Test::start(&[listen]).await, Test::start(&[listen]).await);
    assert_ne!(port(&b.addresses[0]), 0, "the real port is told");
    let (mut at_a, mut at_b) = linked(&mut a, &mut b).await;
    assert_eq!((at_a.peer, at_b.peer), (b.id(), a.id()));
    assert!(at_a.dialer && !at_b.dialer);
    assert_eq!(at_a.address, b.addresses[0]);
    pass(&mut at_a.stream, &mut at_b.stream, b"hello").await;
    pass(&mut at_b.stream, &mut at_a.stream, b"hello yourself").await;
}

#[tokio::test]
async fn two_hosts_link_over_tcp() {
    two_hosts_link(TCP).await;
}

#[tokio::test]
async fn two_hosts_link_over_quic() {
    two_hosts_link(QUIC).await;
}

#[tokio::test]
async fn tcp_is_preferred_to_quic() {
    let (mut a, mut b) = (Test::start(&[]).await, Test::start(&[QUIC, TCP]).await);
    let (at_a, _at_b) = linked(&mut a, &mut b).await;
    assert!(at_a.address.iter().any(|part| matches!(part, Protocol::Tcp(_))), "{}", at_a.address);
}

#[tokio::test]
async fn an_unknown_peer_is_linked_by_address_name_and_peer_id_suffix() {
    let (mut a, mut b) = (Test::start(&[]).await, Test::start(&[TCP]).await);
    let port = port(&b.addresses[0]);
    for address in [format!("localhost:{port}"), format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", b.id())] {
        a.dial(None, &[parse_address(&address).expect("address")]);
        let (at_a, _at_b) = futures::join!(a.link(), b.link());
        assert_eq!(at_a.peer, b.id());
        assert!(a.host.close_link(at_a.peer, at_a.connection));
        a.link_closed().await;
        b.link_closed().await;
    }
}

#[tokio::test]
async fn another_mesh_is_refused_c7() {
    let mut a = Test::start(&[]).await;
    let mut b = Test::with(&[TCP], "other", Limits::default()).await;
    a.dial(None, &b.addresses);
    assert_eq!(a.failure().await, DialFailure::NotThisMesh);
    assert!(b.events.try_recv().is_err(), "the other mesh's host sees no link");
}

#[tokio::test]
async fn another_peer_at_the_address_is_refused() {
    for listen in [TCP, QUIC] {
        let (mut a, b) = (Test::start(&[]).await, Test::start(&[listen]).await);
        let wanted = Test::start(&[]).await.id();
        a.dial(Some(wanted), &b.addresses);
        assert_eq!(a.failure().await, DialFailure::WrongPeer { found: b.id() });
        let suffix: Multiaddr = format!("{}/p2p/{wanted}", b.addresses[0]).parse().expect("address");
        a.dial(None, &[suffix]);
        assert_eq!(a.failure().await, DialFailure::WrongPeer { found: b.id() });
    }
}

#[tokio::test]
async fn one_good_address_among_bad_ones_is_enough() {
    let (mut a, mut b) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    let other = Test::start(&[TCP]).await;
    let addresses = [other.addresses[0].clone(), a.addresses[0].clone(), b.addresses[0].clone()];
    a.dial(Some(b.id()), &addresses);
    let (at_a, _at_b) = futures::join!(a.link(), b.link());
    assert_eq!(at_a.peer, b.id());
}

#[tokio::test]
async fn dialling_oneself_is_recognised_c6() {
    let mut a = Test::start(&[TCP, QUIC]).await;
    for address in a.addresses.clone() {
        a.dial(None, std::slice::from_ref(&address));
        assert_eq!(a.failure().await, DialFailure::SelfDial);
        a.dial(Some(a.id()), &[address]);
        assert_eq!(a.failure().await, DialFailure::SelfDial);
    }
}

#[tokio::test]
async fn an_unlisted_address_of_oneself_is_recognised_and_remembered_c6() {
    let mut a = Test::start(&["/ip4/0.0.0.0/tcp/0"]).await;
    assert!(!a.addresses[0].to_string().contains("0.0.0.0"));
    let unlisted: Multiaddr = format!("/ip4/127.0.0.7/tcp/{}", port(&a.addresses[0])).parse().expect("address");
    for _ in 0..2 {
        a.dial(None, std::slice::from_ref(&unlisted));
        assert_eq!(a.failure().await, DialFailure::SelfDial);
    }
}

#[tokio::test]
async fn failures_are_told_with_their_reason() {
    let mut a = Test::start(&[]).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let peer = Test::start(&[]).await.id();
    for peer in [None, Some(peer)] {
        a.dial(peer, &[parse_address(&gone.to_string()).expect("address")]);
        let reason = a.failure().await;
        assert!(matches!(reason, DialFailure::Unreachable(_)), "{reason}");
        assert!(!reason.to_string().contains('\n'));
        a.dial(peer, &["/ip4/0.0.0.0/tcp/1".parse().expect("address")]);
        assert!(matches!(a.failure().await, DialFailure::BadAddress(_)));
        a.dial(peer, &["/dns/nothing.invalid/tcp/1".parse().expect("address")]);
        assert!(matches!(a.failure().await, DialFailure::BadAddress(_)));
        a.dial(peer, &[]);
        assert!(matches!(a.failure().await, DialFailure::BadAddress(_)));
    }
}

#[tokio::test]
async fn a_server_of_another_kind_is_a_failed_handshake() {
    let mut a = Test::start(&[]).await;
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    a.dial(None, &[parse_address(&server.local_addr().expect("address").to_string()).expect("address")]);
    let (mut stream, _) = server.accept().await.expect("dialled");
    tokio::io::AsyncWriteExt::write_all(&mut stream, &b"HTTP/1.1 400 ".repeat(50)).await.expect("written");
    let reason = a.failure().await;
    assert!(matches!(reason, DialFailure::Handshake(_)), "{reason}");
}

#[tokio::test]
async fn a_dropped_or_stopped_host_is_noticed() {
    for listen in [TCP, QUIC] {
        let (mut a, mut b, mut c) = (Test::start(&[listen]).await, Test::start(&[]).await, Test::start(&[]).await);
        let (at_b, _at_a) = linked(&mut b, &mut a).await;
        let (_at_c, _at_a_too) = linked(&mut c, &mut a).await;
        drop((b, at_b));
        timeout(Duration::from_secs(3), a.link_closed()).await.expect("soon");
        within(c.host.shutdown()).await;
        timeout(Duration::from_secs(3), a.link_closed()).await.expect("soon");
        within(async { while c.events.recv().await.is_some() {} }).await;
        assert_eq!(c.host.open_data(a.id(), vec![]).await.expect_err("stopped"), OpenError::Stopped);
    }
}

#[tokio::test]
async fn data_streams_have_a_connection_of_their_own() {
    let (mut a, mut b) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    let (at_a, _at_b) = linked(&mut a, &mut b).await;
    let mut first = within(a.host.open_data(b.id(), b.addresses.clone())).await.expect("opened");
    let mut first_at_b = pass_new(&mut first, &mut b).await;
    assert!(a.host.close_link(b.id(), at_a.connection));
    a.link_closed().await;
    // Without link and address, only the data connection is left to carry it.
    let mut second = within(a.host.open_data(b.id(), vec![])).await.expect("on the data connection");
    pass_new(&mut second, &mut b).await;
    pass(&mut first_at_b, &mut first, b"still there").await;
}

/// Takes a newly opened stream at its listener, and sees it work.
async fn pass_new(opened: &mut Stream, listener: &mut Test) -> Stream {
    let mut arrived = listener.data().await;
    pass(opened, &mut arrived, b"new").await;
    arrived
}

#[tokio::test]
async fn data_streams_fall_back_to_the_link() {
    let (mut a, mut b) = (Test::start(&[]).await, Test::start(&[TCP]).await);
    let (_at_a, _at_b) = linked(&mut a, &mut b).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address");
    let gone = parse_address(&gone.to_string()).expect("address");
    for addresses in [vec![gone], vec![]] {
        let mut opened = within(a.host.open_data(b.id(), addresses.clone())).await.expect("on the link");
        pass_new(&mut opened, &mut b).await;
        // The listener has no address of the dialer at all.
        let mut opened = within(b.host.open_data(a.id(), addresses)).await.expect("on the link");
        pass_new(&mut opened, &mut a).await;
    }
}

/// Sends `bytes` on one stream and closes it.
async fn send(mut stream: Stream, bytes: usize) {
    let chunk = vec![5; 64 * 1024];
    for _ in 0..bytes / chunk.len() {
        stream.write_all(&chunk).await.expect("written");
    }
    stream.close().await.expect("closed");
}

/// Reads one stream to its end, pausing when `slow`.
async fn receive(mut stream: Stream, slow: bool) -> usize {
    let (mut total, mut buffer) = (0, vec![0; 32 * 1024]);
    loop {
        match stream.read(&mut buffer).await.expect("read") {
            0 => return total,
            count => total += count,
        }
        if slow && fastrand::u8(..) < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// The shape of rust-libp2p's issue 5410: bulk in one direction on each stream, many streams in both
/// directions at once, slow readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bulk_in_both_directions_on_many_streams_does_not_deadlock() {
    const STREAMS: usize = 24;
    const BYTES: usize = 2 * 1024 * 1024;
    let (mut a, mut b) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    let (_at_a, _at_b) = linked(&mut a, &mut b).await;
    let mut work = JoinSet::new();
    for _ in 0..STREAMS {
        // No addresses: both directions meet on the link's connection, the harder case.
        for (from, to) in [(&a, b.id()), (&b, a.id())] {
            let stream = within(from.host.open_data(to, vec![])).await.expect("opened");
            work.spawn(async move {
                send(stream, BYTES).await;
                BYTES
            });
        }
    }
    for index in 0..STREAMS {
        for test in [&mut a, &mut b] {
            let stream = test.data().await;
            work.spawn(receive(stream, index % 2 == 0));
        }
    }
    let counts = timeout(Duration::from_secs(60), work.join_all()).await.expect("no deadlock");
    assert_eq!(counts, [BYTES; 4 * STREAMS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_dials_link_at_both_ends() {
    let (mut a, mut b) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    a.dial(Some(b.id()), &b.addresses);
    b.dial(Some(a.id()), &a.addresses);
    // Which of the two stays is for the node to choose.
    let (id_a, id_b) = (a.id(), b.id());
    for (test, other) in [(&mut a, id_b), (&mut b, id_a)] {
        let links = [test.link().await, test.link().await];
        assert!(links.iter().all(|link| link.peer == other));
        assert_eq!(links.iter().filter(|link| link.dialer).count(), 1);
    }
}

#[tokio::test]
async fn garbage_on_the_port_hurts_nobody() {
    let (mut a, mut b) = (Test::start(&[]).await, Test::start(&[TCP]).await);
    let (mut at_a, mut at_b) = linked(&mut a, &mut b).await;
    let mut strangers = Vec::new();
    for round in 0..50 {
        let mut stranger = TcpStream::connect(("127.0.0.1", port(&b.addresses[0]))).await.expect("accepted");
        let garbage: Vec<u8> = (0..round * 40).map(|_| fastrand::u8(..)).collect();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger, &garbage).await; // may be cut off
        strangers.push(stranger);
    }
    pass(&mut at_a.stream, &mut at_b.stream, b"undisturbed").await;
    let mut c = Test::start(&[]).await;
    linked(&mut c, &mut b).await;
    assert!(!matches!(b.events.try_recv(), Ok(HostEvent::Link { .. } | HostEvent::LinkClosed { .. })));
}

#[tokio::test]
async fn the_limit_of_connections_to_one_peer_holds_at_both_ends() {
    let two = Limits { connections_per_peer: 2, ..Limits::default() };
    for (at_a, at_b) in [(two.clone(), Limits::default()), (Limits::default(), two)] {
        let (mut a, mut b) = (Test::with(&[], "lab", at_a).await, Test::with(&[TCP], "lab", at_b).await);
        let _links = (linked(&mut a, &mut b).await, linked(&mut a, &mut b).await);
        a.dial(Some(b.id()), &b.addresses);
        let reason = a.failure().await;
        assert!(matches!(reason, DialFailure::Denied(_)), "{reason}");
        // A data stream finds its way over a link.
        let mut opened = within(a.host.open_data(b.id(), b.addresses.clone())).await.expect("on a link");
        pass_new(&mut opened, &mut b).await;
    }
}

#[tokio::test]
async fn the_limit_of_all_connections_holds() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let mut b = Test::with(&[TCP], "lab", limits).await;
    let mut links = Vec::new();
    for _ in 0..2 {
        let mut a = Test::start(&[]).await;
        links.push((linked(&mut a, &mut b).await, a));
    }
    let mut c = Test::start(&[]).await;
    c.dial(Some(b.id()), &b.addresses);
    assert!(matches!(c.failure().await, DialFailure::Denied(_)));
    links.pop();
    b.link_closed().await;
    linked(&mut c, &mut b).await;
}

#[tokio::test]
async fn the_limit_of_data_streams_holds_and_frees() {
    let limits = Limits { data_streams: 2, ..Limits::default() };
    let (mut a, mut b) = (Test::with(&[], "lab", limits).await, Test::start(&[TCP]).await);
    let (_at_a, _at_b) = linked(&mut a, &mut b).await;
    let first = within(a.host.open_data(b.id(), vec![])).await.expect("opened");
    let _second = within(a.host.open_data(b.id(), vec![])).await.expect("opened");
    assert_eq!(within(a.host.open_data(b.id(), vec![])).await.expect_err("one too many"), OpenError::TooMany);
    // The other end is bound too: what it opens beyond the limit is reset.
    let mut opened = Vec::new();
    for _ in 0..3 {
        opened.push(within(b.host.open_data(a.id(), vec![])).await.expect("opened"));
    }
    let _kept = (a.data().await, a.data().await);
    assert!(within(opened[2].read(&mut [0])).await.map_or(true, |count| count == 0), "it is reset");
    drop(first);
    within(a.host.open_data(b.id(), vec![])).await.expect("there is room again");
}

#[tokio::test]
async fn unread_events_are_kept_and_links_flow_on() {
    let (mut a, mut b) = (Test::start(&[]).await, Test::start(&[TCP]).await);
    let (mut at_a, mut at_b) = linked(&mut a, &mut b).await;
    // 640 events at once, more than the channel and the task keep together.
    let me = a.id();
    let mut refused = 0;
    for _ in 0..640 {
        while !a.host.try_dial(0, Some(me), vec![]) && refused < 10_000 {
            refused += 1;
            tokio::task::yield_now().await;
        }
    }
    assert!(refused > 0, "the host takes no more commands than it can answer");
    pass(&mut at_a.stream, &mut at_b.stream, b"flows on").await;
    pass(&mut at_b.stream, &mut at_a.stream, b"both ways").await;
    for _ in 0..512 {
        assert!(matches!(a.next().await, HostEvent::DialFailed { reason: DialFailure::SelfDial, .. }));
    }
}

#[tokio::test]
async fn kademlia_finds_who_provides_a_key() {
    let (hub, provider, mut seeker) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    for host in [&provider.host, &seeker.host] {
        assert!(host.add_known(hub.id(), hub.addresses.clone())); // nobody knows anybody else
    }
    let key = [9; 32];
    assert!(provider.host.provide(key));
    let (peer, addresses) = within(async {
        loop {
            seeker.host.find_providers(key);
            let found = seeker.wait(|event| match event {
                HostEvent::Found { key: found, peer, addresses } if found == key => Some((peer, addresses)),
                _ => None,
            });
            // A lookup may come before the record: look again.
            if let Ok(found) = timeout(Duration::from_millis(500), found).await {
                return found;
            }
        }
    })
    .await;
    assert_eq!((peer, addresses), (provider.id(), provider.addresses.clone()));
}
