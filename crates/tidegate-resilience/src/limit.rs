//! Rate limits: how often somebody may ask.
//!
//! | question | answered by |
//! |---|---|
//! | how much, and how fast does it come back? | [`Quota`], the one formula |
//! | what has one asker left? | [`Bucket`], one atomic |
//! | which bucket is whose? | [`Buckets`], by a hash of the key |
//! | may a request with several limits pass? | [`admit`], all of them or none |

mod admission;
mod bucket;
mod buckets;
mod quota;

pub use admission::{Claim, Place, admit, check, give_back};
pub use bucket::{Bucket, Refused};
pub use buckets::{Buckets, KeyHash};
pub use quota::{Debt, Quota};
