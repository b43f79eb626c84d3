//! Which links one machine prunes and grafts.

use std::time::{Duration, Instant};

use banyan_gossip::{Gossip, Input, Message, Output, PeerId, RowBody};

use crate::kit::{machine, outputs, peer, row, sent_to};

#[test]
fn nobody_is_silenced_by_one_who_repeats_itself() {
    let now = Instant::now();
    let mut a = machine(1, now);
    for index in 2..6 {
        a.handle_input(now, Input::LinkUp { peer: peer(index) });
    }
    outputs(&mut a);
    let message = |from| Input::Message { from: peer(from), message: Message::Ops(vec![row(50, 1, 1)]) };
    let prunes = |a: &mut Gossip| -> Vec<PeerId> {
        let prune = |output| match output {
            Output::Send { to, message: Message::Prune } => Some(to),
            _ => None,
        };
        outputs(a).into_iter().filter_map(prune).collect()
    };
    for from in [2, 2, 2, 3, 3, 4] {
        a.handle_input(now, message(from));
    }
    assert!(prunes(&mut a).is_empty());
    // The fourth to bring it is one too many, and is told so once.
    a.handle_input(now, message(5));
    a.handle_input(now, message(5));
    assert_eq!(prunes(&mut a), [peer(5)]);
    // When one of the others is gone, it is asked again.
    a.handle_input(now, Input::LinkDown { peer: peer(2), graceful: true });
    let graft = Output::Send { to: peer(5), message: Message::Graft };
    assert!(outputs(&mut a).contains(&graft));
}

#[test]
fn the_silenced_still_hear_what_is_ones_own() {
    let now = Instant::now();
    let mut a = machine(1, now);
    a.handle_input(now, Input::LinkUp { peer: peer(2) });
    a.handle_input(now, Input::Message { from: peer(2), message: Message::Prune });
    outputs(&mut a);
    let news = Input::Message { from: peer(3), message: Message::Ops(vec![row(50, 1, 1)]) };
    a.handle_input(now + Duration::from_secs(1), news);
    assert_eq!(sent_to(&outputs(&mut a), 2, &row(50, 1, 1)), 0);
    a.handle_input(now + Duration::from_secs(2), Input::Update(RowBody { capacity: 9, free: 0, ..RowBody::default() }));
    let to_2 = |output: &Output| matches!(output, Output::Send { to, message: Message::Ops(_) } if *to == peer(2));
    assert!(outputs(&mut a).iter().any(to_2));
    // Asked again, it compares tables and pushes.
    a.handle_input(now + Duration::from_secs(3), Input::Message { from: peer(2), message: Message::Graft });
    assert!(outputs(&mut a).iter().any(|output| matches!(output, Output::Send { message: Message::Digest(_), .. })));
    let news = Input::Message { from: peer(3), message: Message::Ops(vec![row(51, 1, 1)]) };
    a.handle_input(now + Duration::from_secs(4), news);
    assert_eq!(sent_to(&outputs(&mut a), 2, &row(51, 1, 1)), 1);
}
