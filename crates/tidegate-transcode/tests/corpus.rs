//! Replays the corpora of the codec's fuzz targets, and every beginning of each input, on stable.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/codec.rs"]
mod codec;

use std::fs;
use std::path::Path;

fn replay(target: &str, least: usize, property: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= least, "only {} files in {}", paths.len(), directory.display());
    for path in paths {
        let input = fs::read(&path).unwrap();
        // Cut anywhere: an input that has not arrived whole must not be worse than one that has.
        for end in 0..=input.len().min(400) {
            property(input.get(..end).unwrap());
        }
        property(&input);
    }
}

#[test]
fn json_becomes_readable_bytes_or_is_refused() {
    replay("json_to_wire", 30, codec::json_to_wire);
}

#[test]
fn bytes_become_json_that_is_read_back_or_are_refused() {
    replay("wire_to_json", 25, codec::wire_to_json);
}
