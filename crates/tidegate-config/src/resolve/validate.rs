//! What requests must be: content types, headers, a schema.

use super::policy::{Levels, Seen, is_token, lower, nested};
use super::{Resolver, place_of};
use crate::decode::{Field, Item, Text};
use crate::diag::Code;
use crate::raw::{RawPolicy, RawRoute, RawValidate};
use crate::valid::{Policy, Setting, Validate};

/// Deepest JSON that is looked into.
const MAX_DEPTH: u32 = 100;
/// Most content types or headers of one list.
const MAX_NAMES: usize = 64;

impl Resolver<'_> {
    /// Reports values that are wrong wherever they are inherited to.
    pub(super) fn check_validate(&mut self, raw: &RawValidate) {
        for item in raw.content_types.value().into_iter().flatten() {
            if !is_media_type(&item.value.0) {
                let message = format!("{} is not a content type", item.shown());
                let help = "as in application/json or image/*, without parameters";
                self.error_with(Code::InvalidValue, &item.place, message, help);
            }
        }
        for item in raw.required_headers.value().into_iter().flatten() {
            if !is_token(&item.value.0) {
                let message = format!("{} is not a header name", item.shown());
                self.error_with(Code::InvalidValue, &item.place, message, "as in x-tenant");
            }
        }
        for list in [raw.content_types.set(), raw.required_headers.set()].into_iter().flatten() {
            if list.value.len() > MAX_NAMES {
                self.error(Code::InvalidValue, &list.place, format!("more than {MAX_NAMES} entries"));
            }
        }
        if let Some(list) = raw.content_types.set().filter(|list| list.value.is_empty()) {
            let help = "leave it out for any content type";
            self.error_with(Code::InvalidValue, &list.place, "\"content_types\" is empty", help);
        }
        if let Some(item) = raw.schema.set().filter(|item| item.value.0.is_empty()) {
            self.error(Code::InvalidValue, &item.place, "\"schema\" names no file");
        }
        if let Some(item) = raw.max_json_depth.set()
            && !(1..=MAX_DEPTH).contains(&item.value.0)
        {
            self.error(Code::InvalidValue, &item.place, format!("\"max_json_depth\" is from 1 to {MAX_DEPTH}"));
        }
    }

    /// A route to an RPC has its types already; one that answers by itself reads no body.
    pub(super) fn check_validate_route(&mut self, raw: &RawRoute, is_proxied: bool) {
        let Some(validate) = raw.policy.validate.value().filter(|_| !is_proxied) else { return };
        for (key, place) in
            [("content_types", place_of(&validate.content_types)), ("schema", place_of(&validate.schema))]
        {
            let Some(place) = place else { continue };
            let help = if raw.respond.set().is_some() {
                "nothing reads the body of a request that the gateway answers itself"
            } else {
                "requests for an RPC are JSON, and the types of its message are checked already"
            };
            let message = format!("\"{key}\" on a route that is not proxied");
            self.error_with(Code::Conflict, place, message, help);
        }
    }

    /// The path of the schema, relative to the file that names it.
    pub(super) fn place_schema(&self, policy: &mut Policy) {
        let Setting { value: Some(path), origin } = &mut policy.validate.schema else { return };
        let folder = origin.place.as_ref().and_then(|place| self.folders.get(&place.file));
        if let Some(folder) = folder {
            *path = folder.join(&*path);
        }
    }
}

impl<'a> Levels<'a> {
    /// The schema's path is as it was typed.
    pub(super) fn validate(&self) -> Validate {
        fn key<'a, T>(policy: &'a RawPolicy, key: fn(&'a RawValidate) -> &'a Field<T>) -> Seen<'a, T> {
            nested(&policy.validate, key)
        }
        let types = |list: &Vec<Item<Text>>| Some(lower(list));
        Validate {
            content_types: self.option(|p| key(p, |validate| &validate.content_types), types, None),
            required_headers: self.value(
                |p| key(p, |validate| &validate.required_headers),
                |list| lower(list),
                Vec::new(),
            ),
            schema: self.option(|p| key(p, |validate| &validate.schema), |path| Some(path.0.clone().into()), None),
            max_json_depth: self.value(|p| key(p, |validate| &validate.max_json_depth), |depth| depth.0, MAX_DEPTH),
        }
    }
}

/// `type/subtype` or `type/*`.
fn is_media_type(text: &str) -> bool {
    let token = |text: &str| is_token(text) && !text.contains('*');
    text.split_once('/').is_some_and(|(kind, sub)| token(kind) && (sub == "*" || token(sub)))
}
