//! The state behind all services, and the tasks that change it by themselves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::configuration::Configurations;
use crate::exchange::{self, Exchange};
use crate::fault::Fault;
use crate::identity::{Passwords, Tokens, Users, random_token};
use crate::ids::SimulationId;
use crate::project::Projects;
use crate::settings::Settings;
use crate::simulation::{Run, Simulation, Simulations};
use crate::store::{Keeper, Store, StoreError};
use crate::wallet::Wallets;

/// What the services answer from. One value for all of them: the order that one takes is in the book that another shows.
#[derive(Debug)]
pub(crate) struct Backends {
    pub(crate) exchange: Keeper<Exchange>,
    pub(crate) configurations: Keeper<Configurations>,
    pub(crate) users: Keeper<Users>,
    pub(crate) wallets: Keeper<Wallets>,
    /// Projects and simulations together, because a project with simulations cannot be deleted.
    pub(crate) laboratory: Keeper<Laboratory>,
    pub(crate) passwords: Passwords,
    pub(crate) tokens: Tokens,
    pub(crate) started_at: Timestamp,
    store: Store,
    tasks: TaskTracker,
    /// Cancelled when the drain begins: tasks stop and streams end.
    pub(crate) stopping: CancellationToken,
}

/// Projects and the simulations in them.
#[derive(Debug)]
pub(crate) struct Laboratory {
    pub(crate) projects: Projects,
    pub(crate) simulations: Simulations,
}

/// Why there are no backends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot begin: {0}")]
    Begin(#[from] Fault),
}

impl Backends {
    /// Reads the state and goes on with what ran when it was left.
    pub(crate) async fn open(settings: &Settings) -> Result<Arc<Self>, BackendsError> {
        // Blocks for some milliseconds, once, before anything is served.
        let (store, mut documents) = Store::open(settings.data.as_deref())?;
        let documents = &mut documents;
        let sequences = exchange::sequences(documents)?;
        let secret = match &settings.token_secret {
            Some(secret) => secret.clone(),
            None => {
                let secret = random_token()?;
                tracing::info!(target: "ready", token_secret = secret, "a secret for development was made");
                secret
            }
        };
        let laboratory = Laboratory {
            projects: Projects::restore(documents, &sequences)?,
            simulations: Simulations::restore(documents, &sequences)?,
        };
        let backends = Arc::new(Self {
            exchange: Keeper::new(Exchange::restore(documents, &sequences, now())?, &store),
            configurations: Keeper::new(Configurations::restore(documents)?, &store),
            users: Keeper::new(Users::restore(documents, &sequences, settings.admin.as_deref())?, &store),
            wallets: Keeper::new(Wallets::restore(documents, &sequences)?, &store),
            laboratory: Keeper::new(laboratory, &store),
            passwords: Passwords::new(),
            tokens: Tokens::new(&secret),
            started_at: now(),
            store,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        if settings.seed {
            backends.exchange.change(|exchange, batch| exchange.found(now(), batch)).await?;
        }
        for run in backends.laboratory.read(|laboratory| laboratory.simulations.running()) {
            backends.run_simulation(run);
        }
        backends.tasks.spawn(Arc::clone(&backends).run_strategies(settings.strategy_interval));
        Ok(backends)
    }

    /// Lets a simulation run.
    ///
    /// # Errors
    /// Those of [`Simulations::start`], or `Storage`.
    pub(crate) async fn start_simulation(
        self: &Arc<Self>,
        owner: String,
        id: SimulationId,
    ) -> Result<Simulation, Fault> {
        // In a task of its own: a caller who goes away while the start is being stored must not leave a simulation that
        // is said to run and does not.
        let backends = Arc::clone(self);
        let starting = self.tasks.spawn(async move {
            let (simulation, run) = backends
                .laboratory
                .change(|laboratory, batch| laboratory.simulations.start(&owner, id, now(), batch))
                .await?;
            backends.run_simulation(run);
            Ok(simulation)
        });
        starting.await.map_err(|_| Fault::Internal)?
    }

    /// Computes a simulation until its run is over.
    fn run_simulation(self: &Arc<Self>, run: Run) {
        let backends = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut interval = tokio::time::interval(run.interval);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The first tick is immediate; the first step comes one interval after the start.
            interval.tick().await;
            while backends.tick(&mut interval).await {
                let step = backends
                    .laboratory
                    .change(|laboratory, batch| Ok(laboratory.simulations.advance(run, now(), batch)));
                if !matches!(step.await, Ok(true)) {
                    return;
                }
            }
        });
    }

    /// Whether changes can be stored.
    pub(crate) fn is_storing(&self) -> bool {
        self.store.is_open()
    }

    /// Stops all tasks and ends streams. What ran goes on when the state is opened again.
    pub(crate) async fn suspend(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let saved = self.laboratory.change(|laboratory, batch| {
            laboratory.simulations.suspend(batch);
            Ok(())
        });
        if let Err(fault) = saved.await {
            tracing::warn!(error = %fault, "the last steps of simulations are not stored");
        }
    }

    /// Writes what waits and gives the file free.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    async fn run_strategies(self: Arc<Self>, every: Duration) {
        let mut interval = tokio::time::interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.tick(&mut interval).await {
            if self.exchange.read(|exchange| exchange.strategies().running().next().is_none()) {
                continue;
            }
            let step = self.exchange.change(|exchange, batch| {
                exchange.step(now(), batch);
                Ok(())
            });
            if let Err(fault) = step.await {
                tracing::error!(error = %fault, "strategies have ended");
                return;
            }
        }
    }

    /// Waits for the next tick. False when the drain has begun.
    async fn tick(&self, interval: &mut tokio::time::Interval) -> bool {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => false,
            _ = interval.tick() => true,
        }
    }
}
