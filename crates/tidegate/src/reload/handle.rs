//! How others ask for a reload: from any thread, through a bounded queue to the control thread.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::history::History;
use super::outcome::{Outcome, Refusal, Trigger};

/// Orders that may wait; each is a person or a script that waits for its answer.
const ORDERS: usize = 16;

/// What the control thread is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    Reload { trigger: Trigger, answer: oneshot::Sender<Outcome> },
    Put { text: Arc<[u8]>, if_match: String, answer: oneshot::Sender<Result<Outcome, Refusal>> },
}

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    orders: mpsc::Sender<Order>,
    history: Arc<History>,
}

impl ReloadHandle {
    pub(super) fn new(history: Arc<History>) -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(ORDERS);
        (Self { orders, history }, queue)
    }

    /// Reads the files again and puts them in force if they are good. Brings them back after [`ReloadHandle::put`].
    ///
    /// # Errors
    /// Nothing was tried.
    pub async fn reload(&self, trigger: Trigger) -> Result<Outcome, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Reload { trigger, answer })?;
        answered.await.map_err(|_| Refusal::Stopping)
    }

    /// Puts `text` in place of the main file, in memory alone, and puts it in force if it is good. What it includes is
    /// read from the disk, as relative to the main file as ever. It stays until one of the configuration files changes,
    /// HUP or [`ReloadHandle::reload`].
    ///
    /// `if_match` is the hash of the configuration that the caller has seen, as an entity tag (`"9f2c…"`) or bare, or
    /// `*` for any.
    ///
    /// # Errors
    /// Another configuration is in force, or nothing was tried.
    pub async fn put(&self, text: impl Into<Arc<[u8]>>, if_match: &str) -> Result<Outcome, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Put { text: text.into(), if_match: if_match.to_owned(), answer })?;
        answered.await.map_err(|_| Refusal::Stopping)?
    }

    /// What was in force, and how the last reload ended.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    fn order(&self, order: Order) -> Result<(), Refusal> {
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
        })
    }
}
