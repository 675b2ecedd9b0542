//! Tokens and keys from outside: the RFCs' own, OpenSSL's, attackers', and those of another library.

#![expect(clippy::expect_used, reason = "tests")]

mod attacks;
mod made;
mod oracle;
mod published;
mod written;
