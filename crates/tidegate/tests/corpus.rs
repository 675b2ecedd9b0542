//! Replays the corpora of the fuzz targets, and near relatives of each input, on stable.

#![expect(clippy::expect_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/http1.rs"]
mod http1;

use std::fs;
use std::path::Path;

use tidegate::fuzzing::{answers, requests};

/// `refused`: whether the reader finds a fault. It does in the files whose names begin with `bad_`, and in no other.
fn replay(target: &str, least: usize, property: fn(&[u8]), refused: fn(&[u8]) -> bool) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let (mut count, mut misnamed) = (0, Vec::new());
    for file in fs::read_dir(&directory).expect("the corpus") {
        let file = file.expect("an entry");
        let (name, input) = (file.file_name(), fs::read(file.path()).expect("a corpus file"));
        if refused(&input) != name.to_string_lossy().starts_with("bad_") {
            misnamed.push(name);
        }
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
    assert!(misnamed.is_empty(), "taken or refused against their names: {misnamed:?}");
    assert!(count >= least, "only {count} files in {}", directory.display());
}

#[test]
fn the_corpus_of_requests_holds() {
    replay("http1_requests", 25, http1::requests, |input| {
        requests::read([input]).iter().any(|seen| matches!(seen, requests::Seen::Fault(_)))
    });
}

#[test]
fn the_corpus_of_answers_holds() {
    replay("http1_answers", 20, http1::answers, |input| {
        let (first, input) = input.split_first().expect("a byte for the method");
        let seen = answers::read([input], first & 1 == 1);
        seen.iter().any(|seen| matches!(seen, answers::Seen::Fault(_)))
    });
}
