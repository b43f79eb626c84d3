//! Who is admitted, and who is not.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use banyan_gossip::{MeshName, PeerId};
use proptest::prelude::*;

use super::*;

const NOW_MS: u64 = 1_000_000;

fn key(byte: u8) -> MeshKey {
    MeshKey::from_bytes([byte; 32])
}

fn ring(keys: &[u8]) -> Keyring {
    Keyring::new(keys.iter().map(|byte| key(*byte))).expect("few keys")
}

fn binding(mesh: &str) -> Binding {
    let peer = |byte| PeerId::from_key_bytes([byte; 32]);
    Binding { dialer: peer(1), listener: peer(2), mesh: MeshName::new(mesh).expect("a name") }
}

/// What both ends come to: (dialer, listener).
fn handshake(
    (at_dialer, dialer): (Binding, &Keyring),
    (at_listener, listener): (Binding, &Keyring),
    invite: Option<(InviteId, &[u8; 32])>,
) -> (Result<(), NotAdmitted>, Result<Admitted, NotAdmitted>) {
    let (dialing, hello) = Dialing::new(at_dialer, [3; 32], invite);
    let (listening, answer) = match Listening::heard(at_listener, &hello, [4; 32], listener, NOW_MS) {
        Ok(heard) => heard,
        Err(error) => return (Err(NotAdmitted), Err(error)),
    };
    match dialing.answered(&answer, dialer) {
        Ok(proof) => (Ok(()), listening.proved(&proof, listener, NOW_MS)),
        Err(error) => (Err(error), listening.proved(&[0; 32], listener, NOW_MS)),
    }
}

fn members(dialer: &Keyring, listener: &Keyring) -> bool {
    let (at_dialer, at_listener) = handshake((binding("lab"), dialer), (binding("lab"), listener), None);
    assert_eq!(at_dialer.is_ok(), at_listener == Ok(Admitted::Member), "both ends agree");
    at_dialer.is_ok()
}

#[test]
fn the_same_key_admits_and_another_does_not_c7() {
    assert!(members(&ring(&[]), &ring(&[])));
    assert!(members(&ring(&[1]), &ring(&[1])));
    assert!(!members(&ring(&[1]), &ring(&[2])));
    assert!(!members(&ring(&[]), &ring(&[1])));
    assert!(!members(&ring(&[1]), &ring(&[])));
}

#[test]
fn keys_change_without_a_break() {
    // Any two neighbouring steps of a change meet: nodes change one after another.
    let steps: [&[u8]; 4] = [&[1], &[1, 2], &[2, 1], &[2]];
    for pair in steps.windows(2) {
        for (dialer, listener) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            assert!(members(&ring(dialer), &ring(listener)), "{dialer:?} {listener:?}");
        }
    }
    assert!(!members(&ring(&[1]), &ring(&[2])));
}

#[test]
fn another_mesh_or_other_ends_are_not_admitted_c7() {
    let elsewhere = |change: fn(&mut Binding)| {
        let mut other = binding("lab");
        change(&mut other);
        handshake((binding("lab"), &ring(&[1])), (other, &ring(&[1])), None)
    };
    for (at_dialer, at_listener) in [
        elsewhere(|other| other.mesh = MeshName::new("other").expect("a name")),
        elsewhere(|other| other.dialer = PeerId::from_key_bytes([9; 32])),
        elsewhere(|other| other.listener = PeerId::from_key_bytes([9; 32])),
        elsewhere(|other| std::mem::swap(&mut other.dialer, &mut other.listener)),
    ] {
        assert_eq!((at_dialer, at_listener), (Err(NotAdmitted), Err(NotAdmitted)));
    }
}

#[test]
fn a_proof_is_worth_nothing_a_second_time() {
    let keyring = ring(&[1]);
    let (dialing, hello) = Dialing::new(binding("lab"), [3; 32], None);
    let (_, answer) = Listening::heard(binding("lab"), &hello, [4; 32], &keyring, NOW_MS).expect("heard");
    let proof = dialing.answered(&answer, &keyring).expect("a proof");
    let (again, _) = Listening::heard(binding("lab"), &hello, [5; 32], &keyring, NOW_MS).expect("heard");
    assert_eq!(again.proved(&proof, &ring(&[1]), NOW_MS), Err(NotAdmitted));
    // Nor does the listener's own proof, sent back, prove anything.
    let (reflected, answer) = Listening::heard(binding("lab"), &hello, [4; 32], &keyring, NOW_MS).expect("heard");
    let reflection = *answer.last_chunk().expect("a proof");
    assert_eq!(reflected.proved(&reflection, &ring(&[1]), NOW_MS), Err(NotAdmitted));
}

#[test]
fn an_invitation_admits_as_often_and_as_long_as_it_says() {
    let (id, secret) = ([7; 8], [8; 32]);
    let mut listener = ring(&[1]);
    listener.invite(id, Invite { secret, expires_ms: NOW_MS + 1, uses: 2 }, NOW_MS).expect("room");
    let nobody = Keyring::default();
    let mut join = |secret: &[u8; 32]| -> Result<(), NotAdmitted> {
        let (_, admitted) = handshake((binding("lab"), &nobody), (binding("lab"), &listener), Some((id, secret)));
        assert_eq!(admitted?, Admitted::Invited(id));
        listener.redeem(id, NOW_MS).map_err(|_| NotAdmitted)
    };
    assert_eq!(join(&[9; 32]), Err(NotAdmitted), "another secret");
    assert_eq!(join(&secret), Ok(()));
    assert_eq!(join(&secret), Ok(()));
    assert_eq!(join(&secret), Err(NotAdmitted), "used up");
    assert!(listener.invites().is_empty());
    listener.invite(id, Invite { secret, expires_ms: NOW_MS, uses: 2 }, NOW_MS).expect("room");
    let (_, late) = handshake((binding("lab"), &nobody), (binding("lab"), &listener), Some((id, &secret)));
    assert_eq!(late, Err(NotAdmitted), "expired");
    assert_eq!(read_grant(&grant(&listener)), Some(key(1)));
    assert_eq!(read_grant(&grant(&Keyring::default())), None);
}

