//! Unary calls with attempts beside the first one.

use std::sync::Arc;

use bytes::Bytes;

use super::attempt::Caller;
use super::call::{CallDeadline, CallError, CallHead, UnaryAnswer};
use super::hedge::{self, Apart, Attempting, Hedge, Raced};
use super::retry::{Failed, RetryPlan};
use super::{Asked, Cluster};
use crate::time::now;

/// What an attempt came to, and who was asked.
type Unary = Result<(UnaryAnswer, Asked), (CallError, Option<Asked>)>;

impl Cluster {
    /// As [`Cluster::unary`], for a call that may be made twice.
    ///
    /// # Errors
    /// As [`Cluster::unary`].
    pub async fn unary_hedged(
        &self,
        caller: Caller<'_>,
        head: CallHead,
        frame: Bytes,
        deadline: CallDeadline,
        (retry, hedge): (&RetryPlan, &Hedge),
    ) -> Unary {
        retry.requested(&self.resilience);
        let apart = Arc::new(Apart::default());
        let attempt = || -> Attempting<'_, Unary> {
            let head = CallHead { apart: Some(Arc::clone(&apart)), ..head.clone() };
            let ends = deadline.or_earlier(retry.attempt_ends(now(), deadline.at()));
            Box::pin(self.once(caller, head, frame.clone(), ends))
        };
        let next = || {
            let elsewhere = self.members.current().choose_apart(head.ring_key, &apart.places(), now()).is_some();
            (elsewhere && self.bulkhead.has_room() && retry.may_retry(&self.resilience)).then(attempt)
        };
        let settles = |outcome: &Unary| match outcome {
            Ok(_) => true,
            Err((CallError::Status(failure), _)) => !retry.wants(Failed::Code(failure.status.code.number())),
            Err(_) => false,
        };
        let from = caller.begun();
        let track = (hedge, self.wheels.get(caller.worker()));
        let Raced { outcome, later, hedged } = hedge::race(track, attempt(), next, settles, drop).await;
        if hedged {
            self.series.hedged(later && outcome.is_ok());
        }
        match outcome {
            Ok(answered) => {
                caller.cancelled(from, &answered.1.endpoint);
                Ok(answered)
            }
            Err(failed) => Box::pin(self.again(caller, (head, frame), deadline, (retry, true), failed)).await,
        }
    }
}
