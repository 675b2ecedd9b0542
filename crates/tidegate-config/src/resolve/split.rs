//! The backends of a route: one, or several that share its requests.

use super::{Resolver, name_of, place_of};
use crate::decode::{Field, Item, Name};
use crate::diag::Code;
use crate::raw::{RawRoute, RawShare};
use crate::valid::Share;

/// Backends of one route at most: each is a whole route of its own.
const MAX_SHARES: usize = 32;

/// The largest weight, so that no sum of them is too large.
const MAX_WEIGHT: u32 = 1_000_000;

/// A backend of a route.
pub(super) struct Target<'a> {
    pub(super) service: &'a Field<Name>,
    /// `None`: it gets all requests.
    pub(super) share: Option<Share>,
}

impl Resolver<'_> {
    /// The backends of a route, in the order of the file. Without `split` there is one, named or not.
    pub(super) fn targets<'r>(&mut self, item: &'r Item<RawRoute>) -> Vec<Target<'r>> {
        let raw = &item.value;
        let alone = vec![Target { service: &raw.service, share: None }];
        if raw.split.is_invalid() {
            return Vec::new();
        }
        let Some(split) = raw.split.set() else { return alone };
        let others = [("service", place_of(&raw.service)), ("respond", place_of(&raw.respond))];
        for (key, place) in others {
            if let Some(place) = place {
                let message = format!("\"{key}\" together with \"split\"");
                self.error_with(Code::Conflict, place, message, "keep one of them");
                return alone;
            }
        }
        if raw.path.is_missing() {
            let help = "name the path and the RPC, or write one route for each service";
            self.error_with(Code::MissingKey, &split.place, "a route with \"split\" needs \"path\"", help);
        }
        if split.value.is_empty() || split.value.len() > MAX_SHARES {
            let message = format!("\"split\" has from 1 to {MAX_SHARES} services");
            self.error(Code::InvalidValue, &split.place, message);
            return Vec::new();
        }
        self.check_distinct(&split.value);
        let mut targets = Vec::with_capacity(split.value.len());
        for share in split.value.iter().filter(|share| !share.value.weight.is_missing()) {
            let Some(weight) = self.within(&share.value.weight, 0, 0, MAX_WEIGHT) else { continue };
            let share_of = Share { weight, leads: targets.is_empty(), place: share.place.clone() };
            targets.push(Target { service: &share.value.service, share: Some(share_of) });
        }
        let weighs = |target: &Target<'_>| target.share.as_ref().is_some_and(|share| share.weight > 0);
        if targets.len() == split.value.len() && !targets.iter().any(weighs) {
            let help = "give one of the services a weight above 0";
            self.error_with(Code::InvalidValue, &split.place, "nobody gets a request", help);
        }
        targets
    }

    fn check_distinct(&mut self, shares: &[Item<RawShare>]) {
        for (at, share) in shares.iter().enumerate() {
            let Some(name) = share.value.service.set() else { continue };
            let mut before = shares.iter().take(at).filter_map(|share| share.value.service.set());
            if let Some(first) = before.find(|first| first.value.0 == name.value.0) {
                let message = format!("service {} stands here twice", name.shown());
                let help = format!("first at {}; add the weights up", name_of(&first.place));
                self.error_with(Code::Duplicate, &name.place, message, help);
            }
        }
    }
}
