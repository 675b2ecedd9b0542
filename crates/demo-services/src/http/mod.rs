//! The seven HTTP services: requests in, the state's words, JSON out.
//!
//! The caller's account is what `x-user-id` names, which a gateway sets; without it, it is the account `demo`. Every
//! service also answers `/health`. Money, prices and quantities are texts in answers, texts or numbers in requests.

mod account;
mod answer;
mod configuration;
mod dashboard;
mod failure;
mod input;
mod market_data;
mod orders;
mod risk;
mod strategies;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use self::answer::json_answer;
use self::failure::Failure;
use crate::backends::Backends;
use crate::settings::Service;

/// Largest body of a request.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// The routes of one service; `None` if it speaks gRPC.
pub(crate) fn router(service: Service, backends: Arc<Backends>) -> Option<Router> {
    let routes = match service {
        Service::MarketData => market_data::routes(),
        Service::Orders => orders::routes(),
        Service::Strategies => strategies::routes(),
        Service::Account => account::routes(),
        Service::Risk => risk::routes(),
        Service::Configuration => configuration::routes(),
        Service::Dashboard => dashboard::routes(),
        Service::UserRpc
        | Service::OrderRpc
        | Service::PositionRpc
        | Service::WalletRpc
        | Service::MarketDataRpc
        | Service::AuthRpc
        | Service::ProjectRpc
        | Service::SimulationRpc => return None,
    };
    let routes = routes
        .route("/health", get(move |state: State<Arc<Backends>>| async move { health(service, &state) }))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route"))
        .method_not_allowed_fallback(async || {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the route has other methods")
        })
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(backends);
    Some(routes)
}

fn health(service: Service, backends: &Backends) -> Response {
    let checks = [("store", backends.is_storing()), ("running", !backends.stopping.is_cancelled())];
    let passes = checks.iter().all(|(_, passes)| *passes);
    let word = |passes| if passes { "pass" } else { "fail" };
    let status = if passes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks: serde_json::Map<String, serde_json::Value> =
        checks.iter().map(|(name, passes)| ((*name).to_owned(), word(*passes).into())).collect();
    let body = json!({
        "status": word(passes),
        "service": service.name(),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": checks,
    });
    json_answer(status, &body)
}
