//! Replays the corpus of the fuzz target, near relatives of each input, and random texts, on stable.

#![expect(clippy::unwrap_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/config.rs"]
mod config;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
    let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 50, "only {} files in {}", paths.len(), directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_corpus_holds() {
    for input in corpus() {
        config::config(&input);
        // Cut at each line and in the middle of each line: half-written files.
        let ends = input.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\n' | b':' | b'{' | b',' | b'"'));
        for (end, _) in ends {
            config::config(&input[..end]);
        }
    }
}

/// Pieces that mean something to YAML or to the expansion.
const PIECES: [&str; 24] = [
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!str ",
    "${SECRET}",
    "${",
    "$${",
    "{{ x }}",
    "null",
    "|\n  ",
    "# ",
    "\t",
    "\u{feff}",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_accepted_or_refused(text in "\\PC{0,200}") {
        config::config(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_accepted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        config::config(&bytes);
    }

    #[test]
    fn any_mix_of_yaml_is_accepted_or_refused(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.iter().map(|&piece| PIECES[piece]).collect();
        config::config(text.as_bytes());
    }

    #[test]
    fn a_damaged_configuration_is_accepted_or_refused(
        seed in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0..6_usize), 1..4),
    ) {
        let corpus = corpus();
        let mut text = seed.get(&corpus).clone();
        for (at, piece, remove) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + remove).min(text.len());
            text.splice(at..end, PIECES[piece].bytes());
        }
        config::config(&text);
    }
}
