//! HTTP rules from `google.api.http` annotations.

use super::raw;

/// One binding of a method to an HTTP request, as annotated. Nothing is checked here but that there is a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRule {
    /// The method token in capitals for the five standard ones, as written for a custom kind; `*` is any method.
    pub method: String,
    /// The path template as written.
    pub path: String,
    /// `""`, `"*"`, or a field path.
    pub body: String,
    /// `""` or a top-level field of the response.
    pub response_body: String,
}

/// The rule and its `additional_bindings`, which nest one level.
pub(super) fn flatten(rule: &raw::HttpRule) -> Vec<HttpRule> {
    std::iter::once(rule).chain(&rule.additional_bindings).filter_map(single).collect()
}

fn single(rule: &raw::HttpRule) -> Option<HttpRule> {
    let standard = [
        ("GET", &rule.get),
        ("PUT", &rule.put),
        ("POST", &rule.post),
        ("DELETE", &rule.delete),
        ("PATCH", &rule.patch),
    ];
    let custom = rule.custom.as_ref().map(|custom| (custom.kind.as_str(), &custom.path));
    let (method, path) = standard.into_iter().chain(custom).find(|(_, path)| !path.is_empty())?;
    Some(HttpRule {
        method: method.to_owned(),
        path: path.clone(),
        body: rule.body.clone(),
        response_body: rule.response_body.clone(),
    })
}
