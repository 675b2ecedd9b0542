//! Projects: what simulations belong to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, require_version};
use crate::fields::Fields;
use crate::ids::{ProjectId, Sequence};
use crate::store::{Batch, Documents, StoreError};

/// Collection of the store.
const PROJECTS: &str = "projects";
/// Projects of all owners.
const PROJECTS_MAX: usize = 10_000;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// Counts changes, from 1.
    pub(crate) version: u64,
}

/// All projects, by id.
#[derive(Debug)]
pub(crate) struct Projects {
    projects: BTreeMap<ProjectId, Project>,
    ids: Sequence,
}

impl Projects {
    /// # Errors
    /// Documents that are not ours.
    pub(crate) fn restore(documents: &mut Documents, sequences: &[Sequence]) -> Result<Self, StoreError> {
        let projects: Vec<Project> = documents.take(PROJECTS)?;
        let projects = projects.into_iter().map(|project| (project.id, project)).collect();
        Ok(Self { projects, ids: Sequence::resume(sequences, PROJECTS) })
    }

    /// # Errors
    /// `Invalid`; `Exists` for a name that the owner uses; `Full`.
    pub(crate) fn create(
        &mut self,
        owner: &str,
        name: &str,
        description: &str,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Project, Fault> {
        check(name, description)?;
        self.require_free(owner, name, None)?;
        if self.projects.len() >= PROJECTS_MAX {
            return Err(Fault::Full { what: "projects", most: PROJECTS_MAX });
        }
        let project = Project {
            id: ProjectId(self.ids.take(batch)),
            owner: owner.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            created_at: now,
            updated_at: now,
            version: 1,
        };
        Ok(self.put(project, batch))
    }

    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(crate) fn find(&self, owner: &str, id: ProjectId) -> Result<&Project, Fault> {
        let project = self.projects.get(&id).ok_or_else(|| Fault::not_found("project", id))?;
        match project.owner == owner {
            true => Ok(project),
            false => Err(Fault::forbidden("project", id)),
        }
    }

    /// Those of an owner, oldest first, younger than `after`.
    pub(crate) fn of(&self, owner: &str, after: Option<ProjectId>) -> impl Iterator<Item = &Project> {
        let rest = self.projects.range(ProjectId(after.map_or(0, |after| after.0 + 1))..);
        rest.map(|(_, project)| project).filter(move |project| project.owner == owner)
    }

    /// Changes what is `Some`.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Forbidden`; `Exists` for the name; `Stale` if `seen` is not the present version.
    pub(crate) fn update(
        &mut self,
        owner: &str,
        id: ProjectId,
        changes: (Option<String>, Option<String>),
        seen: Option<u64>,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<Project, Fault> {
        let mut project = self.find(owner, id)?.clone();
        require_version("the project", seen, project.version)?;
        let (name, description) = changes;
        project.name = name.unwrap_or(project.name);
        project.description = description.unwrap_or(project.description);
        check(&project.name, &project.description)?;
        self.require_free(owner, &project.name, Some(id))?;
        project.updated_at = now;
        project.version += 1;
        Ok(self.put(project, batch))
    }

    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub(crate) fn delete(&mut self, owner: &str, id: ProjectId, batch: &mut Batch) -> Result<(), Fault> {
        self.find(owner, id)?;
        self.projects.remove(&id);
        batch.remove(PROJECTS, id);
        Ok(())
    }

    fn require_free(&self, owner: &str, name: &str, except: Option<ProjectId>) -> Result<(), Fault> {
        let is_used = self.of(owner, None).any(|project| project.name == name && Some(project.id) != except);
        if is_used { Err(Fault::exists("project", name)) } else { Ok(()) }
    }

    fn put(&mut self, project: Project, batch: &mut Batch) -> Project {
        batch.put(PROJECTS, project.id, &project);
        self.projects.insert(project.id, project.clone());
        project
    }
}

fn check(name: &str, description: &str) -> Result<(), Fault> {
    let mut fields = Fields::default();
    fields.text("name", name, 1, 100);
    fields.text("description", description, 0, 1_000);
    fields.done()
}
