//! How a text feels, from -1 to 1: the compound score of VADER.
//!
//! Each word that the lexicon knows has a valence. The words before it strengthen, weaken or turn it, capitals and
//! punctuation strengthen it, `but` moves the weight to what follows; the sum is pressed into the range.
//!
//! Source: Hutto and Gilbert, *VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text*
//! (ICWSM-14), and where the paper leaves a choice, what the program of its authors does (vaderSentiment 3.3.2), so
//! that scores can be compared. One thing differs: it finds the words around `but` by their valence, and may take one
//! for another; here they are found by their place.

use std::borrow::Cow;

use super::lexicon::{Lexicon, Word};

/// What capitals add, if not everything is in capitals.
const SHOUT: f64 = 0.733;
/// What a negation does to a valence: less than a full turn.
const NEGATION: f64 = -0.74;
/// What `never so` and `never this` do.
const NEVER_SO: f64 = 1.25;
/// What is left of a booster at one, two and three words before.
const DAMPING: [f64; 3] = [1.0, 0.95, 0.9];
/// Weight of what stands before and after the first `but`.
const BEFORE_BUT: f64 = 0.5;
const AFTER_BUT: f64 = 1.5;
/// What an exclamation mark adds, and how many count.
const EXCLAMATION: f64 = 0.292;
const EXCLAMATIONS_MAX: usize = 4;
/// What each of two or three question marks adds, and any more of them together.
const QUESTION: f64 = 0.18;
const QUESTIONS: f64 = 0.96;
/// About the largest sum of a sentence; the square root of it is pressed to 0.7.
const ALPHA: f64 = 15.0;

/// The mean of title and summary, so that the title weighs as much as all of the summary. They are scored apart,
/// because a `but` in one says nothing about the other.
pub(super) fn of_article(title: &str, summary: &str) -> f64 {
    if summary.is_empty() { compound(title) } else { f64::midpoint(compound(title), compound(summary)) }
}

/// The compound score of a text, from -1 to 1; 0 for one without any word of the lexicon. Best for a sentence or a few.
pub(crate) fn compound(text: &str) -> f64 {
    let lexicon = Lexicon::built_in();
    let text = describe_emoji(text.trim(), lexicon);
    let tokens = Tokens::of(&text, lexicon);
    let but = tokens.list.iter().position(|token| token.lower == "but");
    let weight = |at: usize| match but {
        Some(but) if at < but => BEFORE_BUT,
        Some(but) if at > but => AFTER_BUT,
        _ => 1.0,
    };
    let sum: f64 = (0..tokens.list.len()).map(|at| tokens.valence(at) * weight(at)).sum();
    normalized(away_from_zero(sum, emphasis(&text)))
}

fn normalized(sum: f64) -> f64 {
    (sum / (sum * sum + ALPHA).sqrt()).clamp(-1.0, 1.0)
}

/// Makes a valence stronger, whatever its sign.
fn away_from_zero(valence: f64, by: f64) -> f64 {
    if valence > 0.0 {
        valence + by
    } else if valence < 0.0 {
        valence - by
    } else {
        valence
    }
}

/// What the punctuation of the whole text adds.
fn emphasis(text: &str) -> f64 {
    let count =
        |mark: u8| text.bytes().filter(|byte| *byte == mark).take(EXCLAMATIONS_MAX).fold(0.0, |sum, _| sum + 1.0);
    let (exclamations, questions) = (count(b'!'), count(b'?'));
    let questions = match questions {
        ..2.0 => 0.0,
        2.0..4.0 => questions * QUESTION,
        _ => QUESTIONS,
    };
    exclamations * EXCLAMATION + questions
}

/// The text with descriptions in the place of emoji.
fn describe_emoji<'t>(text: &'t str, lexicon: &Lexicon) -> Cow<'t, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut described = String::with_capacity(text.len());
    let mut after_space = true;
    for character in text.chars() {
        match lexicon.emoji(character) {
            Some(description) => {
                if !after_space {
                    described.push(' ');
                }
                described.push_str(description);
                after_space = false;
            }
            None => {
                described.push(character);
                after_space = character == ' ';
            }
        }
    }
    Cow::Owned(described)
}

/// A word or emoticon, and what the lexicon says of it.
struct Token {
    lower: String,
    /// In capitals, where others are not.
    shouts: bool,
    word: Word,
}

struct Tokens<'l> {
    list: Vec<Token>,
    lexicon: &'l Lexicon,
}

