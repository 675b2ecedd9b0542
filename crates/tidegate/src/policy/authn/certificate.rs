//! Clients' certificates, which their listener has verified.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_config::valid::Certificate;

use super::identities::Identities;
use super::{Refused, Verdict};
use crate::identity::{ClientCertificate, CredentialKind, Identity};

/// Certificates that are let in.
#[derive(Debug)]
pub(super) struct Certificates {
    /// By one of its names; empty: all.
    known: Vec<(String, Arc<Identity>)>,
    identities: Identities,
}

impl Certificates {
    pub(super) fn compile(certificates: &[Certificate], identities: Identities) -> Self {
        let identity = |known: &Certificate| {
            let (roles, scopes) = (known.roles.clone(), known.scopes.clone());
            let claims = names(std::slice::from_ref(&known.name));
            (
                known.name.clone(),
                Arc::new(identities.make(CredentialKind::Certificate, &known.id, roles, scopes, claims)),
            )
        };
        Self { known: certificates.iter().map(identity).collect(), identities }
    }

    pub(super) fn identify(&self, certificate: &ClientCertificate) -> Verdict {
        let known = self.known.iter().find(|(name, _)| certificate.names.iter().any(|shown| **shown == **name));
        match (known, certificate.names.first()) {
            (Some((_, identity)), _) => Verdict::Accepted(Arc::clone(identity)),
            (None, Some(first)) if self.known.is_empty() => {
                let all: Vec<String> = certificate.names.iter().map(ToString::to_string).collect();
                let identity =
                    self.identities.make(CredentialKind::Certificate, first, Vec::new(), Vec::new(), names(&all));
                Verdict::Accepted(Arc::new(identity))
            }
            (None, _) => Verdict::Refused(Refused::invalid("the certificate is not known")),
        }
    }
}

fn names(names: &[String]) -> Map<String, Value> {
    Map::from_iter([("san".to_owned(), Value::from(names.to_vec()))])
}
