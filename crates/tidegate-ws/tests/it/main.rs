//! The reader against any cut of its bytes, and against another implementation.

#![expect(clippy::expect_used, reason = "tests")]

mod frames;
mod oracle;
mod rules;
mod splits;
