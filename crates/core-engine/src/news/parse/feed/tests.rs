use std::sync::Arc;

use super::*;
use crate::news::article::samples::at;
use crate::news::article::{Article, Flaw};
use crate::news::canonical::BadUrl;
use crate::news::parse::{DOCUMENT_MAX_BYTES, ITEMS_MAX};

const RSS_2: &str = include_str!("../../../../tests/data/news/rss2.xml");
const RSS_091: &str = include_str!("../../../../tests/data/news/rss091.xml");
const RDF: &str = include_str!("../../../../tests/data/news/rdf.xml");
const ATOM: &str = include_str!("../../../../tests/data/news/atom.xml");

fn origin() -> Origin {
    Origin {
        source_id: Arc::from("rss"),
        base: Url::parse("https://origin.example/feeds/all.xml").ok(),
        fetched: at(0),
    }
}

fn read(document: &str) -> Result<Parsed, ParseError> {
    parse(document.as_bytes(), None, &origin())
}

/// All that a document says of its articles, one a line.
fn lines(parsed: &Parsed) -> Vec<String> {
    let line = |article: &Article| {
        let date = if article.dated { article.published.to_string() } else { "undated".to_owned() };
        let language = article.language.as_deref().unwrap_or("-");
        let author = article.author.as_deref().unwrap_or("-");
        let Article { url, title, summary, publisher, .. } = article;
        format!("{url} | {title} | {summary} | {publisher} | {author} | {date} | {language}")
    };
    parsed.articles.iter().map(line).collect()
}

/// The titles of a feed whose items are `items`.
fn titles(items: &str) -> Vec<String> {
    let document = format!("<rss version='2.0'><channel><title>T</title>{items}</channel></rss>");
    read(&document).unwrap().articles.into_iter().map(|article| article.title).collect()
}

#[test]
fn rss_2_is_read() {
    let parsed = read(RSS_2).unwrap();
    assert_eq!(
        lines(&parsed),
        [
            "https://ledger.example/copper | Copper rises as mines close | Supply is short & demand strong. It’s a great \
             year. | The Daily Ledger & Sons | The Metals Desk | 2026-11-28T09:30:00Z | en-gb",
            "https://ledger.example/harbour | Harbour reopens | Harbour Ships may enter again. | The Wire | A. Writer | \
             2026-11-28T09:15:00Z | en-gb",
            "https://ledger.example/only | Only a description, and a guid that is a link. | Only a description, and a \
             guid that is a link. | The Daily Ledger & Sons | - | undated | en-gb",
        ]
    );
    assert_eq!((parsed.malformed, parsed.first_flaw), (2, Some(Flaw::NoLink)));
    assert!(parsed.articles[0].sentiment > 0.3);
    assert_eq!(*parsed.articles[0].source_id, *"rss");
}

#[test]
fn rss_0_91_is_read_with_entities_nobody_declared() {
    let parsed = read(RSS_091).unwrap();
    assert_eq!(
        lines(&parsed),
        [
            "http://old.example/telegraph.html | Telegraph études — a &unknown; entity | AT&T wires & more | Old Times | - | \
          undated | en"
        ]
    );
}

#[test]
fn rss_1_0_is_read() {
    let parsed = read(RDF).unwrap();
    assert_eq!(
        lines(&parsed),
        [
            "https://grid.example/1 | Le réseau tient bon |  | Agence Réseau | - | 2026-11-27T00:00:00Z | fr-fr",
            "https://grid.example/2 | Sans lien |  | Grid News | - | undated | fr-fr",
        ]
    );
}

#[test]
fn atom_is_read_under_any_prefix() {
    let parsed = read(ATOM).unwrap();
    assert_eq!(
        lines(&parsed),
        [
            "https://orbit.example/blog/posts/1 | Is 1 < 2 & 3 > 2? | Yes, and it is good. | Orbit Log | Ada Orbit | \
             2026-11-28T06:00:00.5Z | en",
            "https://mirror.example/x/2 | A nested title <kept> here | Inhalt | Mirror | - | 2026-11-28T07:00:00Z | de",
        ]
    );
}

