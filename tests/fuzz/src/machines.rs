//! The machines, driven by any sequence of inputs.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arbitrary::{Arbitrary, Result, Unstructured};
use banyan_gossip::{Keys, LocalPeer, Signed};
use banyan_node::{
    MeshName, PeerId, TrackName,
    library::{
        download::RequestId,
        manifest::{FileEntry, Manifest},
        path::PackagePath,
        piece::{FileHashes, Hash, Piece},
        serve::{self, Serve},
    },
    mesh::{self, Control, Input, Mesh},
    relay::Terms,
    streams::{Batch, CloseBehavior, Link, Read, Reliability, StreamConfig, StreamId},
};
use bytes::{Bytes, BytesMut};

/// Every signature is good: forgers get further than they would.
struct AnyKeys;

impl Keys for AnyKeys {
    fn sign(&self, _: &Signed<'_>) -> [u8; 64] {
        [0; 64]
    }

    fn verify(&self, _: &PeerId, _: &Signed<'_>, _: &[u8; 64]) -> bool {
        true
    }
}

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

fn tracks() -> [TrackName; 2] {
    ["a", "b/c"].map(|name| TrackName::new(name).expect("a name"))
}

/// A node among peers that say anything at any time. Its trees keep their invariants, and it never feeds more
/// children than it has slots.
pub fn mesh(data: &[u8]) {
    let _ = drive_mesh(&mut Unstructured::new(data)); // which ends when the input does
}

fn drive_mesh(input: &mut Unstructured<'_>) -> Result<()> {
    let mut now = Instant::now();
    let name = MeshName::new("lab").expect("a name");
    let me = LocalPeer { peer: peer(0), incarnation: 5 };
    let mut config = mesh::Config::new(name);
    config.capacity = Some(2);
    let mut mesh = Mesh::new(me, config, Arc::new(AnyKeys), fastrand::Rng::with_seed(1), now);
    // An input at its end yields zeros for ever.
    while !input.is_empty() {
        let from = peer(input.int_in_range(1..=6)?);
        let track = tracks()[usize::from(bool::arbitrary(input)?)].clone();
        match input.int_in_range(0..=15u8)? {
            0 => mesh.handle_input(now, Input::LinkUp { peer: from, dialer: input.arbitrary()?, bootstrap: None }),
            1 => mesh.handle_input(now, Input::LinkDown { peer: from }),
            2 => mesh.handle_input(now, Input::DialFailed { peer: from, unreachable: input.arbitrary()? }),
            3 => now += Duration::from_millis(u64::from(input.arbitrary::<u16>()?)),
            4 => drop(mesh.publish(now, &track, Terms::default())),
            5 => mesh.end_publish(now, &track),
            6 => drop(mesh.subscribe(now, &track)),
            7 => mesh.unsubscribe(now, &track),
            8 => mesh.set_capacity(now, input.arbitrary::<u8>()?.into()),
            9 => mesh.leave(now),
            _ => {
                let length = usize::from(input.arbitrary::<u16>()?).min(input.len());
                if let Ok(message) = Control::decode(input.bytes(length)?) {
                    mesh.handle_input(now, Input::Message { from, message });
                }
            }
        }
        // A machine may be called late, and more than once.
        for _ in 0..4 {
            if mesh.poll_timeout().is_some_and(|due| due <= now) {
                mesh.handle_timeout(now);
            }
        }
        let mut outputs = 0;
        while mesh.poll_output().is_some() {
            outputs += 1;
            assert!(outputs < 100_000, "an input has a bounded echo");
        }
        mesh.trees().for_each(|(_, tree)| tree.assert_invariants());
    }
    Ok(())
}

/// All typed streams with a peer that sends anything.
pub fn streams(data: &[u8]) {
    let _ = drive_streams(&mut Unstructured::new(data));
}

