//! The policies `auth` and `auth_required`: who may ask.

use super::auth::{KnownProviders, names, texts};
use super::policy::{Levels, Seen, nested};
use super::{Resolver, name_of};
use crate::decode::{Field, Item};
use crate::diag::{Code, Place};
use crate::raw::{RawAllow, RawPolicy};
use crate::valid::{Access, Allow, Origin, Route, Setting};

/// Most names in one warning.
const MAX_NAMES: usize = 5;

impl Resolver<'_> {
    /// Reports what is wrong wherever it is inherited to.
    pub(super) fn check_route_access(&mut self, raw: &RawPolicy, providers: &KnownProviders) {
        let Some(access) = raw.auth.set() else { return };
        if let Some(required) = raw.auth_required.set().filter(|required| !required.value) {
            let message = "\"auth_required: false\" beside \"auth\"";
            let help = format!("\"auth\" at {} demands a credential; keep one of them", name_of(&access.place));
            self.error_with(Code::Conflict, &required.place, message, help);
        }
        if let Some(list) = access.value.providers.set() {
            if list.value.is_empty() {
                let help = "for a route that is open to all say \"auth_required: false\"";
                self.error_with(Code::InvalidValue, &list.place, "\"providers\" is empty", help);
            }
            for item in &list.value {
                self.refer("provider", item, &providers.names);
            }
        }
        let methods = access.value.methods.value().into_iter().flat_map(|table| &table.0);
        for (method, _) in methods {
            let upper = method.value.0.to_ascii_uppercase();
            if upper != method.value.0 {
                let message = format!("{} is not a method", method.shown());
                self.error_with(Code::InvalidValue, &method.place, message, format!("write {upper}"));
            }
            if upper == "HEAD" {
                self.error(Code::InvalidValue, &method.place, "\"HEAD\" has the rules of \"GET\"");
            }
        }
    }

    /// Who may ask: merged from all levels, the nearest one wins.
    pub(super) fn route_access(&mut self, levels: &Levels<'_>, providers: &KnownProviders, route: &Place) -> Access {
        let required = required(levels);
        let access = Access {
            providers: levels.value(
                |p| nested(&p.auth, |auth| &auth.providers),
                |list| list.iter().filter_map(|item| providers.names.index(&item.value.0)).collect(),
                providers.default.clone(),
            ),
            allow: levels.option(|p| nested(&p.auth, |auth| &auth.allow), |raw| Some(allow(raw)), None),
            methods: levels.value(|p| nested(&p.auth, |auth| &auth.methods), |table| methods(&table.0), Vec::new()),
            required,
            token_from: None,
        };
        let origin = &access.required.origin;
        let unknown = matches!(levels.find(|p| nested(&p.auth, |auth| &auth.providers)), Some((_, Seen::Set(_))));
        if access.required.value && access.providers.value.is_empty() && !unknown && !providers.names.incomplete {
            let place = origin.place.as_ref().unwrap_or(route);
            let help = "add \"auth: { default: [NAME], providers: … }\", or name providers here";
            self.error_with(Code::MissingKey, place, "a credential is needed, and there is no provider", help);
        }
        access
    }

    /// Warns, once for all of them, of routes that say nothing of who may ask although there is a way to say it.
    pub(super) fn check_open_routes(&mut self, routes: &[Route], providers: &KnownProviders) {
        let is_open = |route: &&Route| !route.access.required.value && route.access.required.origin.place.is_none();
        let mut open: Vec<&Route> = routes.iter().filter(is_open).collect();
        // Services that share a route stand side by side.
        open.dedup_by(|one, other| one.name == other.name);
        let Some(first) = open.first().filter(|_| providers.is_set) else { return };
        let names: Vec<String> = open.iter().take(MAX_NAMES).map(|route| format!("\"{}\"", route.name)).collect();
        let more = if open.len() > MAX_NAMES { format!(" and {} more", open.len() - MAX_NAMES) } else { String::new() };
        let message = format!("{}{more} say nothing of who may ask, so everybody may", names.join(", "));
        let help = "say \"auth_required: true\" or \"false\" there or under \"defaults\"";
        self.warn(Code::OpenRoute, &first.place, message, help);
    }
}

/// The nearest level that says anything decides.
fn required(levels: &Levels<'_>) -> Setting<bool> {
    for (level, policy) in &levels.0 {
        match (&policy.auth_required, &policy.auth) {
            (Field::Set(item), _) => return Setting::set(item.value, *level, item.place.clone()),
            (_, Field::Set(item)) => return Setting::set(true, *level, item.place.clone()),
            (Field::Null(place), _) => return Setting::set(false, *level, place.clone()),
            (Field::Absent | Field::Invalid, _) => {}
        }
    }
    Setting { value: false, origin: Origin { level: crate::valid::Level::BuiltIn, place: None } }
}

fn allow(raw: &RawAllow) -> Allow {
    let claims = raw.claims.value().into_iter().flat_map(|table| &table.0);
    Allow {
        roles: names(&raw.roles),
        scopes: texts(&raw.scopes),
        claims: claims.filter_map(|(name, text)| Some((name.value.0.clone(), text.value()?.0.clone()))).collect(),
    }
}

fn methods(rows: &[(Item<crate::decode::Name>, Field<RawAllow>)]) -> Vec<(String, Allow)> {
    rows.iter().filter_map(|(method, raw)| Some((method.value.0.clone(), allow(raw.value()?)))).collect()
}
