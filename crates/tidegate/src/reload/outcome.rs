//! What a reload was asked by, and what it came to.

use std::sync::Arc;

use tidegate_config::Diagnostics;

use crate::lifecycle::ReloadResult;
use crate::snapshot::diff::Diff;

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Not a reload: the process began with it.
    Start,
    /// A folder has told that something has changed.
    File,
    /// It was time to look.
    Poll,
    /// The HUP signal.
    Hup,
    /// A call of the admin API.
    Admin,
    /// A text that was put in place of the main file, through the admin API.
    Put,
    /// A backend has told new descriptors, so what was refused before may be good now.
    Descriptors,
}

impl Trigger {
    /// The word for logs and admin.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File | Self::Poll => "file",
            Self::Hup => "hup",
            Self::Admin => "admin",
            Self::Put => "put",
            Self::Descriptors => "descriptors",
        }
    }

    /// Nobody waits for the outcome, so one that is known already is not told again.
    pub(super) fn is_automatic(self) -> bool {
        matches!(self, Self::File | Self::Poll | Self::Descriptors)
    }
}

/// What a reload came to. Only `Applied` has changed anything.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// What was read is what is in force.
    Unchanged,
    /// It is in force.
    Applied {
        /// Of the new snapshot.
        generation: u64,
        /// What it changes.
        diff: Arc<Diff>,
    },
    /// It has problems.
    Rejected {
        /// All of them.
        diagnostics: Arc<Diagnostics>,
    },
    /// It is good, and changes what only a new process can.
    NeedsRestart {
        /// The keys.
        fields: Vec<&'static str>,
    },
}

impl Outcome {
    /// Without what came with it.
    #[must_use]
    pub fn result(&self) -> ReloadResult {
        match self {
            Self::Unchanged => ReloadResult::Unchanged,
            Self::Applied { .. } => ReloadResult::Applied,
            Self::Rejected { .. } => ReloadResult::Rejected,
            Self::NeedsRestart { .. } => ReloadResult::NeedsRestart,
        }
    }

    /// Two reloads failed for the same reasons.
    pub(super) fn fails_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rejected { diagnostics: one }, Self::Rejected { diagnostics: other }) => {
                one.problems() == other.problems()
            }
            (Self::NeedsRestart { fields: one }, Self::NeedsRestart { fields: other }) => one == other,
            _ => false,
        }
    }
}

/// Why a reload was not even tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration in force is not the one that the caller has seen.
    #[error("the configuration in force is \"{hash}\"")]
    PreconditionFailed {
        /// The hash of that one.
        hash: Arc<str>,
    },
    /// Too many reloads wait.
    #[error("too many reloads wait")]
    Busy,
    /// The process is about to stop.
    #[error("the process is about to stop")]
    Stopping,
}
