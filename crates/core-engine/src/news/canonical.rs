//! One form for many spellings, so that the same article is recognised when it comes again.
//!
//! The canonical URL is the same page and still a link that works. The keys are for comparing alone and go further:
//! they join `http` and `https`, and pages for telephones with those for desks.

use url::Url;

use super::text::{head, words};

/// Longest URL, before and after.
pub(crate) const URL_MAX_BYTES: usize = 2048;
/// Parameters of a query; a URL with more is refused, because they are sorted.
const PARAMETERS_MAX: usize = 64;

/// Names of parameters that tell where a reader came from, and nothing about the page. Compared in lower case.
const TRACKING: [&str; 46] = [
    "__twitter_impression",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "at_campaign",
    "at_medium",
    "campaign_id",
    "cmp",
    "cmpid",
    "cvid",
    "dclid",
    "fbclid",
    "feedname",
    "feedtype",
    "ftag",
    "gbraid",
    "gclid",
    "gclsrc",
    "guccounter",
    "guce_referrer",
    "guce_referrer_sig",
    "igshid",
    "ito",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "msclkid",
    "ncid",
    "ocid",
    "oly_anon_id",
    "oly_enc_id",
    "ref_src",
    "ref_url",
    "s_cid",
    "smid",
    "soc_src",
    "soc_trk",
    "srnd",
    "taid",
    "ttclid",
    "twclid",
    "wbraid",
    "wt.mc_id",
    "xtor",
    "yclid",
];
/// Families of such parameters.
const TRACKING_PREFIXES: [&str; 5] = ["utm_", "pk_", "mtm_", "hsa_", "vero_"];
/// First labels of hosts that show the same pages in another dress.
const DRESSES: [&str; 4] = ["www.", "m.", "mobile.", "amp."];

/// Names at the end of titles that are no part of them, whoever published the copy.
const AGENCIES: [&str; 12] = [
    "afp",
    "ap",
    "ap news",
    "associated press",
    "bloomberg",
    "cnbc",
    "financial times",
    "marketwatch",
    "reuters",
    "the wall street journal",
    "wsj",
    "yahoo finance",
];
/// What parts a title from the name of its publisher.
const SEPARATORS: [&str; 4] = [" - ", " – ", " — ", " | "];
/// A title of fewer words and bytes is a heading that comes again (`Market wrap`), and no sign of the same article.
const TITLE_MIN_WORDS: usize = 4;
const TITLE_MIN_BYTES: usize = 24;

/// Why a text is not the URL of an article.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadUrl {
    TooLong,
    /// No URL, or a relative one without a base.
    Unreadable,
    /// Neither `http` nor `https`.
    Scheme,
    TooManyParameters,
}

/// As much of a link as it takes to see that it is too long, even where the cut falls into a character.
pub(crate) fn bounded_link(link: &str) -> &str {
    head(link.trim(), URL_MAX_BYTES + char::MAX.len_utf8())
}

/// The canonical form of a link: scheme and host in lower case, without user, default port, fragment, tracking
/// parameters and trailing slash; parameters sorted. Relative links are resolved against `base`.
///
/// # Errors
/// If it is none, is longer than [`URL_MAX_BYTES`], or leads elsewhere than to the web.
pub(crate) fn canonical_url(link: &str, base: Option<&Url>) -> Result<String, BadUrl> {
    let link = link.trim();
    if link.len() > URL_MAX_BYTES {
        return Err(BadUrl::TooLong);
    }
    let mut url = Url::options().base_url(base).parse(link).map_err(|_| BadUrl::Unreadable)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BadUrl::Scheme);
    }
    url.set_fragment(None);
    // These fail for URLs without a host only, and the web's have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Some(host) = url.host_str().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
        url.set_host(Some(&host)).map_err(|_| BadUrl::Unreadable)?;
    }
    let query = canonical_query(url.query().unwrap_or_default())?;
    url.set_query(query.as_deref());
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let mut canonical = String::from(url);
    canonical.shrink_to_fit();
    if canonical.len() > URL_MAX_BYTES { Err(BadUrl::TooLong) } else { Ok(canonical) }
}

fn canonical_query(query: &str) -> Result<Option<String>, BadUrl> {
    let mut kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX + 1).collect();
    if kept.len() > PARAMETERS_MAX {
        return Err(BadUrl::TooManyParameters);
    }
    kept.retain(|pair| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name).to_ascii_lowercase();
        !TRACKING.contains(&name.as_str()) && !TRACKING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    kept.sort_unstable();
    Ok((!kept.is_empty()).then(|| kept.join("&")))
}

/// What is the same for the same article, of a canonical URL. Not a link.
pub(crate) fn url_key(canonical: &str) -> &str {
    let bare = canonical.split_once("://").map_or(canonical, |(_, bare)| bare);
    let dressed = DRESSES.iter().find_map(|dress| bare.strip_prefix(dress));
    // `m.tv` is a site of its own: what is left must still be a host with a dot.
    let bare = dressed.filter(|rest| host(rest).contains('.')).unwrap_or(bare);
    bare.trim_end_matches('/').strip_suffix("/amp").unwrap_or(bare).trim_end_matches('/')
}

/// What is the same for the same title: its words, without the name of the publisher or of a news agency at the end.
/// `None` for a title that is too short to tell anything.
pub(crate) fn title_key(title: &str, publisher: &str, canonical: &str) -> Option<String> {
    let title = without_publisher(title, publisher, canonical);
    let words: Vec<String> = words(title).collect();
    let key = words.join(" ");
    (words.len() >= TITLE_MIN_WORDS || key.len() >= TITLE_MIN_BYTES).then_some(key)
}

