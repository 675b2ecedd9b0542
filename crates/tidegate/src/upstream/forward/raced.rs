//! The first attempts of a request that is hedged.

use std::sync::Arc;

use bytes::Bytes;

use super::{Answered, Came, Failed, Outgoing, Replay, Seen, Stop, Tries, choose_again, discard};
use crate::exchange::Exchange;
use crate::time::now;
use crate::upstream::Cluster;
use crate::upstream::attempt::{Attempt, Caller};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::hedge::{self, Apart, Attempting, Hedge, Raced};
use crate::upstream::members::Members;

/// What an attempt came to, with its own copy of the body.
type Tried = Result<(Answered, Attempt, Replay), Stop>;

impl Cluster {
    /// Attempts beside one another, up to the head of the first good answer. `whole` is the body.
    pub(super) async fn raced(
        &self,
        exchange: &Arc<Exchange>,
        outgoing: &Outgoing<'_>,
        members: &Members,
        (hedge, whole): (&Hedge, Bytes),
        tries: &mut Tries<'_>,
    ) -> Tried {
        let apart = Apart::default();
        let fresh = tries.resent > 0;
        let attempt = |chosen: (usize, &Arc<Endpoint>)| -> Attempting<'_, Tried> {
            apart.push(chosen.0);
            let (endpoint, mut body) = (Arc::clone(chosen.1), Replay::of(whole.clone()));
            Box::pin(async move {
                let asked = self.attempt(exchange, outgoing, &mut body, (chosen.0, &endpoint), fresh).await;
                asked.map(|(answered, attempt)| (answered, attempt, body))
            })
        };
        let first = attempt(choose_again(members, outgoing.ring_key, tries, now()).ok_or(Stop::Nobody)?);
        let next = || {
            let chosen = members.choose_apart(outgoing.ring_key, &apart.places(), now())?;
            let seat = self.bulkhead.try_enter()?;
            if !outgoing.retry.may_retry(&self.resilience) {
                return None;
            }
            let attempt = attempt(chosen);
            Some(Box::pin(async move {
                let _until_its_answer_begins = seat;
                attempt.await
            }) as Attempting<'_, Tried>)
        };
        let settles = |tried: &Tried| match tried {
            Ok((answered, ..)) => !outgoing.retry.wants(Failed::Status(answered.head().0.as_u16())),
            Err(_) => false,
        };
        let mut lost = Vec::new();
        let mut reached = false;
        let spent = |tried: Tried| {
            reached |= matches!(tried, Ok(_) | Err(Stop::Lost { .. }));
            lost.extend(spend(tried));
        };
        let from = Caller::Exchange(exchange).begun();
        let track = (hedge, self.wheels.get(exchange.worker()));
        let Raced { outcome, later, hedged } = hedge::race(track, first, next, settles, spent).await;
        tries.reached = reached;
        for place in lost {
            tries.tried.push(place);
        }
        if hedged {
            self.series.hedged(later && outcome.is_ok());
        }
        if let Ok((_, attempt, _)) = &outcome {
            exchange.facts.endpoint_is(attempt.endpoint().name());
            Caller::Exchange(exchange).cancelled(from, attempt.endpoint().name());
        }
        outcome
    }
}

/// Counts an attempt that has failed while others run, and gives its place.
fn spend(tried: Tried) -> Option<usize> {
    match tried {
        Ok((answered, mut attempt, _)) => {
            let place = attempt.place();
            attempt.settle(Came::Http(answered.head().0.as_u16()));
            discard(answered, attempt);
            Some(place)
        }
        Err(Stop::Lost { error, seen, mut attempt }) => {
            match seen {
                Seen::Perhaps => attempt.came(Came::Nothing(error.reason())),
                // A connection that was closed while it waited says nothing about the backend.
                Seen::Hardly | Seen::Never => attempt.void(),
            }
            Some(attempt.place())
        }
        Err(Stop::Unsent { place, .. }) => Some(place),
        Err(Stop::Over(_) | Stop::Nobody) => None,
    }
}
