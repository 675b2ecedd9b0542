//! What clients speak.

pub mod plain;