fn drive_streams(input: &mut Unstructured<'_>) -> Result<()> {
    let mut now = Instant::now();
    let (mut link, mut buffer, mut keys) = (Link::default(), BytesMut::new(), BTreeMap::new());
    // An input at its end yields zeros for ever.
    while !input.is_empty() {
        let id = StreamId(input.int_in_range(0..=3)?);
        let key = keys.get(&id).copied();
        match input.int_in_range(0..=9u8)? {
            0 => {
                let config = StreamConfig {
                    reliability: match input.arbitrary()? {
                        true => Reliability::Reliable,
                        false => Reliability::FireAndForget,
                    },
                    window: input.arbitrary()?,
                    window_max: input.arbitrary()?,
                    weight: input.arbitrary()?,
                };
                if let Ok(opened) = link.open(now, id, config) {
                    keys.insert(id, opened.key);
                }
            }
            1 => {
                if let Some((key, id)) = link.accept(now) {
                    keys.insert(id, key);
                }
            }
            2 => {
                let payload = Bytes::from(vec![7; input.arbitrary::<u16>()?.into()]);
                if let Some(key) = key {
                    let _ = link.try_send(now, key, &payload);
                }
            }
            3 => while let Some(Read::Message(_)) = key.map(|key| link.read(now, key)) {},
            4 => {
                let behavior = match input.arbitrary()? {
                    true => CloseBehavior::DrainThenClose,
                    false => CloseBehavior::DropAndClose,
                };
                key.map(|key| link.close(key, behavior));
            }
            5 => {
                let mut batch = Batch::default();
                link.fill(input.arbitrary::<u16>()?.into(), &mut batch);
            }
            6 => {
                now += Duration::from_millis(u64::from(input.arbitrary::<u16>()?) * 16);
                link.handle_timeout(now);
            }
            _ => {
                let length = usize::from(input.arbitrary::<u16>()?).min(input.len());
                buffer.extend_from_slice(input.bytes(length)?);
                if link.handle_bytes(now, &mut buffer).is_err() {
                    link.disconnect();
                    buffer.clear();
                }
            }
        }
        let mut events = 0;
        while link.poll_event().is_some() {
            events += 1;
            assert!(events < 100_000, "an input has a bounded echo");
        }
    }
    Ok(())
}

/// The queue of what is owed to peers that ask and cancel anything.
pub fn serve(data: &[u8]) {
    let _ = drive_serve(&mut Unstructured::new(data));
}

fn drive_serve(input: &mut Unstructured<'_>) -> Result<()> {
    let pieces = input.int_in_range(1..=20u32)?;
    let size = u64::from(pieces) * 1024 * 1024 - u64::from(input.arbitrary::<u16>()?);
    let hash = Hash::from([0; 32]);
    let hashes = FileHashes { size, root: hash, pieces: vec![hash; pieces as usize].into() };
    let file = FileEntry::new(PackagePath::new("file").expect("a path"), 0o644, hashes);
    let Ok(manifest) = Manifest::new(vec![file]).map(Arc::new) else { return Ok(()) };
    let mut serve = Serve::new(serve::Config::default());
    // An input at its end yields zeros for ever.
    while !input.is_empty() {
        let (from, id) = (peer(input.int_in_range(1..=4)?), RequestId(input.int_in_range(0..=20)?));
        match input.int_in_range(0..=4u8)? {
            0 | 1 => {
                let range = input.int_in_range(0..=25)?..input.int_in_range(0..=25)?;
                let _ = serve.handle_request(from, id, &manifest, range);
            }
            2 => serve.handle_cancel(from, id, Piece(input.int_in_range(0..=25)?)),
            3 => serve.handle_ready(from, input.arbitrary()?),
            _ => serve.handle_down(from),
        }
        if input.arbitrary()? {
            let mut outputs = 0;
            while serve.poll_output().is_some() {
                outputs += 1;
                assert!(outputs < 100_000, "no more is sent than was asked for");
            }
        }
        let owed: u64 = (1..=4).map(|number| serve.queued_bytes(&peer(number)).0).sum();
        assert_eq!(owed, serve.queued_bytes(&from).1, "what is owed in all is owed to somebody");
    }
    Ok(())
}
