//! What an explanation says, as data: printed as JSON by the admin API and by `tidegate explain --format json`, and read
//! back by the command to be printed as text.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_config::Place;
use tidegate_config::valid::{self, Level};

/// Which route a request takes, what happens to it there, and why no other route was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request as it was understood.
    pub request: RequestView,
    /// Name of the route; `None` if none matches.
    pub matched: Option<String>,
    /// The route.
    pub route: Option<RouteView>,
    /// Values of the path's variables, decoded.
    pub captures: BTreeMap<String, String>,
    /// Policies in the order in which they run. One that has several settings has an entry for each.
    pub policies: Vec<Policy>,
    /// Other routes, the nearest first.
    pub rejected: Vec<Rejected>,
    /// How many more there are.
    pub rejected_more: usize,
    /// The refusal that the request would get without anything being sent; `None` if it would go on its way.
    pub would_answer: Option<Refusal>,
    /// What could not be found out.
    pub notes: Vec<String>,
}

/// The request that was asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    /// Method.
    pub method: String,
    /// Host and port as they decide.
    pub host: String,
    /// Canonical path, or the one that was sent if it has no such form; without query.
    pub path: String,
}

/// A route of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// Hosts; any if empty.
    pub hosts: Vec<String>,
    /// Methods; any if `None`.
    pub methods: Option<Vec<String>>,
    /// Template of the path.
    pub path: String,
    /// What is done, in words.
    pub target: String,
    /// Where it stands.
    pub origin: Origin,
}

/// One setting of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Name of the policy.
    pub name: String,
    /// Where in the life of a request it runs.
    pub stage: Stage,
    /// The value that holds, written as in the configuration.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
    /// What it says to this request, if it says anything.
    pub verdict: Option<Verdict>,
    /// What it means for this request.
    pub note: Option<String>,
}

/// Stages in the life of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before it is known who asks.
    Early,
    /// On the request, before anything is sent.
    Request,
    /// Towards the backend.
    Upstream,
    /// On the answer.
    Response,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It lets the request pass.
    Allow,
    /// It refuses the request.
    Refuse,
}

/// A route that the request does not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Name of the route.
    pub route: String,
    /// The first predicate that fails: `host`, `path`, `method`, or `precedence` if all hold and another route goes
    /// first.
    pub predicate: String,
    /// What that predicate wants.
    pub wanted: String,
    /// In words, all that would have to be otherwise.
    pub why: String,
    /// Where the route stands.
    pub origin: Origin,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Word of the closed list.
    pub reason: String,
    /// The text that the client gets.
    pub detail: String,
    /// `Allow` of a 405.
    pub allow: Option<String>,
    /// Fields that are wrong.
    pub errors: Vec<FieldError>,
}

/// A fault of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldError {
    /// Dotted path or key.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// `built_in`, `defaults`, `service` or `route`.
    pub level: String,
    /// File; `None` exactly for `built_in`.
    pub file: Option<String>,
    /// Line from 1.
    pub line: Option<u32>,
}

impl Origin {
    /// Nobody set it.
    #[must_use]
    pub fn built_in() -> Self {
        Self { level: "built_in".to_owned(), file: None, line: None }
    }

    /// On the route, or something that belongs to no level.
    #[must_use]
    pub fn at(place: &Place) -> Self {
        Self::on_line(&place.file, place.line)
    }

    /// As [`Origin::at`].
    #[must_use]
    pub fn on_line(file: &str, line: u32) -> Self {
        Self { level: "route".to_owned(), file: Some(file.to_owned()), line: Some(line) }
    }

    /// On the service.
    #[must_use]
    pub fn of_service(place: &Place) -> Self {
        Self { level: "service".to_owned(), ..Self::at(place) }
    }
}

impl From<&valid::Origin> for Origin {
    fn from(origin: &valid::Origin) -> Self {
        let level = match origin.level {
            Level::BuiltIn => "built_in",
            Level::Defaults => "defaults",
            Level::Service => "service",
            Level::Route => "route",
        };
        let (file, line) = origin.place.as_ref().map(|place| (place.file.to_string(), place.line)).unzip();
        Self { level: level.to_owned(), file, line }
    }
}

/// `built in`, `defaults, tidegate.yaml:31`, `service, tidegate.yaml:47`, or for the route itself `tidegate.yaml:60`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(file), Some(line)) = (&self.file, self.line) else {
            return f.write_str("built in");
        };
        if self.level == "defaults" || self.level == "service" {
            write!(f, "{}, ", self.level)?;
        }
        write!(f, "{file}:{line}")
    }
}
