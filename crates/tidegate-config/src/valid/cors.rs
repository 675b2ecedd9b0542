//! Which pages of other origins may read the answers of a route (CORS, the Fetch standard, section 3.2).

use std::fmt;
use std::time::Duration;

use super::origin::Setting;

/// The `cors` block.
#[derive(Clone, PartialEq, Debug)]
pub struct Cors {
    /// Origins that may ask; nobody's if empty, which is the default: then CORS is no matter of the gateway.
    pub allow_origins: Setting<Vec<AllowedOrigin>>,
    /// Methods that a preflight may ask for; `None`: those of the route.
    pub allow_methods: Setting<Option<Vec<String>>>,
    /// Request headers that a preflight may ask for, in lower case; `["*"]` allows all.
    pub allow_headers: Setting<Vec<String>>,
    /// Headers of answers that pages may read, in lower case; `["*"]` for all (without credentials).
    pub expose_headers: Setting<Vec<String>>,
    /// Whether cookies and client certificates may be sent. `false` by default.
    pub allow_credentials: Setting<bool>,
    /// How long a browser may remember a preflight; `None`: as long as it likes. 10 min by default.
    pub max_age: Setting<Option<Duration>>,
}

impl Cors {
    /// Whether the gateway speaks CORS at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.allow_origins.value.is_empty()
    }

    /// Whether every origin may ask.
    #[must_use]
    pub fn allows_any(&self) -> bool {
        self.allow_origins.value.contains(&AllowedOrigin::Any)
    }
}

/// One entry of `allow_origins`, in the form in which browsers write origins: lower case, no default port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllowedOrigin {
    /// `*`.
    Any,
    /// `null`: pages without an origin, as of files and sandboxed frames.
    Null,
    /// One origin, as in `https://app.example.com:8443`.
    Exact(String),
    /// `https://*.example.com`: all hosts below a name, at any depth, and never the name itself.
    Below {
        /// `https://`.
        scheme: String,
        /// The rest behind the `*`: `.example.com`, with a port that is not the scheme's own.
        suffix: String,
    },
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, suffix } => write!(f, "{scheme}*{suffix}"),
        }
    }
}
