use proptest::prelude::*;

use super::*;
use crate::news::article::samples::{article, at};

fn limits() -> LibraryLimits {
    LibraryLimits {
        all: Bounds { articles: 4, bytes: 1 << 20 },
        per_source: Bounds { articles: 3, bytes: 1 << 20 },
        max_age: Duration::from_secs(1000),
        title_window: Duration::from_secs(100),
    }
}

fn links(articles: &[Arc<Article>]) -> Vec<&str> {
    articles.iter().map(|article| article.url.rsplit('/').next().unwrap()).collect()
}

/// Inserts articles of unlike titles: source, link and second.
fn library(inserted: &[(&str, &str, i64)]) -> Library {
    let mut library = Library::new(limits());
    for (source, link, second) in inserted {
        library.insert(article(source, link, link, *second), at(*second));
    }
    library
}

#[test]
fn the_newest_come_first_whatever_the_order_of_arrival() {
    let library = library(&[("s", "b", 2), ("r", "c", 3), ("s", "a", 1)]);
    assert_eq!(links(&library.newest(10, None)), ["c", "b", "a"]);
    assert_eq!(links(&library.newest(2, None)), ["c", "b"]);
    assert_eq!(links(&library.newest(10, Some("s"))), ["b", "a"]);
    assert_eq!(links(&library.newest(10, Some("x"))), Vec::<&str>::new());
}

#[test]
fn the_oldest_makes_place_of_its_source_or_of_all() {
    let full = library(&[("s", "a", 1), ("s", "b", 2), ("s", "c", 3), ("s", "d", 4)]);
    assert_eq!(links(&full.newest(10, None)), ["d", "c", "b"]);
    let full = library(&[("s", "a", 1), ("s", "b", 2), ("s", "c", 3), ("r", "d", 4), ("q", "e", 5)]);
    assert_eq!(links(&full.newest(10, None)), ["e", "d", "c", "b"]);
    assert_eq!((full.counts().evicted, full.counts_of("s").evicted, full.counts_of("q").evicted), (1, 1, 0));
}

#[test]
fn an_article_older_than_all_is_refused_when_there_is_no_place() {
    let mut library = library(&[("s", "b", 2), ("s", "c", 3), ("s", "d", 4)]);
    assert_eq!(library.insert(article("s", "a", "a", 1), at(4)), Insertion::Refused(Refusal::Full));
    assert_eq!(links(&library.newest(10, None)), ["d", "c", "b"]);
    let counts = library.counts();
    assert_eq!((counts.inserted, counts.evicted, counts.refused_full), (3, 0, 1));
    assert!(
        matches!(library.insert(article("r", "a", "a", 1), at(4)), Insertion::Inserted(_)),
        "nothing of it is left"
    );
}

#[test]
fn age_is_counted_from_publication() {
    let mut library = library(&[("s", "a", 0), ("s", "b", 500)]);
    assert_eq!(library.insert(article("s", "c", "c", -1), at(1000)), Insertion::Refused(Refusal::TooOld));
    library.expire(at(1000));
    assert_eq!(links(&library.newest(10, None)), ["b", "a"]);
    library.expire(at(1001));
    assert_eq!(links(&library.newest(10, None)), ["b"]);
    assert_eq!((library.counts().expired, library.counts().refused_old), (1, 1));
}

#[test]
fn bytes_are_bounded() {
    let one = Entry::new(article("s", "a", "a", 0)).bytes;
    let bounds = Bounds { articles: 100, bytes: 2 * one + one / 2 };
    let mut library = Library::new(LibraryLimits { all: bounds, ..limits() });
    for (link, second) in [("a", 0), ("b", 1), ("c", 2)] {
        library.insert(article("s", link, link, second), at(second));
    }
    assert_eq!(links(&library.newest(10, None)), ["c", "b"]);
    assert_eq!(library.counts().bytes, 2 * one);
    let large = article("s", "d", &"word ".repeat(300), 3);
    assert_eq!(library.insert(large, at(3)), Insertion::Refused(Refusal::TooLarge));
}

#[test]
fn the_same_url_or_title_is_the_same_article() {
    let mut library = Library::new(limits());
    let mut insert =
        |link: &str, title: &str, second| match library.insert(article("s", link, title, second), at(second)) {
            Insertion::Duplicate(sameness) => Some(sameness),
            Insertion::Inserted(_) => None,
            Insertion::Refused(refusal) => panic!("{refusal:?}"),
        };
    assert_eq!(insert("a?utm_source=x", "Fed raises rates once more", 0), None);
    assert_eq!(insert("a/#top", "Another title altogether it is", 1), Some(Sameness::Url));
    assert_eq!(insert("b", "FED RAISES RATES: once more! - Reuters", 100), Some(Sameness::Title));
    assert_eq!(insert("b", "Fed raises rates once more", 101), None, "the window is over");
    assert_eq!(insert("c", "Market wrap", 102), None);
    assert_eq!(insert("d", "Market wrap", 103), None, "a heading is no title");
    assert_eq!((library.counts().same_url, library.counts_of("s").same_title), (1, 1));
}

#[test]
fn a_source_too_many_is_refused() {
    let mut library = Library::new(limits());
    for number in 0..SOURCES_MAX {
        library.insert(article(&format!("s{number}"), &format!("{number}"), "x", 0), at(0));
    }
    assert_eq!(library.insert(article("more", "z", "z", 1), at(1)), Insertion::Refused(Refusal::TooManySources));
    assert!(matches!(library.insert(article("s0", "z", "z", 1), at(1)), Insertion::Inserted(_)));
}

