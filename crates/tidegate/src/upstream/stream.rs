//! Calls that stream their answers, up to the first message: until then nothing has been promised to anybody.

use bytes::Bytes;

use super::attempt::Caller;
use super::call::{Call, CallDeadline, CallError, CallHead};
use super::retry::{Retries, RetryPlan};
use super::{Asked, Cluster};
use crate::time::now;

impl Cluster {
    /// Calls a method with one message and waits for the first one of its answer, or its good end; and again if `retry` says
    /// so. `idempotent`: it may be called twice.
    ///
    /// # Errors
    /// Of the last attempt; and who was asked then, if anybody was.
    pub async fn first_message(
        &self,
        caller: Caller<'_>,
        head: CallHead,
        frame: Bytes,
        deadline: CallDeadline,
        (retry, idempotent): (&RetryPlan, bool),
    ) -> Result<(Call, Option<Bytes>), (CallError, Option<Asked>)> {
        retry.requested(&self.resilience);
        let mut retries = Retries::new(retry, &self.resilience, idempotent, deadline.at());
        let wheel = self.wheels.get(caller.worker());
        loop {
            let ends = deadline.until_first(retry.attempt_ends(now(), deadline.at()));
            let (error, asked) = match self.call(caller, head.clone(), frame.clone(), true, ends).await {
                Err(error) => (error, None),
                Ok(mut call) => {
                    let asked = caller.reached(&call);
                    match call.next_message().await {
                        Ok(first) => {
                            self.counted(&retries, true);
                            return Ok((call, first));
                        }
                        Err(error) => (error, Some(asked)),
                    }
                }
            };
            if !retries.again((caller, wheel), &error, asked.is_some()).await {
                self.counted(&retries, false);
                return Err((error, asked));
            }
        }
    }
}
