//! Copies of requests.

use super::services::KnownServices;
use super::{Resolver, place_of};
use crate::diag::Code;
use crate::raw::RawRoute;
use crate::valid::{Action, Mirror};

/// Copies at once of one route at most: each holds a request.
const MAX_IN_FLIGHT: u32 = 10_000;

impl Resolver<'_> {
    /// The mirror of a route with this action. Outer `None`: a fault that was reported.
    pub(super) fn mirror(
        &mut self,
        raw: &RawRoute,
        action: Option<&Action>,
        services: &KnownServices<'_>,
    ) -> Option<Option<Mirror>> {
        let Some(item) = raw.mirror.set() else { return (!raw.mirror.is_invalid()).then_some(None) };
        if raw.respond.set().is_some() {
            let help = "it is for routes to a service";
            self.error_with(Code::Conflict, &item.place, "\"mirror\" on a route that the gateway answers", help);
            return None;
        }
        let mirror = &item.value;
        let max_in_flight = self.within(&mirror.max_in_flight, 100, 1, MAX_IN_FLIGHT);
        let ratio = mirror.ratio.value().map_or(1.0, |ratio| ratio.0);
        if let Some(place) = place_of(&mirror.ratio)
            && ratio <= 0.0
        {
            self.error_with(Code::InvalidValue, place, "\"ratio\" is above 0 and at most 1", "leave the mirror out");
            return None;
        }
        let named = mirror.service.set()?;
        let service = self.refer("service", named, &services.names)?;
        // Without an action there is nothing that the two could have in common.
        let speaks = services.speaks(action?.service());
        if services.speaks(Some(service)) != speaks {
            let help = "requests are copied as they are: to HTTP from HTTP, to gRPC from gRPC";
            self.error_with(Code::Conflict, &named.place, "the mirror does not speak what the service does", help);
            return None;
        }
        let (max_in_flight, place) = (max_in_flight?, item.place.clone());
        Some(Some(Mirror { service, ratio, max_in_flight, place }))
    }
}
