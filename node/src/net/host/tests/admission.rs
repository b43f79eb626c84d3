//! The door, on real connections.

use std::time::Duration;

use futures::StreamExt;
use libp2p::{SwarmBuilder, identify, swarm::SwarmEvent};
use tokio::net::TcpStream;

use super::{super::RedeemError, *};
use crate::{
    admission::{Invite, Keyring, MeshKey, Token},
    net::keys::KeyStore,
};

fn door(keys: &[u8]) -> Door {
    let keyring = Keyring::new(keys.iter().map(|byte| MeshKey::from_bytes([*byte; 32]))).expect("few keys");
    Door::new(keyring, KeyStore::default())
}

async fn host(keys: &[u8], listen: &[&str]) -> Test {
    Test::behind(door(keys), listen, "lab", Limits::default()).await
}

#[tokio::test]
async fn members_link_and_others_are_refused_and_counted_c7() {
    for listen in [TCP, QUIC] {
        let admission = door(&[1]);
        let mut b = Test::behind(admission.clone(), &[listen], "lab", Limits::default()).await;
        for keys in [&[][..], &[2], &[2, 3]] {
            let mut stranger = host(keys, &[]).await;
            for peer in [None, Some(b.id())] {
                stranger.dial(peer, &b.addresses);
                assert_eq!(stranger.failure().await, DialFailure::NotThisMesh, "{keys:?} over {listen}");
            }
        }
        assert!(b.events.try_recv().is_err(), "the host sees nothing of them");
        let mut member = host(&[2, 1], &[]).await;
        linked(&mut member, &mut b).await;
        let mut opened = within(member.host.open_data(b.id(), b.addresses.clone())).await.expect("a data connection");
        pass_new(&mut opened, &mut b).await;
        // The last to be refused may be counted a little later than it knows.
        within(async {
            while admission.refusals().refused < 6 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(admission.refusals(), super::super::Refusals { refused: 6, ignored: 0 });
    }
}

#[tokio::test]
async fn a_key_is_changed_under_running_hosts() {
    let (at_a, at_b) = (door(&[1]), door(&[1]));
    let mut a = Test::behind(at_a.clone(), &[], "lab", Limits::default()).await;
    let mut b = Test::behind(at_b.clone(), &[TCP], "lab", Limits::default()).await;
    let (old, new) = (MeshKey::from_bytes([1; 32]), MeshKey::from_bytes([2; 32]));
    let (was, is) = (old.fingerprint(), new.fingerprint());
    for door in [&at_a, &at_b] {
        door.keyring().install(new.clone()).expect("room");
        linked(&mut a, &mut b).await;
        a.host.disconnect(b.id());
        b.link_closed().await;
    }
    for door in [&at_b, &at_a] {
        door.keyring().select(is).expect("accepted");
        linked(&mut a, &mut b).await;
        a.host.disconnect(b.id());
        b.link_closed().await;
    }
    at_b.keyring().remove(was).expect("no longer in use");
    linked(&mut a, &mut b).await;
    let mut late = host(&[1], &[]).await;
    late.dial(None, &b.addresses);
    assert_eq!(late.failure().await, DialFailure::NotThisMesh);
}

/// A libp2p node of any kind gets as far as the transport, and no protocol answers it.
#[tokio::test]
async fn a_stranger_learns_nothing_c7() {
    for keys in [&[1][..], &[]] {
        let b = host(keys, &[TCP]).await;
        let mut stranger = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(Default::default(), libp2p::tls::Config::new, || super::super::yamux::Yamux)
            .expect("a transport")
            .with_behaviour(|key| identify::Behaviour::new(identify::Config::new("/x/1".into(), key.public())))
            .expect("a behaviour")
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        stranger.dial(b.addresses[0].clone()).expect("dialled");
        let closed = async {
            loop {
                match stranger.select_next_some().await {
                    SwarmEvent::Behaviour(identify::Event::Received { .. }) => panic!("it was answered"),
                    SwarmEvent::ConnectionClosed { .. } => break,
                    _ => {}
                }
            }
        };
        within(closed).await;
    }
}

#[tokio::test]
async fn an_invitation_brings_the_key_as_often_as_it_says_c7() {
    for (listen, keys) in [(TCP, &[1][..]), (QUIC, &[1]), (TCP, &[])] {
        let admission = door(keys);
        let b = Test::behind(admission.clone(), &[listen], "lab", Limits::default()).await;
        let invite = Invite { secret: [2; 32], expires_ms: u64::MAX, uses: 1 };
        admission.change(|keyring| keyring.invite([3; 8], invite, 0)).expect("room");
        let token = |secret| Token::new("lab".parse().expect("a name"), b.id(), Vec::new(), [3; 8], secret);
        let redeem = async |secret| within(super::super::redeem(&token(secret), &b.addresses)).await;
        assert_eq!(redeem([9; 32]).await, Err(RedeemError::Refused), "another secret");
        assert_eq!(redeem([2; 32]).await, Ok(keys.first().map(|byte| MeshKey::from_bytes([*byte; 32]))));
        assert_eq!(redeem([2; 32]).await, Err(RedeemError::Refused), "used up");
    }
}

#[tokio::test]
async fn a_host_that_storms_is_not_heard_and_others_are() {
    let admission = door(&[1]);
    let mut b = Test::behind(admission.clone(), &[TCP], "lab", Limits::default()).await;
    let port = port(&b.addresses[0]);
    within(async {
        // Another address of the loopback network than that of the members.
        while admission.refusals().ignored < 50 {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind("127.0.0.9:0".parse().expect("an address")).expect("bound");
            let mut stranger: TcpStream =
                socket.connect(([127, 0, 0, 1], port).into()).await.expect("the system accepts it");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stranger).await;
            let _ = tokio::io::AsyncReadExt::read(&mut stranger, &mut [0; 64]).await;
        }
    })
    .await;
    let mut member = host(&[1], &[]).await;
    linked(&mut member, &mut b).await;
}
