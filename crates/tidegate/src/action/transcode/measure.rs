//! Where conversions fail and how long they take, as metrics of the route.

use std::time::Duration;

use tidegate_transcode::{RequestError, ResponseError, Stage as Part};

use super::{Transcode, refused, unprintable};
use crate::exchange::Exchange;
use crate::reject::Reject;
use crate::telemetry::metrics::{Direction, Stage};
use crate::time::now;

impl Transcode {
    /// A request that does not become a message. Counts it.
    #[cold]
    pub(super) fn refused(&self, exchange: &Exchange, error: RequestError) -> Reject {
        let stage = match error.stage {
            Part::Path => Stage::Path,
            Part::Query => Stage::Query,
            Part::Body => Stage::Body,
            Part::Encode => Stage::Encode,
        };
        self.conversion_failed(exchange, stage);
        refused(error)
    }

    /// A response that is not the message of the schema, or has no JSON form. Counts it.
    #[cold]
    pub(super) fn unprintable(&self, exchange: &Exchange, error: ResponseError) -> Reject {
        self.conversion_failed(exchange, Stage::Decode);
        unprintable(error)
    }

    pub(super) fn conversion_failed(&self, exchange: &Exchange, stage: Stage) {
        self.series.transcode_failed(exchange.worker(), stage);
    }

    /// What `convert` gives; its time counts if the exchange is one of those that are `measured`.
    pub(super) fn timed<T>(
        &self,
        exchange: &Exchange,
        measured: bool,
        direction: Direction,
        convert: impl FnOnce() -> T,
    ) -> T {
        if !measured {
            return convert();
        }
        let begun = now();
        let converted = convert();
        self.converted(exchange, direction, now().saturating_duration_since(begun));
        converted
    }

    pub(super) fn converted(&self, exchange: &Exchange, direction: Direction, duration: Duration) {
        self.series.transcoded(exchange.worker(), direction, duration);
    }
}
