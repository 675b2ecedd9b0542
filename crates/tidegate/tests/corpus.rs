//! Replays the corpora of the fuzz targets, and near relatives of each input, on stable.

#![expect(clippy::expect_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/http1.rs"]
mod http1;

use std::fs;
use std::path::Path;

fn replay(target: &str, least: usize, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for file in fs::read_dir(&directory).expect("the corpus") {
        let input = fs::read(file.expect("an entry").path()).expect("a corpus file");
        property(&input);
        for i in 0..input.len().min(120) {
            property(&input[..i]);
            property(&[&input[..i], &input[i + 1..]].concat());
            property(&[&input[..i], b"\r\n", &input[i..]].concat());
            for bit in [0x01, 0x10, 0x20, 0x80] {
                let mut flipped = input.clone();
                flipped[i] ^= bit;
                property(&flipped);
            }
        }
        count += 1;
    }
    assert!(count >= least, "only {count} files in {}", directory.display());
}

#[test]
fn the_corpus_of_requests_holds() {
    replay("http1_requests", 25, http1::requests);
}

#[test]
fn the_corpus_of_answers_holds() {
    replay("http1_answers", 20, http1::answers);
}
