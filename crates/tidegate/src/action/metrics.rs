//! The page of metrics. It is written on the control thread, so that a scrape never delays a request: whoever wants it
//! asks over a bounded queue and waits.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};

use crate::body::ResponseBody;
use crate::reject::{Reason, Reject};
use crate::telemetry::metrics::Format;

/// Scrapes that may wait; more than a few at once are no monitoring.
const MAX_WAITING: usize = 16;

/// How long a scrape waits: less than scrapers do, so that they read why there is no page.
const PATIENCE: Duration = Duration::from_secs(5);

/// One page is wanted.
#[derive(Debug)]
pub struct Order {
    /// In which format.
    pub format: Format,
    /// Where it goes.
    pub answer: oneshot::Sender<String>,
}

/// Asks for pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Page {
    orders: mpsc::Sender<Order>,
}

impl Page {
    /// The asking end, and the end for the control thread.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(MAX_WAITING);
        (Self { orders }, queue)
    }

    /// The page of this moment, in the format that `Accept` asks for.
    ///
    /// # Errors
    /// `overloaded` when too many wait or it takes longer than 5 s, `draining` when the control thread has ended.
    pub async fn answer(&self, headers: &HeaderMap) -> Result<Response<ResponseBody>, Reject> {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::negotiate(accept);
        let (answer, answered) = oneshot::channel();
        self.orders.try_send(Order { format, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Reject::new(Reason::Overloaded),
            mpsc::error::TrySendError::Closed(_) => Reject::new(Reason::Draining),
        })?;
        let page = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answered) => answered.map_err(|_| Reject::new(Reason::Draining))?,
            Err(_late) => return Err(Reject::new(Reason::Overloaded)),
        };
        let mut response = Response::new(ResponseBody::full(Bytes::from(page)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scrape_does_not_wait_for_ever() {
        let (page, orders) = Page::new();
        let reason = async || page.answer(&HeaderMap::new()).await.map(drop).unwrap_err().reason;
        assert_eq!(reason().await, Reason::Overloaded, "nobody writes it");
        drop(orders);
        assert_eq!(reason().await, Reason::Draining);
    }
}
