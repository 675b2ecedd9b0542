//! Values that remember which level of the configuration set them.

use std::fmt;
use std::ops::Deref;

use crate::diag::Place;

/// The level that a value was set on. Later ones win.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Nobody set it: the value of the program.
    BuiltIn,
    /// Under `defaults`.
    Defaults,
    /// On the service that the route uses.
    Service,
    /// On the route itself.
    Route,
}

/// Which level set a value, and where that stands. `place` is `None` exactly for [`Level::BuiltIn`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The level.
    pub level: Level,
    /// File and line of the key.
    pub place: Option<Place>,
}

/// `built in`, `defaults, tidegate.yaml:31`, `service, tidegate.yaml:47` or, for the route itself, `tidegate.yaml:60`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.level {
            Level::BuiltIn => "built in",
            Level::Defaults => "defaults",
            Level::Service => "service",
            Level::Route => "",
        };
        f.write_str(prefix)?;
        let Some(place) = &self.place else {
            return Ok(());
        };
        if !prefix.is_empty() {
            f.write_str(", ")?;
        }
        write!(f, "{place}")
    }
}

/// A value with its origin. Reads like the value itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting<T> {
    /// The value that holds.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// A value that no file set.
    pub fn built_in(value: T) -> Self {
        Self { value, origin: Origin { level: Level::BuiltIn, place: None } }
    }

    /// A value that stands at `place`.
    pub fn set(value: T, level: Level, place: Place) -> Self {
        Self { value, origin: Origin { level, place: Some(place) } }
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