fn without_publisher<'t>(title: &'t str, publisher: &str, canonical: &str) -> &'t str {
    let last = SEPARATORS.iter().filter_map(|separator| title.rsplit_once(separator));
    let Some((rest, name)) = last.min_by_key(|(_, name)| name.len()) else { return title };
    let key = |text: &str| words(text).collect::<Vec<_>>().join(" ");
    let name = key(name);
    let of_host = |name: &str| {
        let mut labels = host(url_key(canonical)).rsplit('.');
        let _top = labels.next();
        labels.next().is_some_and(|label| label == name.replace(' ', ""))
    };
    let is_publisher = name == key(publisher) || of_host(&name) || AGENCIES.contains(&name.as_str());
    if is_publisher && words(rest).nth(1).is_some() { rest } else { title }
}

fn host(bare: &str) -> &str {
    let host = head(bare, URL_MAX_BYTES);
    host.split(['/', '?', ':']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_a_link_become_one() {
        let base = Url::parse("https://news.example.com/feeds/all.xml").unwrap();
        for (link, expected) in [
            ("HTTPS://News.Example.COM:443/a/b/#top", Ok("https://news.example.com/a/b")),
            ("http://example.com:80", Ok("http://example.com/")),
            ("http://example.com:8080/", Ok("http://example.com:8080/")),
            ("https://example.com/a?utm_source=rss&b=2&a=1&UTM_Medium=x&fbclid=q", Ok("https://example.com/a?a=1&b=2")),
            ("https://example.com/a?gclid=1", Ok("https://example.com/a")),
            ("https://example.com/a?", Ok("https://example.com/a")),
            ("https://example.com/a?q=a%26b&&q=", Ok("https://example.com/a?q=&q=a%26b")),
            ("https://user:secret@example.com/a", Ok("https://example.com/a")),
            ("https://example.com./a", Ok("https://example.com/a")),
            ("/world/1", Ok("https://news.example.com/world/1")),
            ("../x?id=3", Ok("https://news.example.com/x?id=3")),
            ("//cdn.example.com/y", Ok("https://cdn.example.com/y")),
            ("  https://example.com/a\n", Ok("https://example.com/a")),
            ("https://münchen.example/ä", Ok("https://xn--mnchen-3ya.example/%C3%A4")),
            ("ftp://example.com/a", Err(BadUrl::Scheme)),
            ("javascript:alert(1)", Err(BadUrl::Scheme)),
            ("data:text/html,x", Err(BadUrl::Scheme)),
            ("https://", Err(BadUrl::Unreadable)),
            ("https://exa mple.com/", Err(BadUrl::Unreadable)),
        ] {
            assert_eq!(canonical_url(link, Some(&base)).as_deref().map_err(|bad| *bad), expected, "{link}");
        }
        assert_eq!(canonical_url("/world/1", None), Err(BadUrl::Unreadable));
        assert_eq!(canonical_url(&format!("https://a.b/{}", "x".repeat(2048)), None), Err(BadUrl::TooLong));
        assert_eq!(canonical_url(&format!("https://a.b/{}", "ä".repeat(900)), None), Err(BadUrl::TooLong));
        for length in 2030..2060 {
            let link = format!(" https://a.b/{}🚀 ", "x".repeat(length));
            assert_eq!(canonical_url(bounded_link(&link), None), canonical_url(&link, None));
        }
        assert_eq!(canonical_url(&format!("https://a.b/?{}", "x&".repeat(65)), None), Err(BadUrl::TooManyParameters));
    }

    #[test]
    fn a_key_joins_schemes_and_dresses() {
        for (canonical, expected) in [
            ("https://www.example.com/a", "example.com/a"),
            ("http://example.com/a", "example.com/a"),
            ("https://m.example.com/a/amp", "example.com/a"),
            ("https://amp.example.com/", "example.com"),
            ("https://m.tv/a", "m.tv/a"),
            ("https://amplify.com/a", "amplify.com/a"),
            ("https://example.com/lamp", "example.com/lamp"),
        ] {
            assert_eq!(url_key(canonical), expected, "{canonical}");
        }
    }

    #[test]
    fn a_title_is_known_by_its_words() {
        for (title, publisher, expected) in [
            ("Fed Raises Rates, Again!", "", Some("fed raises rates again")),
            ("Fed raises rates again - Reuters", "", Some("fed raises rates again")),
            ("Fed raises rates again | The Daily Ledger", "The Daily Ledger", Some("fed raises rates again")),
            ("Fed raises rates again — Example", "", Some("fed raises rates again")),
            ("Fed raises rates - again", "", Some("fed raises rates again")),
            ("Oil - Gas - Coal prices rise – AP", "", Some("oil gas coal prices rise")),
            ("Reuters - Reuters", "Reuters", None),
            ("Market wrap", "", None),
            ("日本銀行は政策金利を引き上げた", "", Some("日本銀行は政策金利を引き上げた")),
            ("", "", None),
        ] {
            let found = title_key(title, publisher, "https://www.example.com/a");
            assert_eq!(found.as_deref(), expected, "{title}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_canonical_url_is_its_own(
            link in "https?://([a-z]{1,5}\\.){1,3}[a-z]{2}(:[0-9]{2,4})?(/[a-zA-Z0-9%._~/-]{0,12})?(\\?[a-z&=_%0-9]{0,20})?(#[a-z]{0,4})?"
        ) {
            if let Ok(once) = canonical_url(&link, None) {
                prop_assert_eq!(canonical_url(&once, None), Ok(once.clone()));
                prop_assert!(!url_key(&once).contains("://"));
            }
        }

        #[test]
        fn any_text_is_a_link_or_not(link in "\\PC{0,80}") {
            let _ = canonical_url(&link, None);
            let _ = title_key(&link, &link, &link);
            let _ = url_key(&link);
        }
    }
}
