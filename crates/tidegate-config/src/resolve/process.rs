//! Drain, threads, system routes.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_route::Template;

use super::{File, Resolver, name_of};
use crate::decode::{Field, Item, Text, Time};
use crate::diag::Code;
use crate::raw::{RawOverload, RawWorkers};
use crate::valid::{Drain, LagLimits, Overload, Runtime, RuntimeModel, SystemRoute, SystemRoutes, Workers};

/// What the manifests and the unit file of this project wait for the process to end, before they kill it.
const GRACE: Duration = Duration::from_secs(45);

/// Less than this is no memory to run in.
const MIN_MEMORY: u64 = 16 * 1024 * 1024;

/// Below it the timers of the system are no measure, above it no client waits.
const LAG: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

/// Most data-plane threads.
const MAX_WORKERS: u16 = 1024;

impl Resolver<'_> {
    pub(super) fn drain(&mut self, main: &File) -> Drain {
        let raw = main.raw.drain.value().cloned().unwrap_or_default();
        let time =
            |field: &Field<Time>, default: u64| field.value().map_or(Duration::from_secs(default), |time| time.0);
        let drain = Drain { readiness_delay: time(&raw.readiness_delay, 5), timeout: time(&raw.timeout, 30) };
        let place = raw.timeout.set().or(raw.readiness_delay.set()).map(|item| item.place.clone());
        let whole = drain.readiness_delay.saturating_add(drain.timeout);
        if let Some(place) = place.filter(|_| whole > GRACE) {
            let help = "raise terminationGracePeriodSeconds or TimeoutStopSec above it";
            self.warn(Code::LongDrain, &place, "readiness_delay and timeout together are longer than 45s", help);
        }
        drain
    }

    pub(super) fn runtime(&mut self, main: &File) -> Runtime {
        let raw = main.raw.runtime.value().cloned().unwrap_or_default();
        let workers = match raw.workers.set().map(|item| (&item.value, &item.place)) {
            None | Some((RawWorkers::Auto, _)) => Workers::Auto,
            Some((RawWorkers::Count(count), place)) => {
                let count = u16::try_from(count.0).ok().filter(|count| *count <= MAX_WORKERS).and_then(NonZeroU16::new);
                if count.is_none() {
                    let message = format!("the number of workers is from 1 to {MAX_WORKERS}");
                    self.error_with(Code::InvalidValue, place, message, "\"auto\" is one for each CPU");
                }
                count.map_or(Workers::Auto, Workers::Count)
            }
        };
        Runtime { workers, model: raw.model.value().copied().unwrap_or(RuntimeModel::PerCore) }
    }

    pub(super) fn overload(&mut self, main: &File) -> Overload {
        let memory_limit = main.raw.memory_limit.set().map(|item| (item.value.0, &item.place));
        if let Some((_, place)) = memory_limit.filter(|(limit, _)| *limit < MIN_MEMORY) {
            let help = "a process that does nothing has some 10MiB";
            self.error_with(Code::InvalidValue, place, "this size is at least 16MiB", help);
        }
        let lag = match &main.raw.overload {
            Field::Null(_) => None,
            Field::Absent | Field::Invalid => Some(LagLimits::default()),
            Field::Set(item) => Some(self.lag_limits(&item.value)),
        };
        Overload { memory_limit: memory_limit.map(|(limit, _)| limit), lag }
    }

    fn lag_limits(&mut self, raw: &RawOverload) -> LagLimits {
        let built_in = LagLimits::default();
        let time = |field: &Field<Time>, default| field.value().map_or(default, |time| time.0);
        let limits = LagLimits { from: time(&raw.lag, built_in.from), all: time(&raw.lag_max, built_in.all) };
        for item in [raw.lag.set(), raw.lag_max.set()].into_iter().flatten() {
            if !LAG.contains(&item.value.0) {
                self.error(Code::InvalidValue, &item.place, "this duration is from 1ms to 10s");
                return built_in;
            }
        }
        if limits.from >= limits.all
            && let Some(item) = raw.lag.set().or(raw.lag_max.set())
        {
            let help = "\"lag\" is less than \"lag_max\", which is 100ms unless it says otherwise";
            self.error_with(Code::Conflict, &item.place, "all requests would be refused before the first one", help);
        }
        limits
    }

    pub(super) fn system_routes(&mut self, main: &File) -> SystemRoutes {
        let raw = main.raw.system_routes.value().cloned().unwrap_or_default();
        let routes = SystemRoutes {
            health: self.system_route(&raw.health, "/health"),
            liveness: self.system_route(&raw.liveness, "/health/liveness"),
            readiness: self.system_route(&raw.readiness, "/health/readiness"),
            version: self.system_route(&raw.version, "/version"),
        };
        let all: Vec<(&str, &SystemRoute)> = routes.iter().collect();
        for (index, (key, route)) in all.iter().enumerate() {
            let Some((other_key, other)) = all.iter().take(index).find(|(_, other)| other.path == route.path) else {
                continue;
            };
            // At least one of them was written: the defaults differ.
            let Some(place) = route.place.as_ref().or(other.place.as_ref()) else { continue };
            let message = format!("the system routes \"{other_key}\" and \"{key}\" have the same path");
            let help = match &other.place {
                Some(first) if first != place => format!("first at {}", name_of(first)),
                _ => "one of them is a default; null turns it off".to_owned(),
            };
            self.error_with(Code::Duplicate, place, message, help);
        }
        routes
    }

    fn system_route(&mut self, field: &Field<Text>, default: &str) -> Option<SystemRoute> {
        match field {
            Field::Absent => Some(SystemRoute { path: default.to_owned(), place: None }),
            Field::Null(_) | Field::Invalid => None,
            Field::Set(item) => self.system_path(item),
        }
    }

    pub(super) fn system_path(&mut self, item: &Item<Text>) -> Option<SystemRoute> {
        let path = item.value.0.as_str();
        let plain = Template::parse(path)
            .is_ok_and(|template| template.variables().is_empty() && template.verb().is_none() && !path.contains('*'));
        if !plain {
            let message = format!("{} is not a plain path", item.shown());
            self.error_with(Code::InvalidPath, &item.place, message, "write it as in /health, without variables");
            return None;
        }
        Some(SystemRoute { path: path.to_owned(), place: Some(item.place.clone()) })
    }
}
