//! Replays the corpora of the fuzz targets, and near relatives of each input, on stable.

#![expect(clippy::expect_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/jwt.rs"]
mod jwt;

use std::fs;
use std::path::Path;

/// Runs `property` on every file of a corpus, on each beginning of it, and with each byte left out.
fn replay(target: &str, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut count = 0;
    for file in files {
        let input = fs::read(file.expect("an entry").path()).expect("a corpus file");
        property(&input);
        for i in 0..input.len().min(200) {
            property(&input[..i]);
            property(&[&input[..i], &input[i + 1..]].concat());
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} files in {}", directory.display());
}

#[test]
fn the_corpus_of_tokens_holds() {
    replay("jwt", jwt::jwt);
}

#[test]
fn the_corpus_of_keys_holds() {
    replay("jwt_keys", jwt::jwt_keys);
}
