//! Real nodes with rules about who may publish and who may follow a track.

mod common;

use std::{collections::BTreeMap, time::Duration};

use banyan_node::{End, Item, Node, NodeError, PublishOptions, Right, Rules, Subscriber, views::why::Why};
use common::{attached, builder, eventually, mesh, publish, receive_all, subscribe, track};

fn rules(lines: &[&str]) -> Rules {
    Rules::new(lines.iter().map(|line| line.parse().expect("it is a rule")).collect()).expect("they are few")
}

/// A node joined by the first of others, which says this of itself.
async fn tagged(others: &[Node], tag: &str, rules: Rules) -> Node {
    let builder = builder().bootstrap(common::address(&others[0]).await);
    builder.tags(BTreeMap::from([(tag.to_owned(), String::new())])).rules(rules).start().await.expect("starts")
}

/// Waits until the node says this of its place in the track.
async fn stands(node: &Node, name: &str, state: &str) {
    eventually(&format!("{name}: {state}"), async || match node.why(&format!("track:{name}")).await {
        Ok(Why::Track(why)) => why.state.contains(state).then_some(()),
        _ => None,
    })
    .await;
}

async fn gets_nothing(subscriber: &mut Subscriber) -> bool {
    !matches!(tokio::time::timeout(Duration::ZERO, subscriber.next()).await, Ok(Item::Object { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_decide_who_is_followed_and_who_is_fed() {
    let rules = rules(&["cam/*: publish=tag:studio subscribe=tag:staff"]);
    // One that goes by no rules, and is nobody by those of the others.
    let mut nodes = mesh(1, |_, builder| builder).await;
    nodes.push(tagged(&nodes, "studio", rules.clone()).await);
    nodes.push(tagged(&nodes, "staff", rules).await);
    let [nobody, studio, staff] = &nodes[..] else { panic!("they are three") };
    for node in &nodes {
        eventually("everyone knows everyone", async || (node.status().await.ok()?.peers == 2).then_some(())).await;
    }

    let _squatter = publish(nobody, "cam/1").await;
    let mut at_staff = subscribe(staff, "cam/1").await;
    stands(staff, "cam/1", "who publishes the track may not").await;
    let mut publisher = publish(studio, "cam/1").await;
    stands(staff, "cam/1", "attached").await;
    for index in 0..100_u32 {
        publisher.send(index.to_be_bytes().to_vec().into()).await.expect("sends");
    }
    publisher.finish().await.expect("finishes");
    assert_eq!(receive_all(&mut at_staff).await.len(), 100);

    let mut publisher = publish(studio, "cam/2").await;
    let mut at_staff = subscribe(staff, "cam/2").await;
    let mut at_nobody = subscribe(nobody, "cam/2").await;
    stands(staff, "cam/2", "attached").await;
    stands(nobody, "cam/2", "its rules do not let this node follow the track").await;
    for index in 0..100_u32 {
        publisher.send(index.to_be_bytes().to_vec().into()).await.expect("sends");
    }
    publisher.finish().await.expect("finishes");
    assert_eq!(receive_all(&mut at_staff).await.len(), 100);
    assert!(gets_nothing(&mut at_nobody).await);

    // Their own nodes refuse what the others would not go along with.
    let published = staff.publish(track("cam/3"), PublishOptions::default()).await.map(drop);
    assert_eq!(published, Err(NodeError::Forbidden { track: track("cam/3"), right: Right::Publish }));
    let subscribed = studio.subscribe(track("cam/3"), Default::default()).await.map(drop);
    assert_eq!(subscribed, Err(NodeError::Forbidden { track: track("cam/3"), right: Right::Subscribe }));
    // There is no rule about other tracks.
    let mut publisher = publish(staff, "log").await;
    let mut at_nobody = subscribe(nobody, "log").await;
    attached(staff, "log", 2).await;
    publisher.send("x".into()).await.expect("sends");
    publisher.finish().await.expect("finishes");
    assert_eq!(receive_all(&mut at_nobody).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_counts_from_when_it_is_said_and_new_rules_end_what_they_forbid() {
    let rule = "cam/1: subscribe=tag:staff";
    let nodes = mesh(2, |index, builder| if index == 0 { builder.rules(rules(&[rule])) } else { builder }).await;
    let mut publisher = publish(&nodes[0], "cam/1").await;
    let mut subscriber = subscribe(&nodes[1], "cam/1").await;
    stands(&nodes[1], "cam/1", "its rules do not let this node follow the track").await;
    let tag = BTreeMap::from([("staff".to_owned(), String::new())]);
    nodes[1].set_tags(tag).await.expect("they are set");
    attached(&nodes[0], "cam/1", 2).await;
    publisher.send("x".into()).await.expect("sends");
    assert!(matches!(common::within("the object", subscriber.next()).await, Item::Object { .. }));

    nodes[1].set_tags(BTreeMap::new()).await.expect("they are set");
    publisher.send("y".into()).await.expect("sends");
    assert!(
        matches!(common::within("the object", subscriber.next()).await, Item::Object { .. }),
        "it is there already"
    );
    nodes[0].set_rules(rules(&[&format!("cam/1: subscribe={}", nodes[0].peer_id())])).await.expect("they are set");
    stands(&nodes[1], "cam/1", "its rules do not let this node follow the track").await;
    nodes[0].set_rules(Rules::default()).await.expect("they are set");
    attached(&nodes[0], "cam/1", 2).await;
    publisher.finish().await.expect("finishes");
    let mut next = async || common::within("the end", subscriber.next()).await;
    let mut last = next().await;
    while matches!(last, Item::OriginLost(_)) {
        last = next().await;
    }
    assert_eq!(last, Item::End(End::Complete));
}
