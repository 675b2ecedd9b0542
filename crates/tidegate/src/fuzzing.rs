//! A door for `fuzz/` and `tests/corpus.rs` to the readers of HTTP/1.1, which are private otherwise. Not for programs.

pub use crate::listen::requests;
pub use crate::upstream::answers;
