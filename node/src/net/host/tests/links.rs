//! Links, and why there is none.

use std::time::Duration;

use tokio::time::timeout;

use super::super::{DialFailure, OpenError, parse_address};
use super::*;

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
