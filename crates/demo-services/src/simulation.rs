//! Simulations: damped oscillators, computed step by step.
//!
//! ```text
//!   created ──start──► running ──last step──► completed
//!                      │     ▲
//!                     stop  start
//!                      ▼     │
//!                      stopped
//! ```
//!
//! A running simulation is stored about once a second and when its state changes. A process that dies goes on from
//! there, and because a step depends on nothing but the step before, it computes the same again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::feed::{Feed, Seats, Subscription};
use crate::fields::Fields;
use crate::ids::{ProjectId, Sequence, SimulationId};
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const SIMULATIONS: &str = "simulations";
/// Simulations of all owners.
const SIMULATIONS_MAX: usize = 10_000;
/// Simulations that run at once. With the shortest interval that is 5,000 steps a second.
const RUNNING_MAX: usize = 50;
/// How much work a process that dies may have to repeat.
const SAVE_EVERY_MS: u64 = 1_000;

/// What is computed; units stand in `simulation.proto`.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) mass: f64,
    pub(crate) stiffness: f64,
    pub(crate) damping: f64,
    pub(crate) displacement: f64,
    pub(crate) velocity: f64,
    pub(crate) time_step: f64,
    pub(crate) steps: u64,
    pub(crate) interval_ms: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Created,
    Running,
    Stopped,
    Completed,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Simulation {
    pub(crate) id: SimulationId,
    pub(crate) project: ProjectId,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) parameters: Parameters,
    pub(crate) state: State,
    pub(crate) step: u64,
    pub(crate) displacement: f64,
    pub(crate) velocity: f64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts starts, so that the task of an earlier start knows that it is over.
    run: u64,
}

/// The state of a simulation after a step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) id: SimulationId,
    pub(crate) step: u64,
    pub(crate) time: f64,
    pub(crate) displacement: f64,
    pub(crate) velocity: f64,
    pub(crate) energy: f64,
    pub(crate) state: State,
}

/// What the task of a running simulation works with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) id: SimulationId,
    pub(crate) interval: Duration,
    run: u64,
}

impl Parameters {
    fn check(&self) -> Result<(), Fault> {
        let mut fields = Fields::default();
        let mut range = |name: &str, value: f64, is_in: bool, problem: &str| {
            fields.check(value.is_finite() && is_in, &format!("parameters.{name}"), problem);
        };
        let positive = |value: f64| value > 0.0 && value <= 1e6;
        let not_negative = |value: f64| (0.0..=1e6).contains(&value);
        let start = |value: f64| (-1e3..=1e3).contains(&value);
        range("mass", self.mass, positive(self.mass), "must be more than 0, at most 1000000");
        range("stiffness", self.stiffness, not_negative(self.stiffness), "must be 0 to 1000000");
        range("damping", self.damping, not_negative(self.damping), "must be 0 to 1000000");
        range("displacement", self.displacement, start(self.displacement), "must be -1000 to 1000");
        range("velocity", self.velocity, start(self.velocity), "must be -1000 to 1000");
        let step = self.time_step > 0.0 && self.time_step <= 1.0;
        range("time_step", self.time_step, step, "must be more than 0, at most 1");
        fields.check((1..=1_000_000).contains(&self.steps), "parameters.steps", "must be 1 to 1000000");
        let interval = (10..=10_000).contains(&self.interval_ms);
        fields.check(interval, "parameters.interval_ms", "must be 10 to 10000");
        fields.done()?;
        // Where the roots of the step's characteristic polynomial leave the unit circle (Jury's criterion).
        let (h, m) = (self.time_step, self.mass);
        match h * h * self.stiffness / m + 2.0 * h * self.damping / m < 4.0 {
            true => Ok(()),
            false => Err(Fault::field("parameters.time_step", "is too large for this mass, stiffness and damping")),
        }
    }
}

impl Simulation {
    pub(crate) fn sample(&self) -> Sample {
        let parameters = &self.parameters;
        let kinetic = 0.5 * parameters.mass * self.velocity.powi(2);
        let potential = 0.5 * parameters.stiffness * self.displacement.powi(2);
        #[allow(clippy::cast_precision_loss, reason = "at most a million")]
        let time = self.step as f64 * parameters.time_step;
        Sample {
            id: self.id,
            step: self.step,
            time,
            displacement: self.displacement,
            velocity: self.velocity,
            energy: kinetic + potential,
            state: self.state,
        }
    }

    /// Semi-implicit Euler: the new velocity moves the mass, which keeps the energy of an undamped one bounded.
    fn advance(&mut self) {
        let Parameters { mass, stiffness, damping, time_step, .. } = self.parameters;
        let acceleration = -(stiffness * self.displacement + damping * self.velocity) / mass;
        self.velocity += acceleration * time_step;
        self.displacement += self.velocity * time_step;
        self.step += 1;
        if self.step >= self.parameters.steps {
            self.state = State::Completed;
        }
    }

    fn run(&self) -> Run {
        let interval = Duration::from_millis(self.parameters.interval_ms.into());
        Run { id: self.id, interval, run: self.run }
    }
}

