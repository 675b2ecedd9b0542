//! Path templates of routes.

use tidegate_route::{Template, TemplateErrorKind, TemplateOptions};

use super::Resolver;
use super::rpc::names_rpc;
use crate::decode::Item;
use crate::diag::{Code, Diagnostic, Place};
use crate::raw::{PathText, RawRoute};
use crate::valid::{Policy, RoutePath};

impl Resolver<'_> {
    /// The path of a route. Outer `None`: a fault that was reported; inner `None`: no key.
    pub(super) fn route_path(&mut self, raw: &RawRoute, policy: &Policy) -> Option<Option<RoutePath>> {
        let Some(item) = raw.path.set() else { return (!raw.path.is_invalid()).then_some(None) };
        let options = TemplateOptions {
            inner_wildcard: policy.inner_wildcard.value,
            // A gRPC binding follows the grammar of google.api.http, which has no trailing slash.
            trailing_slash: !names_rpc(raw),
        };
        let error = match Template::parse_with(&item.value.text, options) {
            Ok(template) => return Some(Some(RoutePath { template, place: item.place.clone() })),
            Err(error) => error,
        };
        let message = match error.kind {
            TemplateErrorKind::DoubleStarNotLast => "\"**\" is allowed as the last segment only".to_owned(),
            kind => kind.to_string(),
        };
        let problem = Diagnostic::error(Code::InvalidPath, message).at(&inside(item, error.column));
        self.problems.push(match error.kind {
            TemplateErrorKind::DoubleStarNotLast => problem.help("\"inner_wildcard: true\" allows literals behind it"),
            TemplateErrorKind::TrailingSlash => problem.help("the path of a route to an RPC does not end with \"/\""),
            _ => problem,
        });
        None
    }
}

/// The place of a character of a path; the whole value if characters of the text and of the file do not line up.
fn inside(item: &Item<PathText>, column: usize) -> Place {
    let mut place = item.place.clone();
    let Some(offset) = item.value.offset else { return place };
    let column = u32::try_from(column).unwrap_or(1).saturating_sub(1);
    place.column = place.column.saturating_add(offset).saturating_add(column).min(place.end_column);
    place.end_column = place.column.saturating_add(1);
    place
}
