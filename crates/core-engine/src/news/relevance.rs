//! How well an article answers keywords, from 0 to 1: BM25 over the articles in question, as a share of what is the
//! most that any article could have.
//!
//! The score of an article is the sum over keywords of `idf · f · (k1 + 1) / (f + k1 · (1 - b + b · length / mean))`,
//! where `f` is how often the keyword occurs and `idf` is `ln(1 + (N - n + ½) / (n + ½))` with `n` of `N` articles
//! having it. As `f` grows, it nears the sum of `idf · (k1 + 1)`, which is the same for all articles; divided by that,
//! it is below 1, keeps its order, and is 0 only where no keyword occurs.
//!
//! Source: Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond* (2009); the `idf` that
//! cannot be negative is that of Lucene's `BM25Similarity`.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

use super::article::Article;
use super::text::words;

/// How fast further occurrences count less.
const K1: f64 = 1.2;
/// How much long texts count less.
const B: f64 = 0.75;
/// Keywords of one search, and bytes of one keyword.
pub(crate) const KEYWORDS_MAX: usize = 32;
pub(crate) const KEYWORD_MAX_BYTES: usize = 128;

/// Keywords that can be searched for, each a word or a phrase; none twice.
#[derive(Debug)]
pub(crate) struct Query {
    /// With a space at each end, as they stand in [`Words`].
    terms: BTreeSet<String>,
}

/// Why keywords cannot be searched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadKeywords {
    #[error("are more than {KEYWORDS_MAX}")]
    TooMany,
    #[error("have one of more than {KEYWORD_MAX_BYTES} bytes")]
    TooLong,
    /// None given, or one that is punctuation alone.
    #[error("have none, or one without a letter or digit")]
    Empty,
}

impl Query {
    /// # Errors
    /// If there are none or too many, or one is too long or has no words.
    pub(crate) fn new<K: AsRef<str>>(keywords: &[K]) -> Result<Self, BadKeywords> {
        if keywords.len() > KEYWORDS_MAX {
            return Err(BadKeywords::TooMany);
        }
        let term = |keyword: &K| match keyword.as_ref() {
            long if long.len() > KEYWORD_MAX_BYTES => Err(BadKeywords::TooLong),
            keyword => Some(Words::of([keyword])).filter(|words| words.count > 0).ok_or(BadKeywords::Empty),
        };
        let terms =
            keywords.iter().map(|keyword| term(keyword).map(|words| words.text)).collect::<Result<BTreeSet<_>, _>>()?;
        if terms.is_empty() { Err(BadKeywords::Empty) } else { Ok(Self { terms }) }
    }

    /// Whether any keyword stands in the text: whether its relevance is above 0, in whatever collection.
    pub(crate) fn matches(&self, words: &Words) -> bool {
        self.terms.iter().any(|term| words.text.contains(term.as_str()))
    }
}

/// The words of a text, ready to be searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Words {
    /// One space before, after and between words.
    text: String,
    count: usize,
}

impl Words {
    /// Of several texts, across which no phrase reaches.
    pub(crate) fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Self {
        let mut all = Self { text: String::from(" "), count: 0 };
        for text in texts {
            // A second space, which is in no phrase.
            if all.count > 0 {
                all.text.push(' ');
            }
            for word in words(text) {
                all.text.push_str(&word);
                all.text.push(' ');
                all.count += 1;
            }
        }
        all.text.shrink_to_fit();
        all
    }

