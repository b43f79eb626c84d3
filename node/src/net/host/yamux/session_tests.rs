use proptest::prelude::*;

use super::*;

fn header(kind: Kind, flags: u16, stream: u32, length: u32) -> [u8; HEADER_BYTES] {
    Header { kind, flags, stream, length }.encode()
}

/// The frames that wait to be sent, taken.
fn sent(session: &mut Session) -> Vec<Header> {
    let out = std::mem::take(&mut session.out);
    out.chunks(HEADER_BYTES).map(|bytes| Header::decode(bytes.try_into().expect("whole")).expect("good")).collect()
}

#[test]
fn a_stream_is_acknowledged_once_and_credit_follows_what_was_read() {
    let now = Instant::now();
    let mut session = Session::new(false);
    let body = session.on_header(now, &header(Kind::Data, SYN, 1, 1_000)).expect("fine").expect("data");
    assert_eq!((body.stream, body.left), (1, 1_000));
    assert_eq!(session.accept(), Some(1));
    session.on_read(now, 1, 1_000);
    assert!(sent(&mut session).is_empty(), "too little");
    session.on_header(now, &header(Kind::Data, 0, 1, WINDOW_BYTES - 1_000)).expect("it fills its window");
    assert_eq!(session.on_header(now, &header(Kind::Data, 0, 1, 1)), Err(Violation::Window));
    let later = now + Duration::from_secs(1);
    session.on_read(later, 1, WINDOW_BYTES as usize - 1_000);
    let update = Header { kind: Kind::WindowUpdate, flags: ACK, stream: 1, length: WINDOW_BYTES };
    assert_eq!(sent(&mut session), [update]);
    session.begin_data(1, 5);
    assert_eq!(sent(&mut session)[0].flags, 0, "it was acknowledged");
}

#[test]
fn windows_grow_with_what_is_read_soon_and_all_of_them_stay_bounded() {
    let now = Instant::now();
    let mut session = Session::new(true);
    let (mut granted, mut ids) = (0, Vec::new());
    for _ in 0..STREAMS_MAX {
        ids.push(session.open(now).expect("there is room"));
        granted += WINDOW_BYTES as usize;
    }
    assert_eq!(session.open(now), None);
    for _ in 0..20 {
        for id in &ids {
            let window = session.flow(*id).window;
            session.on_header(now, &header(Kind::Data, 0, *id, window)).expect("it fills its window");
            session.on_read(now, *id, window as usize);
            let [Header { length, .. }] = sent(&mut session)[..] else { panic!("one update") };
            granted += (length - window) as usize;
        }
    }
    assert_eq!(granted, WINDOWS_BYTES);
    ids.iter().for_each(|id| session.drop_stream(*id));
    assert_eq!(session.spare, WINDOWS_BYTES - STREAMS_MAX * WINDOW_BYTES as usize);
}

#[test]
fn wrong_ids_are_refused_and_who_asks_too_much_is_left() {
    let now = Instant::now();
    for stream in [0, 2, 1] {
        let mut session = Session::new(false);
        session.on_header(now, &header(Kind::WindowUpdate, SYN, 1, 0)).expect("fine");
        assert_eq!(session.on_header(now, &header(Kind::Data, SYN, stream, 0)), Err(Violation::StreamId));
    }
    let mut session = Session::new(false);
    let ping = header(Kind::Ping, SYN, 0, 7);
    let asked = (1..).find(|_| session.on_header(now, &ping) == Err(Violation::Flood)).expect("it ends");
    assert_eq!(asked, OUT_BYTES_MAX / HEADER_BYTES + 1);
}

#[test]
fn a_stream_ends_as_it_was_left() {
    let now = Instant::now();
    let fin = header(Kind::Data, FIN, 1, 0);
    // What was done with it before it is dropped: closed here, closed there; and what is said then.
    for (here, there, said) in
        [(false, false, Some(RST)), (false, true, Some(FIN)), (true, false, Some(RST)), (true, true, None)]
    {
        let mut session = Session::new(true);
        let id = session.open(now).expect("there is room");
        session.begin_data(id, 1);
        assert_eq!(sent(&mut session).len(), 1);
        if here {
            session.close_writing(id);
            assert_eq!(sent(&mut session).len(), 1);
        }
        if there {
            session.on_header(now, &fin).expect("fine");
        }
        session.drop_stream(id);
        assert_eq!(sent(&mut session).first().map(|header| header.flags), said, "{here} {there}");
    }
    let mut session = Session::new(true);
    let id = session.open(now).expect("there is room");
    session.drop_stream(id);
    assert!(sent(&mut session).is_empty(), "the remote has never heard of it");
}

proptest! {
    /// Whatever comes, no more waits to be sent and no more is granted than is stated.
    #[test]
    fn nothing_that_comes_breaks_a_bound(
        frames in prop::collection::vec((0u8..5, 0u16..16, 0u32..400, prop::sample::select(vec![0, 1, 255 * 1024, u32::MAX])), 0..2_000),
        dialled: bool,
    ) {
        let (now, mut session) = (Instant::now(), Session::new(dialled));
        for (kind, flags, stream, length) in frames {
            let mut bytes = header(Kind::Data, flags, stream, length);
            bytes[1] = kind;
            let Ok(body) = session.on_header(now, &bytes) else { break };
            if let Some(body) = body && session.streams.contains_key(&body.stream) {
                prop_assert!(body.left <= WINDOW_BYTES as usize);
            }
            prop_assert!(session.out.len() <= OUT_BYTES_MAX);
            prop_assert!(session.streams.len() <= STREAMS_MAX && session.backlog.len() <= BACKLOG_MAX);
        }
    }
}