impl<'l> Tokens<'l> {
    fn of(text: &str, lexicon: &'l Lexicon) -> Self {
        let words: Vec<&str> = text.split_whitespace().map(bare).collect();
        let capitals = words.iter().filter(|word| is_upper(word)).count();
        let mixed = (1..words.len()).contains(&capitals);
        let token = |word: &str| {
            let lower = word.to_lowercase();
            let known = lexicon.word(&lower);
            Token { lower, shouts: mixed && is_upper(word), word: known }
        };
        Self { list: words.into_iter().map(token).collect(), lexicon }
    }

    /// The token `back` places before `at`.
    fn before(&self, at: usize, back: usize) -> Option<&Token> {
        self.list.get(at.checked_sub(back)?)
    }

    fn is_before(&self, at: usize, back: usize, words: &[&str]) -> bool {
        self.before(at, back).is_some_and(|token| words.contains(&token.lower.as_str()))
    }

    /// What a token adds to the sum, with everything around it but `but`.
    fn valence(&self, at: usize) -> f64 {
        let Some(token) = self.list.get(at) else { return 0.0 };
        let Some(listed) = token.word.valence else { return 0.0 };
        let next = at.checked_add(1).and_then(|next| self.list.get(next));
        let is_kind_of = token.lower == "kind" && next.is_some_and(|next| next.lower == "of");
        if token.word.boost.is_some() || is_kind_of {
            return 0.0;
        }
        let mut valence = self.with_no(at, token, listed, next);
        if token.shouts {
            valence += if valence > 0.0 { SHOUT } else { -SHOUT };
        }
        for (back, damping) in (1..).zip(DAMPING) {
            // A word with a valence of its own does not bend that of another.
            let Some(other) = self.before(at, back).filter(|other| other.word.valence.is_none()) else { continue };
            valence += boost(other, valence) * damping;
            valence *= self.negation(at, back, other);
            if back == DAMPING.len() {
                valence = self.with_phrases(at, valence);
            }
        }
        if self.is_before(at, 1, &["least"]) && !self.is_before(at, 2, &["at", "very"]) {
            valence *= NEGATION;
        }
        valence
    }

    /// `no` turns the word after it, and then has no valence of its own.
    fn with_no(&self, at: usize, token: &Token, listed: f64, next: Option<&Token>) -> f64 {
        let no = |back| self.is_before(at, back, &["no"]);
        if no(1) || no(2) || (no(3) && self.is_before(at, 1, &["or", "nor"])) {
            return listed * NEGATION;
        }
        let turns_next = token.lower == "no" && next.is_some_and(|next| next.word.valence.is_some());
        if turns_next { 0.0 } else { listed }
    }

    /// What the word `back` places before does to the valence, as a factor.
    fn negation(&self, at: usize, back: usize, other: &Token) -> f64 {
        let is = |back, words: &[&str]| self.is_before(at, back, words);
        let so = ["so", "this"];
        // At three words before, the program takes `so` or `this` right before the word for `never so` in any case.
        let (never_so, no_doubt) = match back {
            2 => (is(2, &["never"]) && is(1, &so), is(2, &["without"]) && is(1, &["doubt"])),
            3 => (
                (is(3, &["never"]) && is(2, &so)) || is(1, &so),
                is(3, &["without"]) && (is(2, &["doubt"]) || is(1, &["doubt"])),
            ),
            _ => (false, false),
        };
        if never_so {
            return NEVER_SO;
        }
        let negates = other.word.negates || other.lower.contains("n't");
        if negates && !no_doubt { NEGATION } else { 1.0 }
    }

    /// Phrases of two and three words that have a valence of their own, or are boosters.
    fn with_phrases(&self, at: usize, valence: f64) -> f64 {
        let phrase = |from: usize, length: usize| {
            let words = from.checked_add(length).and_then(|to| self.list.get(from..to))?;
            let words: Vec<&str> = words.iter().map(|token| token.lower.as_str()).collect();
            Some(self.lexicon.phrase(&words.join(" ")))
        };
        let earlier = |back: usize, length| at.checked_sub(back).and_then(|from| phrase(from, length));
        let idiom = |word: Option<Word>| word.and_then(|word| word.idiom);
        let around = [(1, 2), (2, 3), (2, 2), (3, 3), (3, 2)]
            .into_iter()
            .find_map(|(back, length)| idiom(earlier(back, length)));
        let ahead = idiom(phrase(at, 3)).or_else(|| idiom(phrase(at, 2)));
        let boosts = [(3, 3), (3, 2), (2, 2)].into_iter().filter_map(|(back, length)| earlier(back, length)?.boost);
        ahead.or(around).unwrap_or(valence) + boosts.sum::<f64>()
    }
}

