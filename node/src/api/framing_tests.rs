use proptest::{collection::vec, prelude::*};

use super::*;

/// Cuts a stream given in chunks of these sizes (the last chunk takes the rest).
fn cut(framing: Framing, object_bytes: usize, stream: &[u8], sizes: &[usize]) -> Result<Vec<Bytes>, FramingError> {
    let mut cutter = Cutter::new(framing, object_bytes);
    let mut objects = Vec::new();
    let mut rest = Bytes::copy_from_slice(stream);
    for size in sizes.iter().copied().chain([usize::MAX]) {
        cutter.push(rest.split_to(size.min(rest.len())));
        while let Some(object) = cutter.next_object()? {
            objects.push(object);
        }
    }
    objects.extend(cutter.finish()?);
    Ok(objects)
}

fn with_lengths(objects: &[Vec<u8>]) -> Vec<u8> {
    objects.iter().flat_map(|object| [&(object.len() as u32).to_be_bytes()[..], object].concat()).collect()
}

#[test]
fn lines_lose_their_newline_and_the_last_needs_none() {
    assert_eq!(cut(Framing::Lines, 1, b"a\n\nbc", &[]), Ok(vec!["a".into(), "".into(), "bc".into()]));
    assert_eq!(cut(Framing::Lines, 1, b"a\n", &[]), Ok(vec!["a".into()]));
    assert_eq!(cut(Framing::Lines, 1, b"", &[]), Ok(vec![]));
    assert_eq!(cut(Framing::Lines, 1, b"\n", &[]), Ok(vec!["".into()]));
}

#[test]
fn bytes_are_cut_at_the_object_size_without_waiting_for_a_full_one() {
    assert_eq!(cut(Framing::Bytes, 3, b"abcdefg", &[4]), Ok(vec!["abc".into(), "d".into(), "efg".into()]));
    assert_eq!(cut(Framing::Bytes, 3, b"", &[]), Ok(vec![]));
}

#[test]
fn stream_that_ends_within_an_object_is_reported() {
    let missing = |stream: &[u8]| cut(Framing::Length, 1, stream, &[1]);
    assert_eq!(missing(&[0, 0]), Err(FramingError::Truncated { missing: 2 }));
    assert_eq!(missing(&[0, 0, 0, 5, 1, 2]), Err(FramingError::Truncated { missing: 3 }));
    assert_eq!(missing(&[0, 0, 0, 0]), Ok(vec![Bytes::new()]));
}

#[test]
fn objects_of_16_mib_pass_and_larger_ones_do_not_a14() {
    let largest = vec![b'x'; OBJECT_BYTES_MAX];
    for framing in [Framing::Lines, Framing::Length] {
        let framed = |object: &[u8]| match framing {
            Framing::Length => with_lengths(&[object.to_vec()]),
            _ => object.to_vec(),
        };
        let objects = cut(framing, 1, &framed(&largest), &[100_000; 200]).expect("it is within the bound");
        assert_eq!(objects.iter().map(Bytes::len).collect::<Vec<_>>(), [OBJECT_BYTES_MAX]);
        let over = [&largest[..], b"x"].concat();
        assert_eq!(cut(framing, 1, &framed(&over), &[100_000; 200]), Err(FramingError::TooLarge));
    }
    assert_eq!(cut(Framing::Length, 1, &[255; 4], &[]), Err(FramingError::TooLarge), "before any of it arrives");
}

#[test]
fn framings_are_named_as_they_are_parsed() {
    for framing in [Framing::Bytes, Framing::Lines, Framing::Length] {
        assert_eq!(framing.as_str().parse(), Ok(framing));
    }
    assert!("Lines".parse::<Framing>().is_err());
    assert!("".parse::<Framing>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_split_gives_the_same_lines(stream in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), sizes in vec(0usize..9, 0..40)) {
        let mut expected: Vec<Bytes> =
            stream.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
        if expected.last().is_some_and(Bytes::is_empty) {
            expected.pop();
        }
        prop_assert_eq!(cut(Framing::Lines, 1, &stream, &sizes), Ok(expected));
    }

    #[test]
    fn any_split_gives_the_same_objects_of_length_framing(objects in vec(vec(any::<u8>(), 0..20), 0..12), sizes in vec(0usize..9, 0..40)) {
        let cut = cut(Framing::Length, 1, &with_lengths(&objects), &sizes).expect("the stream is complete");
        prop_assert_eq!(cut, objects.into_iter().map(Bytes::from).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_keep_everything_in_order(stream in vec(any::<u8>(), 0..200), sizes in vec(0usize..40, 0..10), object_bytes in 1usize..20) {
        let objects = cut(Framing::Bytes, object_bytes, &stream, &sizes).expect("bytes cannot fail");
        prop_assert!(objects.iter().all(|object| (1..=object_bytes).contains(&object.len())));
        prop_assert_eq!(objects.concat(), stream);
    }

    #[test]
    fn arbitrary_bytes_never_panic(stream in vec(any::<u8>(), 0..100), sizes in vec(0usize..9, 0..20)) {
        let _ = cut(Framing::Length, 1, &stream, &sizes);
        let mut reader = ObjectReader::default();
        reader.push(&stream);
        while let Ok(Some(_)) = reader.next_object() {}
    }

    #[test]
    fn reader_reads_what_heads_say(objects in vec((any::<u64>(), vec(any::<u8>(), 0..20)), 0..12), size in 1usize..30) {
        let stream: Vec<u8> =
            objects.iter().flat_map(|(id, payload)| [&head(*id, payload.len())[..], payload].concat()).collect();
        let mut reader = ObjectReader::default();
        let mut read = Vec::new();
        for chunk in stream.chunks(size) {
            reader.push(chunk);
            while let Some((id, payload)) = reader.next_object().expect("lengths are small") {
                read.push((id, payload.to_vec()));
            }
        }
        prop_assert_eq!(read, objects);
        prop_assert!(reader.is_at_boundary());
    }
}