#[test]
fn encodings_are_those_of_mark_transport_or_declaration() {
    let body = b"<rss><channel><item><title>Z\xfcrich \x96 \x93Bank\x94</title><link>https://a.example/</link></item></channel></rss>";
    let declared = |label: &str| [format!("<?xml version='1.0' encoding='{label}'?>").as_bytes(), body].concat();
    for (document, charset) in [
        (declared("windows-1252"), None),
        (declared("ISO-8859-1"), None),
        (declared("utf-8"), Some("windows-1252")),
        (body.to_vec(), Some("iso-8859-1")),
    ] {
        let parsed = parse(&document, charset, &origin()).unwrap();
        assert_eq!((parsed.articles[0].title.as_str(), parsed.damaged), ("Zürich – “Bank”", false));
    }
    let parsed = parse(body, None, &origin()).unwrap();
    assert_eq!(
        (parsed.articles[0].title.as_str(), parsed.damaged),
        ("Z\u{fffd}rich \u{fffd} \u{fffd}Bank\u{fffd}", true)
    );
    let wide: Vec<u8> = RSS_2.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let parsed = parse(&[&[0xff, 0xfe], wide.as_slice()].concat(), None, &origin()).unwrap();
    assert_eq!(parsed.articles, read(RSS_2).unwrap().articles);
}

#[test]
fn a_cut_document_tells_how_much_was_read() {
    let count = |needle: &str, end: usize| RSS_2[..end].matches(needle).count();
    let body = RSS_2.find("<rss").unwrap() + "<rss version=\"2.0\"".len();
    for end in (body..RSS_2.trim_end().len()).filter(|end| RSS_2.is_char_boundary(*end)) {
        let closed = u32::try_from(count("</item>", end)).unwrap();
        match read(&RSS_2[..end]) {
            // The root cannot be told before its tag is whole.
            Err(ParseError::Foreign { .. }) => assert!(!RSS_2[body..end].contains('>'), "{end}"),
            found => assert_eq!(found, Err(ParseError::Truncated { read: closed }), "{end}: {}", &RSS_2[..end]),
        }
    }
}

#[test]
fn what_is_no_feed_is_told() {
    for (document, expected) in [
        ("", "nothing"),
        ("   \n", "nothing"),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", "<html>"),
        ("{\"status\":\"ok\"}", "text"),
        ("<?xml version='1.0'?><opml><body/></opml>", "<opml>"),
        ("<feed xmlns='urn:other'/>", "<feed>"),
        ("\0\0\0", "text"),
    ] {
        let expected = ParseError::Foreign { expected: EXPECTED, found: expected.to_owned() };
        assert_eq!(read(document), Err(expected), "{document}");
    }
    let large = vec![b' '; DOCUMENT_MAX_BYTES + 1];
    assert_eq!(parse(&large, None, &origin()), Err(ParseError::TooLarge { bytes: large.len() }));
}

#[test]
fn an_empty_feed_has_no_articles() {
    for document in
        ["<rss/>", "<rss version='2.0'><channel/></rss>", "<feed xmlns='http://www.w3.org/2005/Atom'></feed>"]
    {
        assert_eq!(read(document), Ok(Parsed::default()), "{document}");
    }
}

#[test]
fn markup_that_is_wrong_breaks_a_document() {
    let item = "<item><title>a</title><link>https://a.example/</link></item>";
    let crowded: String = (0..200).map(|number| format!(" xmlns:n{number}='urn:{number}'")).collect();
    for rest in ["<item><title>b</item>", "<!wrong>", "</item>", &format!("<x{crowded}/>")] {
        let broken = read(&format!("<rss><channel>{item}{rest}</channel></rss>"));
        assert!(matches!(&broken, Err(ParseError::Broken { read: 1, .. })), "{rest}: {broken:?}");
    }
}

#[test]
fn entities_of_a_document_are_not_expanded() {
    let document = "<!DOCTYPE rss [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\"><!ENTITY x SYSTEM \"file:///etc/passwd\">]>\
                    <rss><channel><item><title>&b;&x;</title><link>https://a.example/&amp;</link></item></channel></rss>";
    let parsed = read(document).unwrap();
    assert_eq!(parsed.articles[0].title, "&b;&x;");
    assert_eq!(parsed.articles[0].url, "https://a.example/&");
}

