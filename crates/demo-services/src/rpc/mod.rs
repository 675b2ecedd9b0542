//! The eight gRPC services: messages in, the state's words, messages out.
//!
//! The caller is who the metadata entry `x-user-id` names. Nothing here checks a token: that is what the gateway in
//! front is for.

mod auth;
mod input;
mod market_data;
mod orders;
mod positions;
mod projects;
mod simulations;
mod status;
mod streams;
mod users;
mod wallets;

use std::sync::Arc;

use protos::demo;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::backends::Backends;
use crate::settings::Service;

/// Largest request; our own are far smaller.
const REQUEST_MAX_BYTES: usize = 64 * 1024;

/// A service, ready to be served beside health and reflection.
pub(crate) struct Api {
    pub(crate) routes: Routes,
    /// With its package.
    pub(crate) name: &'static str,
    /// An encoded `FileDescriptorSet`.
    pub(crate) descriptors: &'static [u8],
}

macro_rules! api {
    ($backends:ident, $package:ident, $server:ident :: $type:ident, $ours:path) => {{
        type Server = demo::$package::v1::$server::$type<$ours>;
        let server = Server::new($ours($backends)).max_decoding_message_size(REQUEST_MAX_BYTES);
        Api {
            routes: Routes::new(server),
            name: <Server as NamedService>::NAME,
            descriptors: demo::$package::v1::FILE_DESCRIPTOR_SET,
        }
    }};
}

/// One service; `None` if it speaks HTTP.
pub(crate) fn api(service: Service, backends: Arc<Backends>) -> Option<Api> {
    let api = match service {
        Service::UserRpc => api!(backends, user, user_service_server::UserServiceServer, users::UserApi),
        Service::OrderRpc => api!(backends, order, order_service_server::OrderServiceServer, orders::OrderApi),
        Service::PositionRpc => {
            api!(backends, position, position_service_server::PositionServiceServer, positions::PositionApi)
        }
        Service::WalletRpc => api!(backends, wallet, wallet_service_server::WalletServiceServer, wallets::WalletApi),
        Service::MarketDataRpc => {
            api!(backends, marketdata, market_data_service_server::MarketDataServiceServer, market_data::MarketDataApi)
        }
        Service::AuthRpc => api!(backends, auth, auth_service_server::AuthServiceServer, auth::AuthApi),
        Service::ProjectRpc => {
            api!(backends, project, project_service_server::ProjectServiceServer, projects::ProjectApi)
        }
        Service::SimulationRpc => {
            api!(backends, simulation, simulation_service_server::SimulationServiceServer, simulations::SimulationApi)
        }
        Service::MarketData
        | Service::Orders
        | Service::Strategies
        | Service::Account
        | Service::Risk
        | Service::Configuration
        | Service::Dashboard => return None,
    };
    Some(api)
}
