//! What a node holds of its mesh at most.

use super::*;

#[test]
fn a_link_too_many_is_closed_unless_this_node_wants_it() {
    let mut world = World::new(1, |config| config.links_total_max = 2);
    let now = world.now;
    let mesh = world.mesh(0);
    let mut comes = |number: u8, dialer: bool| {
        let peer = PeerId::from_key_bytes([number; 32]);
        mesh.handle_input(now, Input::LinkUp { peer, dialer, bootstrap: None });
        let outputs: Vec<_> = std::iter::from_fn(|| mesh.poll_output()).collect();
        outputs.iter().any(|output| matches!(output, Output::CloseLink { peer: closed, .. } if *closed == peer))
    };
    assert_eq!([comes(101, false), comes(102, false), comes(103, false)], [false, false, true]);
    assert!(!comes(104, true));
}