/// What a booster adds to the valence of a word.
fn boost(other: &Token, valence: f64) -> f64 {
    let Some(boost) = other.word.boost else { return 0.0 };
    let boost = if valence < 0.0 { -boost } else { boost };
    match (other.shouts, valence > 0.0) {
        (false, _) => boost,
        (true, true) => boost + SHOUT,
        (true, false) => boost - SHOUT,
    }
}

/// Without punctuation at its ends, unless hardly anything would be left: then it is an emoticon.
fn bare(token: &str) -> &str {
    let stripped = token.trim_matches(|character: char| character.is_ascii_punctuation());
    if stripped.chars().nth(2).is_some() { stripped } else { token }
}

fn is_upper(word: &str) -> bool {
    word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: f64) {
        let found = compound(text);
        assert!((found - expected).abs() < 0.0001, "{text:?}: {found:.4} instead of {expected}");
    }

    /// Source: README of vaderSentiment, output of its code examples. Of the one with emoji the README shows the score
    /// of an older table of emoji, 0.7003; this is what version 3.3.2 prints.
    #[test]
    fn the_published_examples_have_their_scores() {
        check("VADER is smart, handsome, and funny.", 0.8316);
        check("VADER is smart, handsome, and funny!", 0.8439);
        check("VADER is very smart, handsome, and funny.", 0.8545);
        check("VADER is VERY SMART, handsome, and FUNNY.", 0.9227);
        check("VADER is VERY SMART, handsome, and FUNNY!!!", 0.9342);
        check("VADER is VERY SMART, uber handsome, and FRIGGIN FUNNY!!!", 0.9469);
        check("VADER is not smart, handsome, nor funny.", -0.7424);
        check("The book was good.", 0.4404);
        check("At least it isn't a horrible book.", 0.431);
        check("The book was only kind of good.", 0.3832);
        check("The plot was good, but the characters are uncompelling and the dialog is not great.", -0.7042);
        check("Today SUX!", -0.5461);
        check("Today only kinda sux! But I'll get by, lol", 0.5249);
        check("Make sure you :) or :D today!", 0.8633);
        check("Catch utf-8 emoji such as 💘 and 💋 and 😁", 0.875);
        check("Not bad at all", 0.431);
    }

    /// Texts of our own, with the scores that vaderSentiment 3.3.2 prints for them.
    #[test]
    fn other_texts_score_as_in_the_program_of_the_authors() {
        let lines = include_str!("../../tests/data/news/sentiment.tsv").lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let (score, text) = line.split_once('\t').unwrap();
            check(text, score.parse().unwrap());
            count += 1;
        }
        assert!(count >= 60, "{count}");
    }

    #[test]
    fn nothing_feels_like_nothing() {
        for text in ["", " ", "The committee meets on Tuesday.", "!!!", "日本銀行"] {
            assert!(compound(text).abs() < f64::EPSILON, "{text:?}");
        }
    }

    #[test]
    fn words_around_but_are_found_by_their_place() {
        let (good, great) = (1.9, 3.1);
        let expected = normalized(good * BEFORE_BUT + great * AFTER_BUT + good * AFTER_BUT);
        check("good but great and good", expected);
    }

    #[test]
    fn title_and_summary_weigh_the_same() {
        let expected = f64::midpoint(compound("A great day"), compound("Losses were horrible."));
        assert!((of_article("A great day", "Losses were horrible.") - expected).abs() < f64::EPSILON);
        assert!((of_article("A great day", "") - compound("A great day")).abs() < f64::EPSILON);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_score_is_in_range(text in "\\PC{0,120}") {
            prop_assert!((-1.0..=1.0).contains(&compound(&text)));
        }

        #[test]
        fn a_heap_of_loaded_words_is_in_range(words in proptest::collection::vec(
            prop::sample::select(vec!["good", "BAD", "not", "very", "kind", "of", "but", "no", "least", "never", "so", "😁", "!!", "?", ":)"]), 0..40,
        )) {
            prop_assert!((-1.0..=1.0).contains(&compound(&words.join(" "))));
        }
    }
}
