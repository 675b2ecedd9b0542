//! Attempts beside the first one.

use std::time::Duration;

use super::{Resolver, place_of};
use crate::diag::Code;
use crate::raw::RawRoute;
use crate::valid::{Action, Hedge, Methods};

/// More attempts than this are load, and no help.
const MAX_HEDGES: u32 = 2;

/// Methods whose requests may be sent twice.
const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

impl Resolver<'_> {
    /// The hedging of a route with this action. Outer `None`: a fault that was reported.
    pub(super) fn hedge(
        &mut self,
        raw: &RawRoute,
        action: Option<&Action>,
        methods: Option<&Methods>,
    ) -> Option<Option<Hedge>> {
        let Some(item) = raw.hedge.set() else { return (!raw.hedge.is_invalid()).then_some(None) };
        let why = match (action?, methods?) {
            (Action::Respond(_), _) => Some("the gateway answers this route itself"),
            (Action::Realtime(_), _) => Some("each message of a WebSocket is a request of its own"),
            (Action::Native(_), _) => Some("nobody knows here which calls may be sent twice"),
            (Action::Proxy(_), Methods::List(list)) => {
                let may_be = list.iter().any(|method| IDEMPOTENT.contains(&method.as_str()));
                (!may_be).then_some("requests with these methods are never sent twice")
            }
            // A method may be marked in its `.proto` file.
            (Action::Proxy(_) | Action::Grpc(_), _) => None,
        };
        if let Some(why) = why {
            self.error_with(Code::Conflict, &item.place, "\"hedge\" on a route where it cannot be", why);
            return None;
        }
        let hedge = &item.value;
        if hedge.after.is_missing() && hedge.percentile.is_missing() {
            let help = "add after: 50ms, or percentile: 95";
            self.error_with(Code::MissingKey, &item.place, "\"hedge\" does not say when", help);
            return None;
        }
        let after = match place_of(&hedge.after) {
            None => (!hedge.after.is_invalid()).then_some(None),
            Some(_) => self.positive(&hedge.after, Duration::ZERO).map(Some),
        };
        let percentile = match place_of(&hedge.percentile) {
            None => (!hedge.percentile.is_invalid()).then_some(None),
            Some(_) => self.within(&hedge.percentile, 95, 50, 99).map(|percent| u8::try_from(percent).ok()),
        };
        let max_hedges = self.within(&hedge.max_hedges, 1, 1, MAX_HEDGES);
        let place = item.place.clone();
        Some(Some(Hedge { after: after?, percentile: percentile?, max_hedges: max_hedges?, place }))
    }
}
