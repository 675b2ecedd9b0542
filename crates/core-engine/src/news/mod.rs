//! News: articles from what sources send, how they feel, how well they answer keywords, and the newest of them.
//!
//! ```text
//!   document ──► parse ──► draft ──► article ──► library ──► newest, search
//!                (feed,              (canonical,  (bounded,
//!                 news_api)           sentiment)   no article twice)
//! ```
//!
//! Nothing here reads a clock, a socket or a file: sources bring documents and the time. Invariants: every text of an
//! article is plain and bounded; whatever a document holds, reading it takes time and memory in proportion to its
//! length, which is bounded; a bad item costs itself alone.

pub(crate) mod article;
pub(crate) mod library;
pub(crate) mod parse;
pub(crate) mod relevance;
pub(crate) mod sentiment;

mod canonical;
mod date;
mod lexicon;
mod text;
