//! What is refused, and when.

use tidegate_ws::{Fault, Limits, Opcode, Reader, Side, write_frame};

use crate::frames::{Frame, Seen, bytes, frame, read};

fn fault(frames: &[Frame]) -> Option<Fault> {
    match read([&bytes(frames)[..]], Limits::default()).last() {
        Some(Seen::Fault(fault)) => Some(*fault),
        _ => None,
    }
}

#[test]
fn every_rule_of_frames_is_kept() {
    let unmasked = |first| Frame { masked: false, ..frame(first, "x") };
    for (frames, expected) in [
        (vec![frame(0x81, "ok"), frame(0x00, "x")], Fault::LoneContinuation),
        (vec![frame(0x80, "x")], Fault::LoneContinuation),
        (vec![frame(0x01, "a"), frame(0x81, "b")], Fault::NestedMessage),
        (vec![frame(0x01, "a"), frame(0x02, "b")], Fault::NestedMessage),
        (vec![unmasked(0x81)], Fault::Unmasked),
        (vec![unmasked(0x89)], Fault::Unmasked),
        (vec![frame(0x09, "")], Fault::FragmentedControl),
        (vec![frame(0x89, vec![0; 126])], Fault::LongControl),
        (vec![frame(0x88, "x")], Fault::BadClose),
        (vec![frame(0x88, [3, 237])], Fault::BadClose),
        (vec![frame(0x88, [3, 232, 0xff])], Fault::NotUtf8),
        (vec![frame(0x81, [0xff])], Fault::NotUtf8),
        (vec![frame(0x01, [0xce, 0xba]), frame(0x80, [0xed, 0xa0, 0x80])], Fault::NotUtf8),
        (vec![frame(0x01, [0xe2, 0x98]), frame(0x80, "")], Fault::NotUtf8),
        (vec![frame(0x82, vec![0; 65_537])], Fault::TooLarge),
        (vec![frame(0x02, vec![0; 65_000]), frame(0x80, vec![0; 537])], Fault::TooLarge),
        (std::iter::once(frame(0x01, "")).chain((0..1024).map(|_| frame(0x00, ""))).collect(), Fault::TooManyFragments),
    ] {
        assert_eq!(fault(&frames), Some(expected), "{:?}", frames.first());
    }
    for first in [0xc1, 0xa1, 0x91, 0xc9, 0xa8] {
        assert_eq!(fault(&[frame(first, "")]), Some(Fault::ReservedBit), "{first:x}");
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(fault(&[frame(0x80 | opcode, "")]), Some(Fault::ReservedOpcode), "{opcode}");
    }
}

#[test]
fn what_is_just_allowed_is_taken() {
    let fragments = std::iter::once(frame(0x01, "a")).chain((0..1022).map(|_| frame(0x00, "b")));
    let fragments: Vec<Frame> = fragments.chain([frame(0x80, "c")]).collect();
    assert_eq!(read([&bytes(&fragments)[..]], Limits::default()).len(), 1);
    let largest = bytes(&[frame(0x82, vec![1; 65_536])]);
    assert_eq!(read([&largest[..]], Limits::default()), [Seen::Binary(vec![1; 65_536])]);
}

#[test]
fn a_fault_is_found_before_what_it_announces_has_come() {
    let announced = [0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(read([&announced[..]], Limits::default()), [Seen::Fault(Fault::TooLarge)]);
    // The first byte of a text that goes wrong is enough.
    let text = bytes(&[frame(0x01, [b'a', 0xff, b'b', b'c'])]);
    let before_the_end = &text[..text.len() - 2];
    assert_eq!(read([before_the_end], Limits::default()), [Seen::Fault(Fault::NotUtf8)]);
}

#[test]
fn after_the_end_nothing_more_is_said() {
    let after = |frames: &[Frame]| read([&bytes(frames)[..]], Limits::default());
    let closed = after(&[frame(0x88, [3, 232]), frame(0x81, "late"), frame(0x00, "")]);
    assert_eq!(closed, [Seen::Close(Some((1000, String::new())))]);
    let broken = after(&[frame(0x81, [0xff]), frame(0x81, "late")]);
    assert_eq!(broken, [Seen::Fault(Fault::NotUtf8)]);
}

#[test]
fn a_client_takes_what_a_server_writes_and_no_masks() {
    let mut sent = Vec::new();
    write_frame(Opcode::Text, "Gezeiten".as_bytes(), &mut sent);
    let mut reader = Reader::new(Side::Client, Limits::default());
    let mut input = &sent[..];
    assert_eq!(reader.next(&mut input), Ok(Some(tidegate_ws::Event::Text("Gezeiten"))));
    assert!(!reader.is_inside_message() && reader.is_between_frames());
    let masked = bytes(&[frame(0x81, "x")]);
    assert_eq!(reader.next(&mut &masked[..]), Err(Fault::Masked));
}

#[test]
fn a_message_that_is_not_whole_is_known_to_be_open() {
    let mut reader = Reader::new(Side::Server, Limits::default());
    let text = bytes(&[frame(0x01, "a"), frame(0x89, ""), frame(0x80, "b")]);
    let mut open = Vec::new();
    for byte in text.chunks(1) {
        let _event = reader.next(&mut &*byte).expect("all is well");
        open.push(reader.is_inside_message());
    }
    let first = open.iter().position(|open| *open).expect("it opens");
    assert!(first <= 6, "{open:?}");
    assert!(open[first..open.len() - 1].iter().all(|open| *open), "{open:?}");
    assert_eq!(open.last(), Some(&false));
}
