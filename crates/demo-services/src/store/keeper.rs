//! State in memory that is written through.

use parking_lot::Mutex;

use super::{Batch, Store};
use crate::fault::Fault;

/// A value behind a lock, together with the store that its changes go to.
#[derive(Debug)]
pub(crate) struct Keeper<T> {
    value: Mutex<T>,
    store: Store,
}

impl<T> Keeper<T> {
    /// Keeps `value`, which has just been read from `store`.
    pub(crate) fn new(value: T, store: &Store) -> Self {
        Self { value: Mutex::new(value), store: store.clone() }
    }

    /// Looks at the value. `look` must be short: the lock is held.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock())
    }

    /// Changes the value and returns when the change is on disk. If the caller goes away while this waits for the disk,
    /// the change has happened all the same; before that, nothing has.
    ///
    /// # Errors
    /// Those of `change`, which then has changed nothing. `Storage` if the change could not be made or not be written; in
    /// the second case memory is ahead of the disk until the process ends, and no other change is taken.
    pub(crate) async fn change<R>(
        &self,
        change: impl FnOnce(&mut T, &mut Batch) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let place = self.store.reserve().await?;
        let (outcome, written) = {
            let mut value = self.value.lock();
            let mut batch = Batch::default();
            let outcome = change(&mut value, &mut batch);
            // Under the lock, so that the disk sees changes in their order.
            (outcome, place.write(batch))
        };
        written.done().await?;
        outcome
    }
}
