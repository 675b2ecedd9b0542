//! Replays the corpora of the fuzz targets, every beginning of each input, and damaged ones, on stable.

#![expect(clippy::unwrap_used, reason = "a test")]

#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/market.rs"]
mod market;
#[expect(unreachable_pub, reason = "public in the fuzz package, which shares the file")]
#[path = "../../../fuzz/src/news.rs"]
mod news;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

fn corpus(target: &str, least: usize) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= least, "only {} files in {}", paths.len(), directory.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn replay(target: &str, least: usize, property: fn(&[u8])) {
    for input in corpus(target, least) {
        property(&input);
        // Cut anywhere: an input that has not arrived whole must not be worse than one that has.
        for end in 0..input.len().min(600) {
            property(&input[..end]);
        }
    }
}

#[test]
fn feeds_are_read_or_refused() {
    replay("news_feed", 20, news::news_feed);
}

#[test]
fn answers_of_news_api_are_read_or_refused() {
    replay("news_api", 12, news::news_api);
}

#[test]
fn charts_are_read_or_refused() {
    replay("yahoo_chart", 12, market::yahoo_chart);
}

#[test]
fn messages_of_exchanges_are_read_or_refused() {
    replay("exchange", 14, market::exchange);
}

#[test]
fn files_to_replay_are_read_or_refused() {
    replay("replay", 4, market::replay);
}

/// Pieces that mean something to XML, HTML, JSON or dates.
const PIECES: [&str; 30] = [
    "<item>",
    "</item>",
    "<entry>",
    "<title>",
    "</title>",
    "<link>",
    "</link>",
    "<link href='",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "&amp;",
    "&lt;b&gt;",
    "&#x41;",
    "&x;",
    "<",
    ">",
    "/>",
    "'",
    "\"",
    "https://a.example/",
    "null",
    ":",
    ",",
    "{",
    "}",
    "[",
    "\\u0000",
    "Sat, 28 Nov 26 9:30 EST",
];

/// An input of the corpus with some pieces put in the place of some bytes.
fn damaged(corpus: &[Vec<u8>], seed: prop::sample::Index, edits: &[(prop::sample::Index, usize, usize)]) -> Vec<u8> {
    let mut input = seed.get(corpus).clone();
    for (at, piece, remove) in edits {
        let at = at.index(input.len() + 1);
        let end = (at + remove).min(input.len());
        input.splice(at..end, PIECES[*piece].bytes());
    }
    input
}

fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, usize)>> {
    proptest::collection::vec((any::<prop::sample::Index>(), 0..PIECES.len(), 0..12_usize), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_feed_is_read_or_refused(seed in any::<prop::sample::Index>(), edits in edits()) {
        news::news_feed(&damaged(&corpus("news_feed", 1), seed, &edits));
    }

    #[test]
    fn a_damaged_answer_is_read_or_refused(seed in any::<prop::sample::Index>(), edits in edits()) {
        news::news_api(&damaged(&corpus("news_api", 1), seed, &edits));
    }

    #[test]
    fn damaged_market_data_is_read_or_refused(seed in any::<prop::sample::Index>(), edits in edits()) {
        market::yahoo_chart(&damaged(&corpus("yahoo_chart", 1), seed, &edits));
        market::exchange(&damaged(&corpus("exchange", 1), seed, &edits));
        market::replay(&damaged(&corpus("replay", 1), seed, &edits));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        news::news_feed(&bytes);
        news::news_api(&bytes);
    }
}