#[test]
fn a_keyring_is_bounded_and_keeps_the_key_in_use() {
    let mut keyring = ring(&[1, 2, 3]);
    let [one, two, three] = [1, 2, 3].map(|byte| key(byte).fingerprint());
    assert_eq!(keyring.install(key(2)), Err(KeyringError::Known(two)));
    keyring.select(three).expect("accepted");
    assert_eq!(keyring.keys(), [key(3), key(1), key(2)]);
    assert_eq!(keyring.remove(three), Err(KeyringError::InUse(three)));
    keyring.remove(one).expect("not in use");
    assert_eq!(keyring.select(one), Err(KeyringError::Unknown(one)));
    assert!(Keyring::new((0..8).map(key)).is_ok());
    assert_eq!(Keyring::new((0..9).map(key)), Err(KeyringError::TooManyKeys));
    let invite = Invite { secret: [0; 32], expires_ms: NOW_MS + 1, uses: 1 };
    for number in 1..=INVITES_MAX as u64 {
        keyring.invite(number.to_be_bytes(), invite, NOW_MS).expect("room");
    }
    assert_eq!(keyring.invite([0xff; 8], invite, NOW_MS), Err(KeyringError::TooManyInvites));
    keyring.invite([0xff; 8], invite, NOW_MS + 1).expect("the others have expired");
}

#[test]
fn texts_come_back_and_secrets_are_not_shown() {
    let text = key(7).to_text();
    assert_eq!(text.parse(), Ok(key(7)));
    assert_eq!(format!("{:?}", key(7)), format!("MeshKey({})", key(7).fingerprint()));
    assert_eq!(key(7).fingerprint().to_string().parse(), Ok(key(7).fingerprint()));
    let mistyped = text.replacen(char::is_lowercase, "z", 5);
    assert!(mistyped.parse::<MeshKey>().is_err(), "{mistyped}");
    assert_eq!("k".parse::<MeshKey>(), Err(InvalidKey::Prefix));
    assert_eq!(text[..20].parse::<MeshKey>(), Err(InvalidKey::Checksum));
    let mesh = MeshName::new("lab").expect("a name");
    let addresses = vec!["/ip4/192.0.2.1/tcp/4001".to_owned(); 20];
    let token = Token::new(mesh, PeerId::from_key_bytes([1; 32]), addresses, [1; 8], [2; 32]);
    assert_eq!(token.addresses.len(), 8);
    assert_eq!(token.to_string().parse(), Ok(token));
}

proptest! {
    #[test]
    fn nonsense_is_no_key_and_no_token(text in "(bnyk|bnyi)?[1-9A-Za-z]{0,300}") {
        prop_assert!(text.parse::<MeshKey>().is_err());
        prop_assert!(text.parse::<Token>().is_err());
    }

    #[test]
    fn a_damaged_handshake_admits_nobody(place in 0..(ANSWER_BYTES + PROOF_BYTES), bit in 0..8u8) {
        let keyring = ring(&[1]);
        let (dialing, hello) = Dialing::new(binding("lab"), [3; 32], None);
        let (listening, mut answer) =
            Listening::heard(binding("lab"), &hello, [4; 32], &keyring, NOW_MS).expect("heard");
        let flip = |bytes: &mut [u8], place: usize| bytes[place] ^= 1 << bit;
        if place < ANSWER_BYTES {
            flip(&mut answer, place);
            prop_assert_eq!(dialing.answered(&answer, &keyring), Err(NotAdmitted));
        } else {
            let mut proof = dialing.answered(&answer, &keyring).expect("a proof");
            flip(&mut proof, place - ANSWER_BYTES);
            prop_assert_eq!(listening.proved(&proof, &ring(&[1]), NOW_MS), Err(NotAdmitted));
        }
    }
}

#[test]
fn a_host_that_fails_often_is_not_listened_to_for_a_while() {
    let mut now = Instant::now();
    let mut gate = Gate::default();
    let [stranger, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().expect("an address"));
    let mut heard = 0;
    for _ in 0..10_000 {
        if gate.admits(now, stranger) {
            heard += 1;
            gate.failed(now, stranger);
        }
        now += Duration::from_millis(1);
    }
    assert!((190..=210).contains(&heard), "100 at once and 10 a second: {heard}");
    (0..100).for_each(|_| gate.failed(now, stranger));
    assert!(gate.admits(now, other));
    assert!(!gate.admits(now, "::ffff:192.0.2.1".parse().expect("an address")), "the same host");
    gate.succeeded(now, stranger);
    assert!(gate.admits(now, stranger));
    let network = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
    (0..100).for_each(|host| gate.failed(now, network(host)));
    assert!(!gate.admits(now, network(4711)), "the same network");
}

#[test]
fn the_gate_remembers_a_bounded_number_of_hosts() {
    let now = Instant::now();
    let mut gate = Gate::default();
    for host in 0..20_000u32 {
        gate.failed(now, IpAddr::from(host.to_be_bytes()));
    }
    assert_eq!(gate.len(), 4096);
    gate.failed(now + Duration::from_secs(1), IpAddr::from([1, 2, 3, 4]));
    assert_eq!(gate.len(), 1, "what was forgotten makes room");
}