    /// Of an article, as searches look at it.
    pub(crate) fn of_article(article: &Article) -> Self {
        Self::of([article.title.as_str(), article.summary.as_str()])
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// How often a term stands in the text; it may overlap itself.
    fn frequency(&self, term: &Finder<'_>) -> usize {
        let mut rest = self.text.as_bytes();
        let mut count = 0;
        while let Some(at) = term.find(rest) {
            count += 1;
            // The space at its end may be the one at the start of the next.
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        count
    }
}

/// The relevance of each text, in their order.
///
/// Looks through every text once for each keyword, and allocates a number for each.
pub(crate) fn rank(query: &Query, texts: &[&Words]) -> Vec<f64> {
    let (scores, best) = scores(query, texts);
    // The best is above 0 because no `idf` is 0; rounding must not lead out of the range.
    scores.into_iter().map(|score| (score / best).clamp(0.0, 1.0)).collect()
}

/// The BM25 score of each text, and the score that none can reach.
fn scores(query: &Query, texts: &[&Words]) -> (Vec<f64>, f64) {
    let total = number(texts.len());
    let mean = number(texts.iter().map(|text| text.count).sum()) / total.max(1.0);
    let mut scores = vec![0.0; texts.len()];
    let mut best = 0.0;
    for term in &query.terms {
        let finder = Finder::new(term);
        let frequencies: Vec<f64> = texts.iter().map(|text| number(text.frequency(&finder))).collect();
        let having = number(frequencies.iter().filter(|frequency| **frequency > 0.0).count());
        let weight = (K1 + 1.0) * idf(having, total);
        best += weight;
        for ((score, text), frequency) in scores.iter_mut().zip(texts).zip(frequencies) {
            *score += weight * saturation(frequency, number(text.count), mean);
        }
    }
    (scores, best)
}

fn idf(having: f64, total: f64) -> f64 {
    ((total - having + 0.5) / (having + 0.5)).ln_1p()
}

/// From 0 for none towards 1.
fn saturation(frequency: f64, length: f64, mean: f64) -> f64 {
    if frequency > 0.0 { frequency / (frequency + K1 * (1.0 - B + B * length / mean)) } else { 0.0 }
}

/// Counts here are far below the 2⁵² from which on they would be rounded.
fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    /// Source: the Explain API in the reference of Elasticsearch, whose example explains `message:elasticsearch` in one
    /// of five documents: the term once in 3 words where the mean is 5.4; idf 1.3862944, tf 0.5555556, score 1.6943598.
    #[test]
    fn the_example_of_elasticsearch_has_its_score() {
        near(idf(1.0, 5.0), 1.386_294_4);
        near(saturation(1.0, 3.0, 5.4), 0.555_555_6);
        let texts = ["a elasticsearch b", "a b c d e f", "a b c d e f", "a b c d e f", "a b c d e f"];
        let texts = texts.map(|text| Words::of([text]));
        let texts: Vec<_> = texts.iter().collect();
        let (scores, best) = scores(&Query::new(&["Elasticsearch"]).unwrap(), &texts);
        near(scores[0], 1.694_359_8);
        near(best, 2.2 * 1.386_294_4);
        near(rank(&Query::new(&["Elasticsearch"]).unwrap(), &texts)[0], 0.555_555_6);
    }

    #[test]
    fn phrases_are_found_whole() {
        let count = |keyword: &str, text: &str| {
            let query = Query::new(&[keyword]).unwrap();
            Words::of([text, "rate"]).frequency(&Finder::new(query.terms.first().unwrap()))
        };
        assert_eq!(count("interest rate", "Interest rate: the interest-rate cut, interest rates, disinterest rate"), 2);
        assert_eq!(count("rate", "Rate rate rates"), 3);
        assert_eq!(count("a a", "a a a"), 2);
        assert_eq!(count("interest rate", "no interest"), 0, "not across texts");
        assert_eq!(count("U.S.", "the US and the U.S. and us"), 3);
        assert_eq!(count("Fed", "The Fed's view"), 1);
    }

    #[test]
    fn keywords_are_checked() {
        assert_eq!(Query::new::<&str>(&[]).unwrap_err(), BadKeywords::Empty);
        assert_eq!(Query::new(&["fed", " - "]).unwrap_err(), BadKeywords::Empty);
        assert_eq!(Query::new(&["x".repeat(129)]).unwrap_err(), BadKeywords::TooLong);
        assert_eq!(Query::new(&["x"; 33]).unwrap_err(), BadKeywords::TooMany);
        assert_eq!(Query::new(&["Fed", "fed", "FED!"]).unwrap().terms.len(), 1);
    }

    #[test]
    fn no_text_has_no_relevance() {
        let query = Query::new(&["fed"]).unwrap();
        assert!(rank(&query, &[]).is_empty());
        let empty = Words::of([""]);
        near(rank(&query, &[&empty])[0], 0.0);
    }

    fn some_words() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[abc]", 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn relevance_is_in_range_and_zero_without_keywords(
            texts in proptest::collection::vec(some_words(), 0..8),
            keywords in proptest::collection::vec("[abcd]( [ab])?", 1..4),
        ) {
            let texts: Vec<_> = texts.iter().map(|text| Words::of([text.join(" ").as_str()])).collect();
            let texts: Vec<_> = texts.iter().collect();
            let query = Query::new(&keywords).unwrap();
            for (relevance, text) in rank(&query, &texts).into_iter().zip(&texts) {
                prop_assert!((0.0..1.0).contains(&relevance), "{}", relevance);
                prop_assert_eq!(relevance > 0.0, query.matches(text));
            }
        }

        /// One more occurrence in the place of another word never lowers the relevance.
        #[test]
        fn relevance_grows_with_occurrences(count in 1..10_usize, length in 11..30_usize, other in some_words()) {
            let text = |count: usize| Words::of([["fed"].repeat(count).join(" ").as_str(), ["x"].repeat(length - count).join(" ").as_str()]);
            let (fewer, more, other) = (text(count), text(count + 1), Words::of([other.join(" ").as_str()]));
            let query = Query::new(&["fed"]).unwrap();
            let ranked = rank(&query, &[&fewer, &more, &other]);
            prop_assert!(ranked[0] < ranked[1]);
        }
    }
}
