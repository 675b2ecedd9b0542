//! The last configurations that were in force, and the last reload: what admin shows.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::outcome::{Outcome, Trigger};
use crate::snapshot::diff::Diff;

/// How many configurations are remembered.
const KEPT: usize = 10;

/// A configuration that was, or is, in force.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Of its first snapshot; new descriptors from a backend make further ones of the same configuration.
    pub generation: u64,
    /// Its name.
    pub hash: Arc<str>,
    /// Who brought it.
    pub trigger: Trigger,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it changed.
    pub diff: Arc<Diff>,
}

/// The last reload that came to something new.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// Who asked.
    pub trigger: Trigger,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it came to.
    pub outcome: Outcome,
}

/// Written by the control thread, read by admin.
#[derive(Debug)]
pub struct History {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The newest last; at most [`KEPT`].
    generations: VecDeque<Generation>,
    last: Option<LastReload>,
}

impl History {
    pub(super) fn new(first: Generation) -> Self {
        Self { state: Mutex::new(State { generations: VecDeque::from([first]), last: None }) }
    }

    pub(super) fn applied(&self, generation: Generation) {
        let generations = &mut self.state.lock().generations;
        if generations.len() >= KEPT {
            generations.pop_front();
        }
        generations.push_back(generation);
    }

    pub(super) fn ended(&self, reload: LastReload) {
        self.state.lock().last = Some(reload);
    }

    /// The last ten, the newest first.
    #[must_use]
    pub fn generations(&self) -> Vec<Generation> {
        self.state.lock().generations.iter().rev().cloned().collect()
    }

    /// `None` before the first reload.
    #[must_use]
    pub fn last(&self) -> Option<LastReload> {
        self.state.lock().last.clone()
    }
}
