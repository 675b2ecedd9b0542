//! What became of the attempts of one request, and whether another one may follow.

use std::time::Duration;

use http::HeaderMap;
use tidegate_resilience::Tried;

use super::{Attempt, Came, ForwardError, MAX_RESENT, Replay, Seen};
use crate::upstream::retry::{Failed, Retries};

/// What became of the attempts so far.
pub(super) struct Tries<'a> {
    pub(super) retries: Retries<'a>,
    /// Endpoints that others are preferred to.
    pub(super) tried: Tried,
    /// Endpoints that cannot be connected to.
    pub(super) unreachable: Tried,
    pub(super) unsent: usize,
    /// This request has tried to connect in this round, to what was not known to be down before it came.
    pub(super) dialled: bool,
    /// Of attempts beside one another one was sent, and failed: what follows is a retry, whatever the others came to.
    pub(super) reached: bool,
    pub(super) resent: u32,
    pub(super) idempotent: bool,
    /// What the last one came to.
    pub(super) last: Option<ForwardError>,
}

impl<'a> Tries<'a> {
    pub(super) fn new(retries: Retries<'a>, idempotent: bool) -> Self {
        let (tried, unreachable) = (Tried::default(), Tried::default());
        Self {
            retries,
            tried,
            unreachable,
            unsent: 0,
            dialled: false,
            reached: false,
            resent: 0,
            idempotent,
            last: None,
        }
    }

    pub(super) fn failed(&mut self, place: usize, error: ForwardError) {
        self.tried.push(place);
        self.last = Some(error);
    }

    /// An endpoint could not be connected to: the wait before the next one, which is none.
    ///
    /// # Errors
    /// No other attempt may follow.
    pub(super) fn unsent(
        &mut self,
        place: usize,
        error: ForwardError,
        (dialled, known): (bool, bool),
        body: &mut Replay,
    ) -> Result<Duration, ForwardError> {
        self.unreachable.push(place);
        self.unsent += 1;
        self.failed(place, error);
        // After the first round it is this request that knows.
        self.dialled |= dialled && (!known || self.retries.made() > 0);
        if !std::mem::take(&mut self.reached) {
            return Ok(Duration::ZERO);
        }
        let wait = self.again(Failed::Connect, None, body);
        wait.ok_or_else(|| self.last_error())
    }

    /// There is nobody else to ask: the wait before all are asked once more, which is not before one of them may be
    /// connected to again, in `down_for`.
    ///
    /// # Errors
    /// No other attempt may follow.
    pub(super) fn nobody(&mut self, down_for: Duration, body: &mut Replay) -> Result<Duration, ForwardError> {
        let wait = self.another_round(down_for, body);
        wait.ok_or_else(|| self.last_error())
    }

    /// The request was sent, and lost: the wait before it is sent again.
    ///
    /// # Errors
    /// `error`, if it is not.
    pub(super) fn lost(
        &mut self,
        error: ForwardError,
        seen: Seen,
        mut attempt: Attempt,
        body: &mut Replay,
    ) -> Result<Duration, ForwardError> {
        let resends = self.resend(seen, body);
        if resends {
            // A connection that was closed while it waited says nothing about the backend.
            attempt.void();
        }
        attempt.came(Came::Nothing(error.reason()));
        let wait = if resends {
            Some(Duration::ZERO)
        } else {
            Failed::of(error.reason()).and_then(|failed| self.again(failed, None, body))
        };
        let Some(wait) = wait else { return Err(error) };
        self.failed(attempt.place(), error);
        Ok(wait)
    }

    fn last_error(&mut self) -> ForwardError {
        self.last.take().unwrap_or(ForwardError::NoEndpoint)
    }

    /// The endpoints are others now, so their places mean others.
    pub(super) fn forget_places(&mut self) {
        self.tried = Tried::default();
        self.unreachable = Tried::default();
    }

    /// All that this request could reach were tried; after this wait they may be there again. What was known to be down
    /// before it came is left to those who try, so that an outage is told at once.
    fn another_round(&mut self, down_for: Duration, body: &mut Replay) -> Option<Duration> {
        if !self.dialled || self.retries.is_too_long(down_for) {
            return None;
        }
        let wait = self.again(Failed::Connect, None, body)?.max(down_for);
        self.unreachable = Tried::default();
        self.unsent = 0;
        self.dialled = false;
        Some(wait)
    }

    /// The wait before another attempt, if the plan and the body allow one. Only of an attempt that is given up then: the
    /// body begins anew.
    pub(super) fn again(&mut self, failed: Failed, said: Option<&HeaderMap>, body: &mut Replay) -> Option<Duration> {
        if !body.can_rewind() {
            return None;
        }
        let wait = self.retries.after(failed, said)?;
        body.rewind();
        Some(wait)
    }

    /// Whether a request is sent once more because its connection was closed before the backend saw it.
    fn resend(&mut self, seen: Seen, body: &mut Replay) -> bool {
        let may = match seen {
            Seen::Perhaps => false,
            Seen::Hardly => self.idempotent,
            Seen::Never => true,
        };
        if !may || self.resent >= MAX_RESENT || !body.can_rewind() || !self.retries.resends() {
            return false;
        }
        self.resent += 1;
        body.rewind();
        true
    }
}
