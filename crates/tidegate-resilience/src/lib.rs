#![forbid(unsafe_code)]
//! x
mod nanos;

mod ratio;

mod random;

mod outcome;

mod window;

mod breaker;

mod bulkhead;

mod budget;

mod backoff;

pub use backoff::{Backoff, Pushback};
pub use breaker::{Admission, Breaker, BreakerSettings, Permit, Phase, RatioTrip, Transition, TripCause};
pub use budget::{Budget, BudgetSettings};
pub use bulkhead::{Bulkhead, Entry, Wait};
pub use nanos::Nanos;
pub use outcome::Outcome;
pub use ratio::Ratio;
pub use window::{Counts, Window};
