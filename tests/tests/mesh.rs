//! Real nodes, real sockets: joining, streaming, repair.

mod common;

use bytes::Bytes;
use common::{attached, builder, eventually, mesh, publish, receive_all, subscribe};

fn payload(index: usize, length: usize) -> Bytes {
    (0..length).map(|at| (index * 31 + at) as u8).collect::<Vec<_>>().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reaches_a_subscriber_whole() {
    let nodes = mesh(2, |_, builder| builder).await;
    let mut subscriber = subscribe(&nodes[1], "a/b").await;
    let mut publisher = publish(&nodes[0], "a/b").await;
    attached(&nodes[0], "a/b", 2).await;
    let sizes = [0, 1, 1000, 65_536, 65_537, 1_000_000, 16 * 1024 * 1024];
    let sender = tokio::spawn(async move {
        for (index, size) in sizes.into_iter().enumerate() {
            assert_eq!(publisher.send(payload(index, size)).await, Ok(index as u64));
        }
        publisher.finish().await.expect("finishes");
    });
    let objects = receive_all(&mut subscriber).await;
    assert_eq!(objects.len(), sizes.len());
    for (index, (object, size)) in objects.iter().zip(sizes).enumerate() {
        assert!(*object == payload(index, size), "object {index}");
    }
    sender.await.expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_costs_nobody_an_object_a6_e1() {
    let mut nodes = mesh(8, |_, builder| builder.capacity(2).root_slots(2)).await;
    let mut publisher = publish(&nodes[1], "feed").await;
    let mut receivers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if index != 1 {
            let mut subscriber = subscribe(node, "feed").await;
            let receiver = tokio::spawn(async move { receive_all(&mut subscriber).await.len() });
            receivers.push((node.peer_id().to_string(), receiver));
        }
    }
    attached(&nodes[1], "feed", 8).await;
    for index in 0..500 {
        publisher.send(payload(index, 4000)).await.expect("sends");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        if index == 200 {
            let tree = nodes[1].tree(&common::track("feed")).await.expect("is there");
            assert!(tree.nodes.iter().all(|node| node.children <= 2), "{tree:?}");
            let relay = tree.nodes.iter().find(|node| node.role == "relay").expect("a relay").peer_id.clone();
            let at = nodes.iter().position(|node| node.peer_id().to_string() == relay).expect("one of them");
            receivers.retain(|(peer, _)| *peer != relay);
            let node = nodes.remove(at);
            tokio::spawn(async move { node.shutdown().await });
        }
    }
    publisher.finish().await.expect("finishes");
    for (peer, receiver) in receivers {
        assert_eq!(receiver.await.expect("received"), 500, "{peer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_nodes_in_one_process_learn_each_other_and_stream() {
    let nodes = mesh(40, |_, builder| builder.capacity(3).root_slots(3)).await;
    for node in &nodes {
        eventually("everyone knows everyone", async || (node.status().await.ok()?.peers == 39).then_some(())).await;
    }
    let mut publisher = publish(&nodes[7], "feed").await;
    let mut receivers = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if index != 7 {
            let mut subscriber = subscribe(node, "feed").await;
            receivers.push(tokio::spawn(async move { receive_all(&mut subscriber).await.len() }));
        }
    }
    attached(&nodes[7], "feed", 40).await;
    for index in 0..100 {
        publisher.send(payload(index, 1000)).await.expect("sends");
    }
    publisher.finish().await.expect("finishes");
    for receiver in receivers {
        assert_eq!(receiver.await.expect("received"), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mesh_outlives_its_bootstrap_node_c3() {
    let mut nodes = mesh(5, |_, builder| builder).await;
    for node in &nodes {
        eventually("everyone knows everyone", async || (node.status().await.ok()?.peers == 4).then_some(())).await;
    }
    let first = nodes.remove(0);
    first.shutdown().await;
    let mut publisher = publish(&nodes[0], "feed").await;
    let mut subscriber = subscribe(&nodes[3], "feed").await;
    attached(&nodes[0], "feed", 2).await;
    publisher.send(payload(1, 10)).await.expect("sends");
    publisher.finish().await.expect("finishes");
    assert_eq!(receive_all(&mut subscriber).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_comes_late_is_found_c10() {
    // Below the ports that the system hands out: other tests must not get it while nobody listens there.
    let mut ports = (0..10_000).map(|step| 20_000 + (std::process::id() + step) as u16 % 10_000);
    let port = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port");
    let early = builder().bootstrap(format!("localhost:{port}")).start().await.expect("starts");
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let late = banyan_node::Node::builder().mdns(false).listen(format!("/ip4/127.0.0.1/tcp/{port}"));
    let late = late.start().await.expect("starts");
    eventually("the two know each other", async || (late.status().await.ok()?.peers == 1).then_some(())).await;
    assert_eq!(early.status().await.expect("runs").links, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_with_the_node() {
    let nodes = mesh(2, |_, builder| builder).await;
    let mut events = nodes[0].events();
    eventually("the two know each other", async || (nodes[0].status().await.ok()?.peers == 1).then_some(())).await;
    nodes[0].shutdown().await;
    let end = common::within("the end", async { while events.next().await.is_some() {} });
    end.await;
    assert!(nodes[0].events().next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_changes_while_running_a4() {
    let nodes = mesh(3, |_, builder| builder.capacity(1).root_slots(2)).await;
    let _publisher = publish(&nodes[0], "feed").await;
    let mut subscribers = Vec::new();
    for node in &nodes[1..] {
        subscribers.push(subscribe(node, "feed").await);
    }
    attached(&nodes[0], "feed", 3).await;
    nodes[0].set_capacity(2).await.expect("runs");
    assert_eq!(nodes[0].status().await.expect("runs").capacity, 2);
    nodes[0].set_capacity(0).await.expect("runs");
    let children = async || {
        let tree = nodes[0].tree(&common::track("feed")).await.ok()?;
        (tree.nodes.iter().find(|node| node.role == "origin")?.children == 0).then_some(())
    };
    eventually("the children are sent away", children).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offload_is_reported_up_the_tree_and_nowhere_else_a11() {
    // A chain: the origin feeds one, which feeds the next.
    let nodes = mesh(4, |_, builder| builder.capacity(1).root_slots(1)).await;
    let mut publisher = publish(&nodes[0], "feed").await;
    let mut receivers = Vec::new();
    for node in &nodes[1..] {
        let mut subscriber = subscribe(node, "feed").await;
        receivers.push(tokio::spawn(async move { receive_all(&mut subscriber).await.len() }));
    }
    attached(&nodes[0], "feed", 4).await;
    for index in 0..100 {
        publisher.send(payload(index, 1000)).await.expect("sends");
    }
    let reported = async |node: &banyan_node::Node, objects: u64| {
        eventually("the report", async || {
            let offload = node.offload(&common::track("feed")).await.ok()?;
            (offload.objects == objects && offload.intended_percent.is_some_and(|share| share > 60.0))
                .then_some(offload)
        })
        .await
    };
    let offload = reported(&nodes[0], 300).await;
    assert!(offload.whole);
    assert_eq!(offload.bytes, 300_000);
    for share in [offload.intended_percent, offload.measured_percent] {
        assert!(share.is_some_and(|share| (share - 200.0 / 3.0).abs() < 0.1), "{share:?}");
    }
    let feeding: Vec<_> = offload.peers.iter().filter(|peer| peer.objects > 0).collect();
    assert!(feeding.len() == 3 && feeding.iter().all(|peer| peer.to.len() == 1 && peer.to[0].objects == 100));
    let first = feeding[1].peer_id.clone();
    let relay = nodes.iter().find(|node| node.peer_id().to_string() == first).expect("one of them");
    let offload = reported(relay, 200).await;
    assert_eq!((offload.whole, offload.measured_percent), (false, None), "of the origin it hears nothing");
    publisher.finish().await.expect("finishes");
    for receiver in receivers {
        assert_eq!(receiver.await.expect("received"), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_subscribe_relays_when_every_slot_is_taken_a4_a13() {
    // One slot for two that offer none; the fourth node has some and does not subscribe.
    let capacities = [1, 0, 0, 4];
    let nodes = mesh(4, |index, builder| builder.capacity(capacities[index]).root_slots(1)).await;
    let mut publisher = publish(&nodes[0], "feed").await;
    let mut receivers = Vec::new();
    for node in &nodes[1..3] {
        let mut subscriber = subscribe(node, "feed").await;
        receivers.push(tokio::spawn(async move { receive_all(&mut subscriber).await.len() }));
    }
    attached(&nodes[0], "feed", 4).await;
    let tree = nodes[0].tree(&common::track("feed")).await.expect("is there");
    let volunteer = tree.nodes.iter().find(|node| node.role == "volunteer").expect("a volunteer");
    assert_eq!(volunteer.peer_id, nodes[3].peer_id().to_string());
    for index in 0..100 {
        publisher.send(payload(index, 1000)).await.expect("sends");
    }
    publisher.finish().await.expect("finishes");
    for receiver in receivers {
        assert_eq!(receiver.await.expect("received"), 100);
    }
}
