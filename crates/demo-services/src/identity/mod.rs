//! Users: their passwords, their tokens, and who is calling.

mod password;
mod token;
mod user;

pub(crate) use self::password::Passwords;
pub(crate) use self::token::{ACCESS_LIFETIME, Tokens, random_token};
pub(crate) use self::user::{Profile, User, Users};
