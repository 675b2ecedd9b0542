//! Endpoints of `realtime`.

use std::sync::Arc;

use tidegate_config::valid::{RealtimeAction, RealtimeRequest, Route, UnknownPolicy};
use tidegate_config::{Code, Diagnostic};
use tidegate_route::Template;
use tidegate_transcode::Schema;

use super::{Compiler, methods, template};
use crate::action::Action;
use crate::action::failure::{FailureStyle, Format};
use crate::action::realtime::Realtime;
use crate::action::transcode::calls::SocketCalls;
use crate::action::transcode::{Binding, Transcode};
use crate::policy::access::Access;
use crate::realtime::door::Door;
use crate::realtime::session::Settings;
use crate::snapshot::registry::Process;
use crate::telemetry::labels::RouteLabels;

impl Compiler<'_> {
    /// An endpoint of `realtime`.
    pub(super) fn realtime(&mut self, route: &Route, realtime: &RealtimeAction) {
        let Some(template) = template(route) else { return };
        let inputs = self.inputs;
        let failure = FailureStyle::plain(&route.name, self.format(&route.policy));
        let (mut service, mut target, mut calls) = (String::new(), "websocket".to_owned(), None);
        if let Some(request) = &realtime.request {
            let Some(running) = inputs.services.get(request.service) else { return };
            service = running.cluster.name().to_string();
            target = format!("websocket {}", request.rpc);
            let known = running.schema.as_ref().map(|schema| self.socket_calls(route, request, schema, &template));
            calls = match known {
                Some(Ok(calls)) => Some(Arc::new(calls)),
                Some(Err(problems)) if !running.stale => {
                    return problems.into_iter().for_each(|problem| self.problems.push(problem));
                }
                // No fault of the endpoint, perhaps: the backend has not been asked for it yet.
                Some(Err(_)) | None => {
                    return self.push(route, methods(route), template, &service, &target, Action::Pending, failure);
                }
            };
        }
        let access = Access::compile(&route.access, inputs.providers);
        let Process { hall, telemetry, wheels, .. } = inputs.process;
        let settings = &inputs.valid.realtime;
        let action = Action::Realtime(Box::new(Realtime {
            door: Door::compile(settings, access.cookies(), hall),
            settings: Settings::compile(settings),
            write_timeout: settings.limits.write_timeout,
            calls,
            telemetry: Arc::clone(telemetry),
            wheels: Arc::clone(wheels),
        }));
        self.push(route, methods(route), template, &service, &target, action, failure);
    }

    fn socket_calls(
        &mut self,
        route: &Route,
        request: &RealtimeRequest,
        schema: &Arc<Schema>,
        template: &Template,
    ) -> Result<SocketCalls, Vec<Diagnostic>> {
        let at_rpc = |text: String| vec![Diagnostic::error(Code::Descriptors, text).at(&request.rpc_place)];
        let method = schema.find_method(&request.rpc).map_err(|error| at_rpc(error.to_string()))?;
        let rpc = method.full_name().to_owned();
        let binding = Binding { rpc: &rpc, template, body: tidegate_transcode::Body::Whole, response_body: None };
        let before = std::mem::take(&mut self.problems);
        let success = self.success_shape(route, schema, &binding);
        let failure = if success.is_some() { self.error_shape(&route.policy) } else { None };
        let found = std::mem::replace(&mut self.problems, before);
        if found.has_errors() {
            return Err(found.problems().to_vec());
        }
        // What a message does not have is passed over: the protocol may get members that this version does not know.
        let mut lenient = route.clone();
        lenient.policy.json.unknown_fields.value = UnknownPolicy::Ignore;
        let Some(running) = self.inputs.services.get(request.service) else { return Err(Vec::new()) };
        let cluster = Arc::clone(&running.cluster);
        let labels = RouteLabels {
            route: route.name.as_str().into(),
            service: Arc::clone(cluster.name()),
            ..RouteLabels::default()
        };
        let series = self.inputs.process.telemetry.metrics.route(&labels);
        let transcode = Transcode::compile(schema, &binding, &lenient, cluster, (success, None), series);
        let path = route.path.as_ref().map_or(&request.rpc_place, |path| &path.place);
        let transcode =
            transcode.map_err(|error| vec![error.diagnostic(path, &request.rpc_place, &request.rpc_place)])?;
        let format = failure.map_or(Format::Problem, |shape| Format::Envelope(Arc::new(shape)));
        let failure = Arc::new(FailureStyle::grpc(&route.name, format, &route.policy));
        SocketCalls::compile(request, Arc::new(transcode), failure).map_err(|problem| vec![problem])
    }
}
