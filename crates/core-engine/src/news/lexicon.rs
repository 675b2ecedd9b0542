//! The words of the sentiment scorer, with what they are worth. See `data/README.md` for their origin and licence.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Added by a word that intensifies, taken away by one that dampens.
///
/// Source: Hutto and Gilbert 2014, table 3, as all numbers of the scorer.
const INTENSITY: f64 = 0.293;

/// All tables, built at the first look-up.
static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    Lexicon::read(
        include_str!("data/vader_lexicon.tsv"),
        include_str!("data/vader_words.tsv"),
        include_str!("data/vader_emoji.tsv"),
    )
});

/// What is known of words. Keys are in lower case.
#[derive(Default)]
pub(super) struct Lexicon {
    words: HashMap<&'static str, Word>,
    /// Of two or three words.
    phrases: HashMap<&'static str, Word>,
    emoji: HashMap<char, &'static str>,
}

/// What a word does. It may do several things: `no` has a valence and negates in its own way.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Word {
    /// From -4 to 4.
    pub(super) valence: Option<f64>,
    /// Added to the strength of a word that follows soon.
    pub(super) boost: Option<f64>,
    pub(super) negates: bool,
    /// The valence of a phrase as a whole, whatever its words are worth.
    pub(super) idiom: Option<f64>,
}

impl Lexicon {
    /// The one that comes with the program.
    pub(super) fn built_in() -> &'static Self {
        &LEXICON
    }

    /// What a word in lower case does; nothing if it is unknown.
    pub(super) fn word(&self, word: &str) -> Word {
        self.words.get(word).copied().unwrap_or_default()
    }

    /// What words in lower case with one space between them do together.
    pub(super) fn phrase(&self, phrase: &str) -> Word {
        self.phrases.get(phrase).copied().unwrap_or_default()
    }

    /// What an emoji shows, in words.
    pub(super) fn emoji(&self, character: char) -> Option<&'static str> {
        // Most text has none, and is told by the first of them.
        if character < '\u{a9}' { None } else { self.emoji.get(&character).copied() }
    }

    /// Lines that are not as they should be are left out; a test holds that there are none.
    fn read(words: &'static str, rules: &'static str, emoji: &'static str) -> Self {
        let mut lexicon = Self::default();
        for (word, valence) in pairs(words) {
            lexicon.words.entry(word).or_default().valence = valence.parse().ok();
        }
        for (text, effect) in pairs(rules) {
            let table = if text.contains(' ') { &mut lexicon.phrases } else { &mut lexicon.words };
            let entry = table.entry(text).or_default();
            match effect {
                "intensify" => entry.boost = Some(INTENSITY),
                "dampen" => entry.boost = Some(-INTENSITY),
                "negate" => entry.negates = true,
                valence => entry.idiom = valence.parse().ok(),
            }
        }
        lexicon.emoji = pairs(emoji).filter_map(|(emoji, shown)| Some((emoji.chars().next()?, shown))).collect();
        lexicon
    }
}

fn pairs(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter_map(|line| line.split_once('\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_counts() {
        let lexicon = Lexicon::built_in();
        let valences = lexicon.words.values().filter(|word| word.valence.is_some()).count();
        assert_eq!(valences, include_str!("data/vader_lexicon.tsv").lines().count());
        assert_eq!(lexicon.emoji.len(), include_str!("data/vader_emoji.tsv").lines().count());
        let rules = lexicon.words.values().chain(lexicon.phrases.values());
        let rules = rules.map(|word| {
            usize::from(word.boost.is_some()) + usize::from(word.negates) + usize::from(word.idiom.is_some())
        });
        assert_eq!(rules.sum::<usize>(), include_str!("data/vader_words.tsv").lines().count());
    }

    #[test]
    fn words_do_what_the_tables_say() {
        let lexicon = Lexicon::built_in();
        assert_eq!(lexicon.word("good").valence, Some(1.9));
        assert_eq!(lexicon.word("very").boost, Some(0.293));
        assert!(lexicon.word("isn't").negates);
        assert_eq!(lexicon.phrase("kind of").boost, Some(-0.293));
        assert_eq!(lexicon.phrase("kiss of death").idiom, Some(-1.5));
        assert_eq!(lexicon.word("xylophone"), Word::default());
        assert_eq!(lexicon.emoji('😁'), Some("beaming face with smiling eyes"));
    }
}