/// All simulations.
#[derive(Debug)]
pub(crate) struct Simulations {
    simulations: BTreeMap<SimulationId, Simulation>,
    /// Of those that run.
    feeds: BTreeMap<SimulationId, Feed<Sample>>,
    seats: Seats,
    ids: Sequence,
}

impl Simulations {
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(documents: &mut Documents, sequences: &[Sequence]) -> Result<Self, StoreError> {
        let stored: Vec<Simulation> = documents.take(SIMULATIONS)?;
        let seats = Seats::new();
        let running = stored.iter().filter(|simulation| simulation.state == State::Running);
        let feeds = running.map(|simulation| (simulation.id, Feed::new(&seats))).collect();
        let simulations = stored.into_iter().map(|simulation| (simulation.id, simulation)).collect();
        Ok(Self { simulations, feeds, seats, ids: Sequence::resume(sequences, SIMULATIONS) })
    }

    /// Adds a simulation that does not run. That `project` belongs to `owner` was checked.
    ///
    /// # Errors
    /// `Invalid`, `Full`.
    pub(crate) fn create(
        &mut self,
        owner: &str,
        project: ProjectId,
        name: &str,
        parameters: Parameters,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Simulation, Fault> {
        let mut fields = Fields::default();
        fields.text("name", name, 1, 100);
        fields.done()?;
        parameters.check()?;
        if self.simulations.len() >= SIMULATIONS_MAX {
            return Err(Fault::Full { what: "simulations", most: SIMULATIONS_MAX });
        }
        let simulation = Simulation {
            id: SimulationId(self.ids.take(batch)),
            project,
            owner: owner.to_owned(),
            name: name.to_owned(),
            parameters,
            state: State::Created,
            step: 0,
            displacement: parameters.displacement,
            velocity: parameters.velocity,
            created_at: now,
            updated_at: now,
            run: 0,
        };
        Ok(self.put(simulation, batch))
    }

    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(crate) fn find(&self, owner: &str, id: SimulationId) -> Result<&Simulation, Fault> {
        let simulation = self.simulations.get(&id).ok_or_else(|| Fault::not_found("simulation", id))?;
        match simulation.owner == owner {
            true => Ok(simulation),
            false => Err(Fault::forbidden("simulation", id)),
        }
    }

    /// Those of an owner, oldest first, younger than `after`.
    pub(crate) fn of(&self, owner: &str, after: Option<SimulationId>) -> impl Iterator<Item = &Simulation> {
        let rest = self.simulations.range(SimulationId(after.map_or(0, |after| after.0 + 1))..);
        rest.map(|(_, simulation)| simulation).filter(move |simulation| simulation.owner == owner)
    }

    pub(crate) fn belong_to(&self, project: ProjectId) -> bool {
        self.simulations.values().any(|simulation| simulation.project == project)
    }

    /// Lets a simulation run; the caller makes the task.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` if it runs or has completed; `Full`.
    pub(crate) fn start(
        &mut self,
        owner: &str,
        id: SimulationId,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(Simulation, Run), Fault> {
        let mut simulation = self.find(owner, id)?.clone();
        match simulation.state {
            State::Created | State::Stopped => {}
            State::Running => return Err(Fault::conflict("simulation_running", format!("simulation {id} runs"))),
            State::Completed => {
                return Err(Fault::conflict("simulation_completed", format!("simulation {id} has completed")));
            }
        }
        if self.feeds.len() >= RUNNING_MAX {
            return Err(Fault::Full { what: "running simulations", most: RUNNING_MAX });
        }
        simulation.state = State::Running;
        simulation.updated_at = now;
        simulation.run += 1;
        self.feeds.insert(id, Feed::new(&self.seats));
        let run = simulation.run();
        Ok((self.put(simulation, batch), run))
    }

    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` if it does not run.
    pub(crate) fn stop(
        &mut self,
        owner: &str,
        id: SimulationId,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Simulation, Fault> {
        let mut simulation = self.find(owner, id)?.clone();
        if simulation.state != State::Running {
            return Err(Fault::conflict("simulation_not_running", format!("simulation {id} does not run")));
        }
        simulation.state = State::Stopped;
        simulation.updated_at = now;
        self.finish(&simulation);
        Ok(self.put(simulation, batch))
    }

    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` while it runs.
    pub(crate) fn delete(&mut self, owner: &str, id: SimulationId, batch: &mut Batch) -> Result<(), Fault> {
        if self.find(owner, id)?.state == State::Running {
            return Err(Fault::conflict("simulation_running", format!("simulation {id} runs")));
        }
        self.simulations.remove(&id);
        batch.remove(SIMULATIONS, id);
        Ok(())
    }

    /// The present sample and what follows, which is nothing unless it runs.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Full`.
    pub(crate) fn watch(&self, owner: &str, id: SimulationId) -> Result<(Sample, Option<Subscription<Sample>>), Fault> {
        let sample = self.find(owner, id)?.sample();
        let rest = self.feeds.get(&id).map(Feed::subscribe).transpose()?;
        Ok((sample, rest))
    }

    /// One step. False if the run is over.
    pub(crate) fn advance(&mut self, run: Run, now: Timestamp, batch: &mut Batch) -> bool {
        let Some(simulation) = self.simulations.get_mut(&run.id) else { return false };
        if simulation.state != State::Running || simulation.run != run.run {
            return false;
        }
        simulation.advance();
        let sample = simulation.sample();
        if let Some(feed) = self.feeds.get(&run.id) {
            feed.publish(sample);
        }
        let save_every = (SAVE_EVERY_MS / u64::from(simulation.parameters.interval_ms)).max(1);
        let is_over = sample.state == State::Completed;
        if is_over || sample.step.is_multiple_of(save_every) {
            simulation.updated_at = now;
            batch.put(SIMULATIONS, run.id, simulation);
        }
        if is_over {
            self.feeds.remove(&run.id);
        }
        !is_over
    }

    /// What runs, to be run by tasks of a process that has just started.
    pub(crate) fn running(&self) -> Vec<Run> {
        let running = self.simulations.values().filter(|simulation| simulation.state == State::Running);
        running.map(Simulation::run).collect()
    }

    /// Stores all that run, as they are. They go on when the process comes back; streams end.
    pub(crate) fn suspend(&mut self, batch: &mut Batch) {
        let running = self.simulations.values().filter(|simulation| simulation.state == State::Running);
        running.for_each(|simulation| batch.put(SIMULATIONS, simulation.id, simulation));
        self.feeds.clear();
    }

    /// Tells the streams of a simulation how it ended.
    fn finish(&mut self, simulation: &Simulation) {
        if let Some(feed) = self.feeds.remove(&simulation.id) {
            feed.publish(simulation.sample());
        }
    }

    fn put(&mut self, simulation: Simulation, batch: &mut Batch) -> Simulation {
        batch.put(SIMULATIONS, simulation.id, &simulation);
        self.simulations.insert(simulation.id, simulation.clone());
        simulation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNDAMPED: Parameters = Parameters {
        mass: 1.0,
        stiffness: 4.0,
        damping: 0.0,
        displacement: 1.0,
        velocity: 0.0,
        time_step: 0.001,
        steps: 10_000,
        interval_ms: 10,
    };

    fn after(parameters: Parameters) -> Sample {
        let mut simulations = Simulations::restore(&mut Documents::default(), &[]).unwrap();
        let (now, batch) = (Timestamp::UNIX_EPOCH, &mut Batch::default());
        let id = simulations.create("u", ProjectId(1), "s", parameters, now, batch).unwrap().id;
        let (_, run) = simulations.start("u", id, now, batch).unwrap();
        while simulations.advance(run, now, batch) {}
        simulations.find("u", id).unwrap().sample()
    }

    #[test]
    fn an_oscillator_does_what_the_formula_says() {
        let sample = after(UNDAMPED);
        assert_eq!((sample.step, sample.state), (10_000, State::Completed));
        // x = cos(2 t), t = 10 s.
        assert!((sample.displacement - 20_f64.cos()).abs() < 0.01, "{sample:?}");
        assert!((sample.energy - 2.0).abs() < 0.01, "{sample:?}");
        let damped = after(Parameters { damping: 1.0, ..UNDAMPED });
        assert!(damped.energy < 0.001, "{damped:?}");
    }

    #[test]
    fn parameters_that_would_explode_are_refused() {
        for (parameters, field) in [
            (Parameters { mass: 0.0, ..UNDAMPED }, "mass"),
            (Parameters { stiffness: f64::NAN, ..UNDAMPED }, "stiffness"),
            (Parameters { velocity: f64::INFINITY, ..UNDAMPED }, "velocity"),
            (Parameters { stiffness: 4.0, time_step: 1.0, ..UNDAMPED }, "time_step"),
            (Parameters { damping: 2.0, stiffness: 0.0, time_step: 1.0, ..UNDAMPED }, "time_step"),
            (Parameters { steps: 0, ..UNDAMPED }, "steps"),
            (Parameters { interval_ms: 9, ..UNDAMPED }, "interval_ms"),
        ] {
            let told = parameters.check().unwrap_err().to_string();
            assert!(told.starts_with(&format!("parameters.{field} ")), "{told}");
        }
    }

    #[test]
    fn an_earlier_run_is_over() {
        let mut simulations = Simulations::restore(&mut Documents::default(), &[]).unwrap();
        let (now, batch) = (Timestamp::UNIX_EPOCH, &mut Batch::default());
        let id = simulations.create("u", ProjectId(1), "s", UNDAMPED, now, batch).unwrap().id;
        let (_, first) = simulations.start("u", id, now, batch).unwrap();
        assert!(simulations.advance(first, now, batch));
        simulations.stop("u", id, now, batch).unwrap();
        let (_, second) = simulations.start("u", id, now, batch).unwrap();
        assert!(!simulations.advance(first, now, batch));
        assert!(simulations.advance(second, now, batch));
        assert_eq!(simulations.find("u", id).unwrap().step, 2);
    }
}
