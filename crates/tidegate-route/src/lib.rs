//! Path templates, the canonical form of a path, and one matcher: host, method, path → route number.
//!
//! Three steps, each of which stands alone:
//!
//! 1. [`canonicalize`] checks a raw path once and gives the one text that every later decision uses.
//! 2. [`Router::find`] gives the number of the route, and where its variables lie in that text.
//! 3. [`Captures::decode`] turns such a place into the value of a variable.
//!
//! The crate knows no gRPC, no configuration file and no sockets; numbers of routes mean what the caller says.
//!
//! ```
//! use tidegate_route::{CanonicalOptions, Captures, Find, Methods, MultiEscape, RouteSpec, RouterBuilder, Template, canonicalize};
//!
//! let template = Template::parse("/v1/{name=shelves/*}:cancel")?;
//! let mut builder = RouterBuilder::new();
//! builder.add(RouteSpec { host: None, methods: Methods::one("POST"), template: &template, route: 7 })?;
//! let router = builder.build().map_err(|duplicates| format!("{duplicates:?}"))?;
//!
//! let path = canonicalize(b"/v1/shelves/%41b:cancel", CanonicalOptions::default())?;
//! let mut captures = Captures::new();
//! assert_eq!(router.find("example.com", "POST", &path, &mut captures), Find::Route(7));
//! assert_eq!(captures.decode(0, &path, MultiEscape::KeepSlash)?, "shelves/Ab");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod template;

mod parse;

mod canonical;

mod matcher;

mod captures;

mod difference;

pub use canonical::{CanonicalOptions, CanonicalPath, PathError, PathErrorKind, canonicalize, check_query};
pub use captures::{Captures, MultiEscape};
pub use difference::{Difference, DifferenceKind};
pub use matcher::{AddError, Allow, Duplicate, Find, Methods, RouteSpec, Router, RouterBuilder, host_fits};
pub use template::{Segment, Template, TemplateError, TemplateErrorKind, TemplateOptions, Variable};