#[test]
fn depth_is_bounded() {
    let nested =
        |depth: usize| format!("<rss><channel>{}{}</channel></rss>", "<x>".repeat(depth), "</x>".repeat(depth));
    assert_eq!(read(&nested(DEPTH_MAX - 2)), Ok(Parsed::default()));
    assert!(matches!(read(&nested(DEPTH_MAX - 1)), Err(ParseError::Broken { read: 0, .. })));
    assert!(matches!(read(&"<rss>".repeat(100_000)), Err(ParseError::Broken { .. })));
}

#[test]
fn items_are_bounded_and_the_others_counted() {
    let item = |number: usize| format!("<item><title>t</title><link>https://a.example/{number}</link></item>");
    let items: String = (0..ITEMS_MAX + 5).map(item).collect();
    let parsed = read(&format!("<rss><channel>{items}</channel></rss>")).unwrap();
    assert_eq!((parsed.articles.len(), parsed.skipped, parsed.malformed), (ITEMS_MAX, 5, 0));
}

#[test]
fn texts_are_bounded() {
    let long = "word ".repeat(100_000);
    let items = format!(
        "<item><title>{long}</title><description>{long}</description><author>{long}</author><link>https://a.example/</link></item>\
         <item><title>t</title><link>https://a.example/{}</link></item>",
        "x".repeat(100_000)
    );
    let parsed = read(&format!("<rss><channel>{items}</channel></rss>")).unwrap();
    let [article] = parsed.articles.as_slice() else { panic!("{parsed:?}") };
    assert!(article.title.len() <= TITLE_MAX_BYTES && article.title.ends_with('…'));
    assert!(article.summary.len() <= SUMMARY_MAX_BYTES);
    assert!(article.author.as_ref().unwrap().len() <= NAME_MAX_BYTES);
    assert_eq!(parsed.first_flaw, Some(Flaw::BadLink(BadUrl::TooLong)));
}

#[test]
fn titles_are_plain_however_they_are_written() {
    let titles = titles(
        "<item><title>S&amp;amp;P &amp; &lt;b&gt;AT&amp;T&lt;/b&gt;</title><link>https://a.example/1</link></item>\
         <item><title><![CDATA[S&amp;P <i>up</i> 1 < 2]]></title><link>https://a.example/2</link></item>\
         <item><title>raw <b>markup</b> &lt;kept&gt;</title><link>https://a.example/3</link></item>\
         <item><title> </title><title>second</title><link>https://a.example/4</link></item>\
         <item><link>https://a.example/5</link><media:group><media:title>no</media:title><media:description>of the \
         picture</media:description></media:group></item>",
    );
    assert_eq!(titles, ["S&P & AT&T", "S&P up 1 < 2", "raw markup <kept>", "second", "of the picture"]);
}

#[test]
fn links_are_found_in_their_order() {
    let url = |item: &str| {
        let parsed = read(&format!("<rss><channel><item><title>t</title>{item}</item></channel></rss>")).unwrap();
        parsed.articles.first().map_or_else(|| format!("{:?}", parsed.first_flaw), |article| article.url.clone())
    };
    for (item, expected) in [
        ("<link>https://a.example/1</link><guid>https://a.example/2</guid>", "https://a.example/1"),
        ("<guid>https://a.example/2</guid><link/>", "https://a.example/2"),
        ("<guid>2</guid>", "Some(NoLink)"),
        (
            "<atom:link rel='self' href='https://a.example/3'/><atom:link href='https://a.example/4'/>",
            "https://a.example/4",
        ),
        (
            "<link>https://proxy.example/1</link><feedburner:origLink>https://a.example/5</feedburner:origLink>",
            "https://a.example/5",
        ),
        ("<link><![CDATA[ https://a.example/6?a=1&b=2 ]]></link>", "https://a.example/6?a=1&b=2"),
        ("<link>7</link>", "https://origin.example/feeds/7"),
        ("<link>//cdn.example/8</link>", "https://cdn.example/8"),
    ] {
        assert_eq!(url(item), expected, "{item}");
    }
}
