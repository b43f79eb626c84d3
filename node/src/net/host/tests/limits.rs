//! Bounds, and strangers.

use tokio::net::TcpStream;

use super::super::OpenError;
use super::*;

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
async fn the_limit_of_handshakes_at_a_time_holds_and_frees() {
    let limits = Limits { pending_incoming: 2, ..Limits::default() };
    let mut b = Test::with(&[TCP], "lab", limits).await;
    let address = ("127.0.0.1", port(&b.addresses[0]));
    let one = TcpStream::connect(address).await.expect("accepted");
    let mut c = Test::start(&[]).await;
    let first = linked(&mut c, &mut b).await;
    // Those that say nothing take a place each.
    let two = TcpStream::connect(address).await.expect("accepted");
    c.dial(Some(b.id()), &b.addresses);
    c.failure().await;
    drop((one, two));
    let mut links = async || {
        c.dial(Some(b.id()), &b.addresses);
        c.wait(|event| match event {
            HostEvent::Link { .. } => Some(true),
            HostEvent::DialFailed { .. } => Some(false),
            _ => None,
        })
        .await
    };
    // It takes a moment until their end is noticed.
    let again = async { while !links().await {} };
    within(again).await;
    drop(first);
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
