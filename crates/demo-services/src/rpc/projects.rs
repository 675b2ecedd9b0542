//! Projects over gRPC.

use std::sync::Arc;

use protos::demo::project::v1 as pb;
use protos::demo::project::v1::project_service_server::ProjectService;
use tonic::{Request, Response, Status};

use super::input::{caller, id, timestamp, token, window};
use crate::backends::Backends;
use crate::clock::now;
use crate::fault::Fault;
use crate::ids::ProjectId;
use crate::project::Project;

pub(super) struct ProjectApi(pub(super) Arc<Backends>);

#[tonic::async_trait]
impl ProjectService for ProjectApi {
    async fn create_project(
        &self,
        request: Request<pb::CreateProjectRequest>,
    ) -> Result<Response<pb::Project>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let creating = self.0.laboratory.change(|laboratory, batch| {
            laboratory.projects.create(&owner, &request.name, &request.description, now(), batch)
        });
        Ok(Response::new(message(&creating.await?)))
    }

    async fn get_project(&self, request: Request<pb::GetProjectRequest>) -> Result<Response<pb::Project>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = id("project", "project_id", &request.project_id)?;
        let project = self.0.laboratory.read(|laboratory| laboratory.projects.find(&owner, id).map(message))?;
        Ok(Response::new(project))
    }

    async fn list_projects(
        &self,
        request: Request<pb::ListProjectsRequest>,
    ) -> Result<Response<pb::ListProjectsResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let window = window::<ProjectId>(request.page_size, &request.page_token)?;
        let (projects, next) = self.0.laboratory.read(|laboratory| {
            let page = window.page(laboratory.projects.of(&owner, window.after), |project| project.id);
            (page.items.into_iter().map(message).collect(), page.next)
        });
        Ok(Response::new(pb::ListProjectsResponse { projects, next_page_token: token(next) }))
    }

    async fn update_project(
        &self,
        request: Request<pb::UpdateProjectRequest>,
    ) -> Result<Response<pb::Project>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = id("project", "project_id", &request.project_id)?;
        let seen = Some(request.version).filter(|version| *version != 0);
        let changes = (request.name, request.description);
        let changing = self
            .0
            .laboratory
            .change(|laboratory, batch| laboratory.projects.update(&owner, id, changes, seen, now(), batch));
        Ok(Response::new(message(&changing.await?)))
    }

    async fn delete_project(
        &self,
        request: Request<pb::DeleteProjectRequest>,
    ) -> Result<Response<pb::DeleteProjectResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let owner = caller(&metadata)?;
        let id = id("project", "project_id", &request.project_id)?;
        let deleting = self.0.laboratory.change(|laboratory, batch| {
            laboratory.projects.find(&owner, id)?;
            if laboratory.simulations.belong_to(id) {
                return Err(Fault::conflict("project_in_use", format!("project {id} has simulations")));
            }
            laboratory.projects.delete(&owner, id, batch)
        });
        deleting.await?;
        Ok(Response::new(pb::DeleteProjectResponse {}))
    }
}

fn message(project: &Project) -> pb::Project {
    pb::Project {
        id: project.id.to_string(),
        owner_id: project.owner.clone(),
        name: project.name.clone(),
        description: project.description.clone(),
        created_at: timestamp(project.created_at),
        updated_at: timestamp(project.updated_at),
        version: project.version,
    }
}
