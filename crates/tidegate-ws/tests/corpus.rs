//! Replays the corpus of the fuzz target, and near relatives of each input, on stable.

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/websocket.rs"]
mod websocket;

use std::fs;
use std::path::Path;

#[test]
fn the_websocket_corpus_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/websocket");
    let mut count = 0;
    for file in fs::read_dir(&directory).expect("the corpus") {
        let input = fs::read(file.expect("an entry").path()).expect("a corpus file");
        websocket::websocket(&input);
        for i in 0..input.len().min(200) {
            websocket::websocket(&input[..i]);
            websocket::websocket(&[&input[..i], &input[i + 1..]].concat());
            for bit in [0x01, 0x10, 0x80] {
                let mut flipped = input.clone();
                flipped[i] ^= bit;
                websocket::websocket(&flipped);
            }
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} files in {}", directory.display());
}
