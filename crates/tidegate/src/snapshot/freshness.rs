//! How keeping the descriptors of a service up to date goes: for whoever watches, not for whoever decides.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::upstream::reflection::FilesDigest;

/// Answers that are remembered: as one backend after the other is asked, enough to see that two of them disagree, and few
/// enough that a rollout is forgotten some minutes after it.
const MAX_ANSWERS: usize = 8;

/// Written by the follower of the service, read at each scrape.
#[derive(Debug, Default)]
pub struct Freshness {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last time that a backend was asked, it did not answer with descriptors.
    failing: bool,
    /// The last answer does not fit the routes.
    unfit: bool,
    /// The youngest last.
    answers: VecDeque<FilesDigest>,
}

impl Freshness {
    /// A backend has answered with the files of `digest`; `fits`: they are what is served with.
    pub fn answered(&self, digest: FilesDigest, fits: bool) {
        let mut state = self.state.lock();
        (state.failing, state.unfit) = (false, !fits);
        if state.answers.len() >= MAX_ANSWERS {
            state.answers.pop_front();
        }
        state.answers.push_back(digest);
    }

    /// A backend was asked for nothing.
    pub fn failed(&self) {
        self.state.lock().failing = true;
    }

    /// What is served with is not what a backend would answer now, as far as anybody knows.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let state = self.state.lock();
        state.failing || state.unfit
    }

    /// Different sets among the last answers.
    #[must_use]
    pub fn digests(&self) -> usize {
        let state = self.state.lock();
        let is_first =
            |(place, digest): &(usize, &FilesDigest)| !state.answers.iter().take(*place).any(|it| it == *digest);
        state.answers.iter().enumerate().filter(is_first).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_that_disagree_are_seen_and_a_rollout_is_forgotten() {
        let freshness = Freshness::default();
        assert_eq!((freshness.digests(), freshness.is_stale()), (0, false));
        let check = |byte: u8, digests: usize| {
            freshness.answered(FilesDigest::of_byte(byte), true);
            assert_eq!(freshness.digests(), digests);
        };
        let (old, new) = (1, 2);
        check(old, 1);
        check(old, 1);
        check(new, 2);
        check(old, 2);
        for _ in 0..MAX_ANSWERS - 1 {
            check(new, 2);
        }
        check(new, 1);
    }

    #[test]
    fn what_does_not_fit_is_stale_until_something_does() {
        let freshness = Freshness::default();
        let check = |stale: bool| assert_eq!(freshness.is_stale(), stale);
        freshness.answered(FilesDigest::of_byte(1), false);
        check(true);
        freshness.failed();
        check(true);
        freshness.answered(FilesDigest::of_byte(1), false);
        check(true);
        freshness.answered(FilesDigest::of_byte(2), true);
        check(false);
        freshness.failed();
        check(true);
    }
}
