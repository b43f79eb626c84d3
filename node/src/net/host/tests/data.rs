//! Data streams and lookups.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

use super::super::{OpenError, parse_address};
use super::*;

#[tokio::test]
async fn data_streams_have_a_connection_of_their_own() {
    let (mut a, mut b) = (Test::start(&[TCP]).await, Test::start(&[TCP]).await);
    let (at_a, _at_b) = linked(&mut a, &mut b).await;
    let mut first = within(a.host.open_data(b.id(), b.addresses.clone())).await.expect("opened");
    let mut first_at_b = pass_new(&mut first, &mut b).await;
    // Another link takes over: the streams went on neither.
    let (newer, _newer_at_b) = linked(&mut a, &mut b).await;
    assert!(a.host.close_link(b.id(), at_a.connection));
    a.link_closed().await;
    let mut second = within(a.host.open_data(b.id(), vec![])).await.expect("on the data connection");
    pass_new(&mut second, &mut b).await;
    pass(&mut first_at_b, &mut first, b"still there").await;
    // Without a link nobody would notice that the connection is dead.
    assert!(a.host.close_link(b.id(), newer.connection));
    for stream in [&mut first, &mut second, &mut first_at_b] {
        assert!(!matches!(within(stream.read(&mut [0])).await, Ok(1..)), "it ends");
    }
    let gone = within(a.host.open_data(b.id(), vec![])).await;
    assert!(matches!(gone, Err(OpenError::Dial(_))), "there is nothing to open it on");
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
