//! Simulations over gRPC.

use std::sync::Arc;

use protos::demo::simulation::v1 as pb;
use protos::demo::simulation::v1::simulation_service_server::SimulationService;
use tonic::{Request, Response, Status};

use super::input::{caller, id, timestamp, token, window};
use super::streams::{Stream, stream};
use crate::backends::Backends;
use crate::clock::now;
use crate::fault::Fault;
use crate::ids::{ProjectId, SimulationId};
use crate::simulation::{Parameters, Sample, Simulation, State};

pub(super) struct SimulationApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl SimulationService for SimulationApi {
    async fn create_simulation(
        &self,
        request: Request<pb::CreateSimulationRequest>,
    ) -> Result<Response<pb::Simulation>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let project = id::<ProjectId>("project", "project_id", &request.project_id)?;
        let parameters = request.parameters.ok_or_else(|| Fault::field("parameters", "is required"))?;
        let creating = self.0.laboratory.change(|laboratory, batch| {
            laboratory.projects.find(&owner, project)?;
            let simulations = &mut laboratory.simulations;
            simulations.create(&owner, project, &request.name, parameters_of(&parameters), now(), batch)
        });
        Ok(Response::new(message(&creating.await?)))
    }

    async fn get_simulation(
        &self,
        request: Request<pb::GetSimulationRequest>,
    ) -> Result<Response<pb::Simulation>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = simulation_id(&request.simulation_id)?;
        let found = self.0.laboratory.read(|laboratory| laboratory.simulations.find(&owner, id).map(message))?;
        Ok(Response::new(found))
    }

    async fn list_simulations(
        &self,
        request: Request<pb::ListSimulationsRequest>,
    ) -> Result<Response<pb::ListSimulationsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let window = window::<SimulationId>(request.page_size, &request.page_token)?;
        let project = match request.project_id.as_str() {
            "" => None,
            text => Some(id::<ProjectId>("project", "project_id", text)?),
        };
        let (simulations, next) = self.0.laboratory.read(|laboratory| {
            if let Some(project) = project {
                laboratory.projects.find(&owner, project)?;
            }
            let all = laboratory.simulations.of(&owner, window.after);
            let wanted = all.filter(|simulation| project.is_none_or(|project| simulation.project == project));
            let page = window.page(wanted, |simulation| simulation.id);
            Ok::<_, Fault>((page.items.into_iter().map(message).collect(), page.next))
        })?;
        Ok(Response::new(pb::ListSimulationsResponse { simulations, next_page_token: token(next) }))
    }

    async fn start_simulation(
        &self,
        request: Request<pb::StartSimulationRequest>,
    ) -> Result<Response<pb::Simulation>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = simulation_id(&request.simulation_id)?;
        let started = self.0.start_simulation(owner, id).await?;
        Ok(Response::new(message(&started)))
    }

    async fn stop_simulation(
        &self,
        request: Request<pb::StopSimulationRequest>,
    ) -> Result<Response<pb::Simulation>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = simulation_id(&request.simulation_id)?;
        let stopping =
            self.0.laboratory.change(|laboratory, batch| laboratory.simulations.stop(&owner, id, now(), batch));
        Ok(Response::new(message(&stopping.await?)))
    }

    async fn delete_simulation(
        &self,
        request: Request<pb::DeleteSimulationRequest>,
    ) -> Result<Response<pb::DeleteSimulationResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = simulation_id(&request.simulation_id)?;
        self.0.laboratory.change(|laboratory, batch| laboratory.simulations.delete(&owner, id, batch)).await?;
        Ok(Response::new(pb::DeleteSimulationResponse {}))
    }

    type WatchSimulationStream = Stream<pb::Sample>;

    async fn watch_simulation(
        &self,
        request: Request<pb::WatchSimulationRequest>,
    ) -> Result<Response<Self::WatchSimulationStream>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = simulation_id(&request.simulation_id)?;
        let (first, rest) = self.0.laboratory.read(|laboratory| laboratory.simulations.watch(&owner, id))?;
        let shown = |found: &Sample| Some(sample(found));
        let set_missed = |sample: &mut pb::Sample, missed| sample.missed = missed;
        Ok(Response::new(stream(self.0.stopping.clone(), vec![sample(&first)], rest, shown, set_missed)))
    }
}

fn simulation_id(text: &str) -> Result<SimulationId, Fault> {
    id("simulation", "simulation_id", text)
}

fn message(simulation: &Simulation) -> pb::Simulation {
    let parameters = &simulation.parameters;
    pb::Simulation {
        id: simulation.id.to_string(),
        project_id: simulation.project.to_string(),
        name: simulation.name.clone(),
        state: state(simulation.state).into(),
        parameters: Some(pb::Parameters {
            mass: parameters.mass,
            stiffness: parameters.stiffness,
            damping: parameters.damping,
            displacement: parameters.displacement,
            velocity: parameters.velocity,
            time_step: parameters.time_step,
            steps: parameters.steps,
            interval_ms: parameters.interval_ms,
        }),
        latest: Some(sample(&simulation.sample())),
        created_at: timestamp(simulation.created_at),
        updated_at: timestamp(simulation.updated_at),
    }
}

fn parameters_of(parameters: &pb::Parameters) -> Parameters {
    Parameters {
        mass: parameters.mass,
        stiffness: parameters.stiffness,
        damping: parameters.damping,
        displacement: parameters.displacement,
        velocity: parameters.velocity,
        time_step: parameters.time_step,
        steps: parameters.steps,
        interval_ms: parameters.interval_ms,
    }
}

fn sample(sample: &Sample) -> pb::Sample {
    pb::Sample {
        simulation_id: sample.id.to_string(),
        step: sample.step,
        time: sample.time,
        displacement: sample.displacement,
        velocity: sample.velocity,
        energy: sample.energy,
        state: state(sample.state).into(),
        missed: 0,
    }
}

fn state(state: State) -> pb::SimulationState {
    match state {
        State::Created => pb::SimulationState::Created,
        State::Running => pb::SimulationState::Running,
        State::Stopped => pb::SimulationState::Stopped,
        State::Completed => pb::SimulationState::Completed,
    }
}