#[test]
fn a_search_gives_the_best_first() {
    let mut library = Library::new(limits());
    for (source, link, title, second) in [
        ("s", "a", "Fed holds the interest rate, rate cut later", 1),
        ("s", "b", "Oil falls", 2),
        ("r", "c", "Rate of change", 3),
        ("r", "d", "Rate of change", 203),
    ] {
        library.insert(article(source, link, title, second), at(second));
    }
    let search = |keywords: &[&str], source: Option<&str>, since: Option<i64>, limit| {
        let found = library.search(&Query::new(keywords).unwrap(), source, since.map(at), limit);
        assert!(found.iter().all(|(_, relevance)| (0.0..=1.0).contains(relevance)));
        let articles: Vec<_> = found.into_iter().map(|(article, _)| article).collect();
        links(&articles).join(" ")
    };
    assert_eq!(search(&["interest rate"], None, None, 10), "a");
    assert_eq!(search(&["rate"], None, None, 10), "d c a");
    assert_eq!(search(&["rate", "fed"], None, None, 10), "a d c");
    assert_eq!(search(&["rate"], None, None, 1), "d");
    assert_eq!(search(&["rate"], Some("s"), None, 10), "a");
    assert_eq!(search(&["rate"], None, Some(3), 10), "d c");
    assert_eq!(search(&["gold"], None, None, 10), "");
}

/// A library without maps: a list that is looked through each time.
struct Naive {
    limits: LibraryLimits,
    kept: Vec<(Article, usize)>,
}

impl Naive {
    fn insert(&mut self, article: Article, now: Timestamp) -> &'static str {
        let oldest = now - self.limits.max_age;
        self.kept.retain(|(kept, _)| kept.published >= oldest);
        let key = |article: &Article| title_key(&article.title, &article.publisher, &article.url);
        if self.kept.iter().any(|(kept, _)| url_key(&kept.url) == url_key(&article.url)) {
            return "url";
        }
        let near = |kept: &Article| {
            kept.published.duration_since(article.published).unsigned_abs() <= self.limits.title_window
        };
        if key(&article).is_some() && self.kept.iter().any(|(kept, _)| key(kept) == key(&article) && near(kept)) {
            return "title";
        }
        if article.published < oldest {
            return "old";
        }
        let bytes = Entry::new(article.clone()).bytes;
        let source = Arc::clone(&article.source_id);
        let id = article.id.clone();
        let at = self.kept.partition_point(|(kept, _)| kept.published <= article.published);
        self.kept.insert(at, (article, bytes));
        loop {
            let passed = |bounds: Bounds, source: Option<&str>| {
                let of = self.kept.iter().filter(|(kept, _)| source.is_none_or(|source| *kept.source_id == *source));
                let (count, bytes) = of.fold((0, 0), |(count, bytes), (_, more)| (count + 1, bytes + more));
                count > bounds.articles || bytes > bounds.bytes
            };
            let out = if passed(self.limits.per_source, Some(&source)) {
                self.kept.iter().position(|(kept, _)| kept.source_id == source).unwrap()
            } else if passed(self.limits.all, None) {
                0
            } else {
                return "inserted";
            };
            if self.kept.remove(out).0.id == id {
                return "full";
            }
        }
    }
}

fn shown(insertion: &Insertion) -> &'static str {
    match insertion {
        Insertion::Inserted(_) => "inserted",
        Insertion::Duplicate(Sameness::Url) => "url",
        Insertion::Duplicate(Sameness::Title) => "title",
        Insertion::Refused(Refusal::TooOld) => "old",
        Insertion::Refused(Refusal::Full) => "full",
        Insertion::Refused(Refusal::TooLarge) => "large",
        Insertion::Refused(Refusal::TooManySources) => "source",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_library_behaves_like_a_list(
        steps in proptest::collection::vec((0..3_usize, 0..12_u32, 0..8_usize, -300..600_i64, 0..60_i64), 1..80),
        bytes in 2_000..6_000_usize,
    ) {
        let limits = LibraryLimits {
            all: Bounds { articles: 6, bytes },
            per_source: Bounds { articles: 4, bytes },
            max_age: Duration::from_secs(700),
            title_window: Duration::from_secs(100),
        };
        let mut library = Library::new(limits);
        let mut naive = Naive { limits: library.limits(), kept: Vec::new() };
        let mut now = 600;
        for (source, link, title, published, passed) in steps {
            now += passed;
            let title = format!("Four words of title {}", "number ".repeat(title));
            let article = article(["a", "b", "c"][source], &link.to_string(), &title, published);
            let expected = naive.insert(article.clone(), at(now));
            prop_assert_eq!(shown(&library.insert(article, at(now))), expected);

            let newest_first: Vec<_> = naive.kept.iter().rev().map(|(article, _)| article.id.clone()).collect();
            let found: Vec<_> = library.newest(100, None).iter().map(|article| article.id.clone()).collect();
            prop_assert_eq!(found, newest_first);
            let counts = library.counts();
            prop_assert_eq!(counts.articles, naive.kept.len());
            prop_assert_eq!(counts.bytes, naive.kept.iter().map(|(_, bytes)| bytes).sum::<usize>());
            prop_assert_eq!(counts.inserted, counts.articles as u64 + counts.evicted + counts.expired);
            prop_assert_eq!((library.by_url.len(), library.by_title.len()), (counts.articles, counts.articles));
            let of_sources = ["a", "b", "c"].map(|source| library.counts_of(source));
            prop_assert_eq!(of_sources.iter().map(|counts| counts.articles).sum::<usize>(), counts.articles);
            prop_assert_eq!(of_sources.iter().map(|counts| counts.evicted).sum::<u64>(), counts.evicted);
        }
    }
}
