//! Tells that something has changed in the folders of the configuration's files.
//!
//! Folders are watched and not files: an editor replaces a file by another one, and Kubernetes replaces the link
//! `..data` beside it, neither of which the file itself would tell. What has changed is not looked at: the reader
//! compares contents anyway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::time;

/// Nothing has changed for this long: whoever writes has probably finished.
const QUIET: Duration = Duration::from_millis(100);

/// The longest that steady changes put off a look.
const AT_MOST: Duration = Duration::from_secs(1);

/// Folders beyond these are left to the look that comes every half minute; the system allows a user some thousands.
const MAX_FOLDERS: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` where the system cannot watch.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Holds one message: more changes than one are one change.
    changed: mpsc::Receiver<()>,
    /// A change was told that nobody has been told of.
    dirty: bool,
}

impl Watch {
    /// Watches nothing yet.
    pub(super) fn new() -> Self {
        let (tell, changed) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error means that events were lost.
            if event.map_or(true, |event| is_change(event.kind)) {
                // Full: it is told already. Closed: nobody asks any more.
                let _told = tell.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files cannot be watched; changes are seen within half a minute, or on HUP");
        }
        Self { watcher: watcher.ok(), folders: BTreeSet::new(), changed, dirty: false }
    }

    /// Nothing is ever told.
    pub(super) fn off() -> Self {
        Self { watcher: None, folders: BTreeSet::new(), changed: mpsc::channel(1).1, dirty: false }
    }

    /// Watches `folders` and no others. The ones from before are watched anew, since another folder may have taken
    /// the place of one. True if there are new ones: what changed in them before was not seen.
    pub(super) fn aim(&mut self, folders: BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        for gone in self.folders.difference(&folders) {
            // It may have been deleted.
            let _unwatched = watcher.unwatch(gone);
        }
        for folder in folders.iter().take(MAX_FOLDERS) {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.folders.contains(folder)
            {
                tracing::warn!(folder = %folder.display(), %error, "a folder cannot be watched");
            }
        }
        let new = folders.difference(&self.folders).next().is_some();
        self.folders = folders;
        new
    }

    /// Ready once something has changed and nothing has changed since for a moment. Cancel-safe: what was not told is
    /// told the next time.
    pub(super) async fn settled(&mut self) {
        if !self.dirty && (self.watcher.is_none() || self.changed.recv().await.is_none()) {
            return std::future::pending().await;
        }
        self.dirty = true;
        let latest = time::now() + AT_MOST;
        loop {
            let left = latest.saturating_duration_since(time::now());
            match timeout(QUIET.min(left), self.changed.recv()).await {
                Ok(Some(())) if !left.is_zero() => {}
                _ => break,
            }
        }
        self.dirty = false;
    }
}

/// Reading is no change, and our own reading would never end. Nor is writing before it has ended where the end is told
/// too (inotify): a log beside the configuration is written all the time.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Modify(ModifyKind::Data(_)) => !cfg!(target_os = "linux"),
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
