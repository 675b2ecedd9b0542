//! The live view of requests: server-sent events, one for each line of the access log.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;

use super::Handles;
use super::problem::Problem;
use crate::reject::Reason;
use crate::telemetry::tap::{Filter, MAX_VIEWS, StatusFilter};

/// Silence after which a comment is sent, or proxies on the way would cut the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `?route=NAME&status=404` or `status=5xx`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    route: Option<String>,
    status: Option<String>,
}

/// Events `request` with a line each; before one that follows lost lines, an event `dropped` with their number.
pub(super) async fn tap(
    State(handles): State<Handles>,
    Query(asked): Query<Asked>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let status = match asked.status.as_deref() {
        None | Some("") => None,
        Some(text) => Some(
            StatusFilter::parse(text)
                .ok_or_else(|| Problem::new(Reason::BadRequest, "status is a number as 404, or a hundred as 5xx"))?,
        ),
    };
    let filter = Filter { route: asked.route.filter(|route| !route.is_empty()), status };
    let view = handles.registry.process.telemetry.tap.view(filter);
    let view = view.ok_or_else(|| Problem::new(Reason::Overloaded, format!("{MAX_VIEWS} live views are open")))?;
    let events = unfold((view, None), async |(mut view, held): (_, Option<Event>)| {
        if let Some(event) = held {
            return Some((Ok(event), (view, None)));
        }
        let line = view.next().await?;
        let request = Event::default().event("request").data(String::from_utf8_lossy(&line));
        match view.take_dropped() {
            0 => Some((Ok(request), (view, None))),
            lost => Some((Ok(Event::default().event("dropped").data(lost.to_string())), (view, Some(request)))),
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}
