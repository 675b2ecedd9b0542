//! Properties of the core engine's readers of news.

use core_engine::fuzzing::{self, News, NewsDocument};

/// Longest texts that an article may have, whatever a document holds.
const URL_MAX: usize = 2048;
const TITLE_MAX: usize = 512;
const SUMMARY_MAX: usize = 4096;
const NAME_MAX: usize = 128;
/// Items of one document.
const ITEMS_MAX: usize = 1000;
/// What a reason for a refusal may repeat of a document.
const REASON_MAX: usize = 1024;

/// Input: a feed, in the encoding that it says or that the transport could say. It becomes bounded articles, or is
/// refused with a reason, and twice in the same way.
pub fn news_feed(input: &[u8]) {
    for charset in [None, Some("windows-1252"), Some("utf-16le")] {
        let document = fuzzing::feed(input, charset);
        assert_eq!(document, fuzzing::feed(input, charset));
        check(input, &document);
    }
}

/// Input: an answer of NewsAPI.org. As above.
pub fn news_api(input: &[u8]) {
    let document = fuzzing::news_api(input);
    assert_eq!(document, fuzzing::news_api(input));
    check(input, &document);
}

fn check(input: &[u8], document: &NewsDocument) {
    match document {
        NewsDocument::Refused(reason) => assert!(!reason.is_empty() && reason.len() <= REASON_MAX, "{reason}"),
        NewsDocument::Read(articles, other) => {
            assert!(articles.len() <= ITEMS_MAX);
            // The shortest item is `{},` or `<item/>`.
            let items = articles.len() + *other as usize;
            assert!(items <= input.len() / 2, "{items} items in {} bytes", input.len());
            articles.iter().for_each(check_article);
        }
    }
}

fn check_article(article: &News) {
    assert!(article.url.starts_with("https://") || article.url.starts_with("http://"), "{article:?}");
    assert!(!article.url.contains('#') && article.url.is_ascii(), "{article:?}");
    assert_eq!(article.id.len(), 32);
    assert!(!article.title.is_empty(), "{article:?}");
    assert!(article.published <= fuzzing::fetched(), "{article:?}");
    assert!((-1.0..=1.0).contains(&article.sentiment), "{article:?}");
    for (text, max) in [
        (&article.url, URL_MAX),
        (&article.title, TITLE_MAX),
        (&article.summary, SUMMARY_MAX),
        (&article.publisher, NAME_MAX),
        (&article.author, NAME_MAX),
        (&article.language, NAME_MAX),
    ] {
        assert!(text.len() <= max, "{} bytes of at most {max}: {article:?}", text.len());
        assert!(!text.contains(char::is_control) && !text.contains("  "), "{article:?}");
        assert_eq!(text.trim(), text, "{article:?}");
    }
}
