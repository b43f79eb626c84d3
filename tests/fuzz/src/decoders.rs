//! What peers send outside the library.

use std::collections::BTreeMap;

use banyan_node::{
    MeshName, PeerId,
    admission::{Binding, Dialing, HELLO_BYTES, Keyring, Listening, MeshKey, Token},
    mesh::Control,
    relay::{Decoder, Frame, Opening},
};
use bytes::BytesMut;

/// Control messages: gossip, trees, reports.
pub fn control(data: &[u8]) {
    if let Ok(message) = Control::decode(data) {
        let again = message.encode();
        let reread = Control::decode(&again).expect("what was read can be written and read");
        assert_eq!(reread.encode(), again);
    }
}

/// What a child says first on a data stream.
pub fn opening(data: &[u8]) {
    if let Ok(opening) = Opening::decode(data) {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }
}

/// The frames of a data stream, in any pieces, taken one by one or in runs: the same frames come out as of the whole.
pub fn data_frames(data: &[u8]) {
    let Some((step, data)) = data.split_first() else { return };
    let whole = frames(Decoder::default(), data, data.len().max(1));
    assert_eq!(frames(Decoder::default(), data, usize::from(*step) + 1), whole);
    assert_eq!(frames(Decoder::with_runs(), data, usize::from(*step) + 1), whole);
    assert_eq!(frames(Decoder::with_runs(), data, data.len().max(1)), whole);
}

fn frames(mut decoder: Decoder, data: &[u8], step: usize) -> Vec<BytesMut> {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in data.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    let mut bytes = BytesMut::new();
                    frame.encode(&mut bytes);
                    assert_eq!(bytes.len(), frame.wire_bytes());
                    match frame {
                        Frame::Chunk(run) => frames.extend(run.singles().map(|chunk| BytesMut::from(&chunk.wire[..]))),
                        _ => frames.push(bytes),
                    }
                }
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// Keys and tokens as text, and a hello.
pub fn admission(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = text.parse::<MeshKey>() {
            assert_eq!(key.to_text(), text);
        }
        if let Ok(token) = text.parse::<Token>() {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
    let peer = |byte| PeerId::from_key_bytes([byte; 32]);
    let binding = Binding { dialer: peer(1), listener: peer(2), mesh: MeshName::new("lab").expect("a name") };
    let mut keyring = Keyring::new([MeshKey::from_bytes([7; 32])]).expect("one key");
    assert_eq!(keyring.invites(), &BTreeMap::new());
    if let Some((hello, rest)) = data.split_first_chunk::<HELLO_BYTES>()
        && let Ok((listening, _)) = Listening::heard(binding.clone(), hello, [3; 32], &keyring, 0)
        && let Some(proof) = rest.first_chunk()
    {
        assert!(listening.proved(proof, &keyring, 0).is_err(), "nobody guesses a proof");
    }
    if let Some(answer) = data.first_chunk() {
        let (dialing, _) = Dialing::new(binding, [4; 32], None);
        assert!(dialing.answered(answer, &keyring).is_err(), "nobody guesses a proof");
    }
    assert!(keyring.redeem([1; 8], 0).is_err());
}
