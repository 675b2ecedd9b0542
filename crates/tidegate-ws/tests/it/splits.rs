//! The same bytes give the same events, however they are cut.

use proptest::prelude::*;
use tidegate_ws::Limits;

use crate::frames::{any_frame, bytes, frame, read};

fn cut(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = places.iter().map(|place| place.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events(
        frames in prop::collection::vec(any_frame(), 1..8),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = bytes(&frames);
        let limits = Limits { message: 1000, fragments: 4 };
        for limits in [Limits::default(), limits] {
            let whole = read([&bytes[..]], limits);
            let pieces = cut(&bytes, &places);
            prop_assert_eq!(&read(pieces.iter().map(Vec::as_slice), limits), &whole);
            if bytes.len() < 2_000 {
                prop_assert_eq!(&read(bytes.chunks(1), limits), &whole);
            }
        }
    }
}

#[test]
fn a_long_message_is_the_same_in_pieces_of_every_size() {
    let text = "Wellen brechen 🌊 am Ufer. ".repeat(1_500);
    let bytes = bytes(&[frame(0x01, &text[..10_000]), frame(0x89, "alive?"), frame(0x80, &text[10_000..])]);
    let whole = read([&bytes[..]], Limits::default());
    assert_eq!(whole.len(), 2);
    for size in (1..40).chain([1_000, 4_096, 16_384]) {
        assert_eq!(read(bytes.chunks(size), Limits::default()), whole, "{size}");
    }
}
