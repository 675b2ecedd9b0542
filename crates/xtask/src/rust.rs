//! Enough of Rust's grammar for the rules: tokens without comments and literals, and which of them are test code.
//!
//! It does not parse items, expand macros or know types. What a rule cannot see in tokens, it does not claim.

mod lex;
mod production;

pub(crate) use lex::{Kind, Source, Token};
pub(crate) use production::{TestFiles, production};

/// Index just behind the bracket that closes the one at `open`, or the end.
pub(crate) fn behind_group(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The text of token `index`; empty beyond the end.
pub(crate) fn at<'a>(tokens: &[Token<'a>], index: usize) -> &'a str {
    tokens.get(index).map_or("", |token| token.text)
}

/// True if the tokens from `index` on are `texts`.
pub(crate) fn matches(tokens: &[Token<'_>], index: usize, texts: &[&str]) -> bool {
    texts.iter().enumerate().all(|(offset, text)| at(tokens, index + offset) == *text)
}
