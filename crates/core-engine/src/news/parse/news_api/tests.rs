use std::sync::Arc;

use super::*;
use crate::news::article::samples::at;
use crate::news::parse::{DOCUMENT_MAX_BYTES, ITEMS_MAX};

const OK: &str = include_str!("../../../../tests/data/news/news_api.json");
const ERROR: &str = include_str!("../../../../tests/data/news/news_api_error.json");

fn origin() -> Origin {
    Origin { source_id: Arc::from("news_api"), base: None, fetched: at(0) }
}

fn read(document: &str) -> Result<Parsed, ParseError> {
    parse(document.as_bytes(), Some("en"), &origin())
}

#[test]
fn an_answer_is_read() {
    let parsed = read(OK).unwrap();
    let shown: Vec<_> = parsed
        .articles
        .iter()
        .map(|article| {
            let date = if article.dated { article.published.to_string() } else { "undated".to_owned() };
            let author = article.author.as_deref().unwrap_or("-");
            format!(
                "{} | {} | {} | {} | {author} | {date}",
                article.url, article.title, article.summary, article.publisher
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "https://ledger.example/copper?id=7 | Copper rises & mines close - The Ledger | Supply is short. Demand is \
             strong. | The Ledger | Ada Writer | 2026-11-28T09:30:00Z",
            "https://wire.example/harbour | Harbour reopens | Ships may enter the harbour again… | Wire.example | - | \
             2026-11-28T09:00:00Z",
            "https://wire.example/drift | Schema drift |  |  | - | undated",
        ]
    );
    assert_eq!((parsed.malformed, parsed.first_flaw), (4, Some(Flaw::NoLink)));
    assert_eq!((parsed.removed, parsed.skipped, parsed.total, parsed.damaged), (1, 0, Some(4217), false));
    assert_eq!(parsed.articles[0].language.as_deref(), Some("en"));
}

#[test]
fn a_refusal_is_told_as_it_is() {
    let expected = ParseError::Refused {
        refusal: Refusal::Throttled,
        code: "rateLimited".to_owned(),
        message: "You have made too many requests recently. Developer accounts are limited.".to_owned(),
    };
    assert_eq!(read(ERROR), Err(expected));
    let bare = ParseError::Refused {
        refusal: Refusal::Unexpected,
        code: "unexpectedError".to_owned(),
        message: String::new(),
    };
    assert_eq!(read(r#"{"status":"error","code":null,"message":5,"articles":[]}"#), Err(bare));
    for (code, expected) in [
        ("apiKeyExhausted", Refusal::Throttled),
        ("apiKeyInvalid", Refusal::Key),
        ("parametersMissing", Refusal::Request),
        ("somethingNew", Refusal::Unexpected),
    ] {
        let found = read(&format!(r#"{{"status":"error","code":"{code}","message":"m"}}"#));
        assert!(matches!(&found, Err(ParseError::Refused { refusal, .. }) if *refusal == expected), "{found:?}");
    }
}

#[test]
fn members_come_in_any_order() {
    let parsed =
        read(r#"{"articles":[{"url":"https://a.example/","title":"t"}],"totalResults":"many","status":"ok"}"#).unwrap();
    assert_eq!((parsed.articles.len(), parsed.total), (1, None));
}

#[test]
fn a_cut_answer_tells_how_much_was_read() {
    for (end, read_before) in
        [(OK.find("\"author\"").unwrap(), 0), (OK.find("Harbour").unwrap(), 1), (OK.find("requestId").unwrap(), 8)]
    {
        assert_eq!(read(&OK[..end]), Err(ParseError::Truncated { read: read_before }));
    }
    for end in (1..OK.trim_end().len()).filter(|end| OK.is_char_boundary(*end)) {
        assert!(matches!(read(&OK[..end]), Err(ParseError::Truncated { .. })), "{end}");
    }
}

#[test]
fn what_is_no_answer_is_told() {
    for (document, expected) in [
        ("", "no JSON object"),
        ("<html></html>", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "an object without a known status"),
        (r#"{"status":1}"#, "an object without a known status"),
        (r#"{"status":"ok"}"#, "an answer without a list of articles"),
        (r#"{"status":"ok","articles":null}"#, "an answer without a list of articles"),
    ] {
        assert_eq!(read(document), Err(foreign(expected)), "{document}");
    }
    for document in [
        r#"{"status":"ok","articles":{}}"#,
        r#"{"status":"ok","articles":[],"articles":[]}"#,
        "{\"a\":1}x",
        "{\"a\" 1}",
    ] {
        assert!(matches!(read(document), Err(ParseError::Broken { .. })), "{document}");
    }
    let large = vec![b' '; DOCUMENT_MAX_BYTES + 1];
    assert_eq!(parse(&large, None, &origin()), Err(ParseError::TooLarge { bytes: large.len() }));
}

#[test]
fn bytes_that_are_no_text_damage_one_article() {
    let document =
        b"\xef\xbb\xbf{\"status\":\"ok\",\"articles\":[{\"url\":\"https://a.example/\",\"title\":\"caf\xe9\"}]}";
    let parsed = parse(document, None, &origin()).unwrap();
    assert_eq!((parsed.articles[0].title.as_str(), parsed.damaged), ("caf\u{fffd}", true));
}

#[test]
fn depth_and_number_of_articles_are_bounded() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let parsed = read(&format!(
        r#"{{"status":"ok","x":{deep},"articles":[{deep},{{"url":"https://a.example/","title":"t"}}]}}"#
    ))
    .unwrap();
    assert_eq!((parsed.articles.len(), parsed.first_flaw), (1, Some(Flaw::NotAnItem)));
    let item = r#"{"url":"https://a.example/","title":"t"},"#;
    let parsed = read(&format!(r#"{{"status":"ok","articles":[{}{{}}]}}"#, item.repeat(ITEMS_MAX + 4))).unwrap();
    assert_eq!((parsed.articles.len(), parsed.skipped), (ITEMS_MAX, 5));
}
