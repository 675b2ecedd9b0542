//! What the services are started with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the process needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address of this machine to listen on.
    pub address: IpAddr,
    /// The services to start, each once, with their ports. Port 0 takes a free one.
    pub services: BTreeMap<Service, u16>,
    /// The folder of the state. `None` keeps it in memory, until the end of the process.
    pub data: Option<PathBuf>,
    /// The key of the tokens. `None` takes a random one, with which no token outlives the process.
    pub token_secret: Option<String>,
    /// Whoever registers with this email gets the role `admin`.
    pub admin: Option<String>,
    /// Whether an exchange that was never used gets orders to trade with, of an account called `house`.
    pub seed: bool,
    /// Time between two steps of a strategy.
    pub strategy_interval: Duration,
    /// How long open calls may run after the signal to stop.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    /// All services on their own ports of 127.0.0.1, in memory.
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            services: Service::ALL.iter().map(|service| (*service, service.port())).collect(),
            data: None,
            token_secret: None,
            admin: None,
            seed: true,
            strategy_interval: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// Where a service should listen; `None` if it is not to be started.
    pub(crate) fn listen(&self, service: Service) -> Option<SocketAddr> {
        self.services.get(&service).map(|port| SocketAddr::new(self.address, *port))
    }
}

macro_rules! services {
    ($($(#[$doc:meta])* $variant:ident $name:literal $port:literal $protocol:ident)*) => {
        /// One of the services, each with a port of its own.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Service {
            $($(#[$doc])* $variant,)*
        }

        impl Service {
            /// All, HTTP first.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As options and the log name it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Where it listens unless it is told otherwise.
            pub fn port(self) -> u16 {
                match self { $(Self::$variant => $port,)* }
            }

            /// What it speaks.
            pub fn protocol(self) -> Protocol {
                match self { $(Self::$variant => Protocol::$protocol,)* }
            }
        }
    };
}

services! {
    /// Symbols, order books, trades, tickers.
    MarketData "market-data" 8101 Http
    /// Orders.
    Orders "orders" 8102 Http
    /// Strategies that trade by themselves.
    Strategies "strategies" 8103 Http
    /// Balance, positions, profit.
    Account "account" 8104 Http
    /// Limits and the emergency stop.
    Risk "risk" 8105 Http
    /// Versioned values.
    Configuration "configuration" 8106 Http
    /// The whole on one page.
    Dashboard "dashboard" 8107 Http
    /// `demo.user.v1.UserService`.
    UserRpc "user-service" 50051 Grpc
    /// `demo.order.v1.OrderService`.
    OrderRpc "order-service" 50053 Grpc
    /// `demo.position.v1.PositionService`.
    PositionRpc "position-service" 50054 Grpc
    /// `demo.wallet.v1.WalletService`.
    WalletRpc "wallet-service" 50055 Grpc
    /// `demo.marketdata.v1.MarketDataService`.
    MarketDataRpc "market-data-service" 50056 Grpc
    /// `demo.auth.v1.AuthService`.
    AuthRpc "auth-service" 50057 Grpc
    /// `demo.project.v1.ProjectService`.
    ProjectRpc "project-service" 50058 Grpc
    /// `demo.simulation.v1.SimulationService`.
    SimulationRpc "simulation-service" 50059 Grpc
}

/// What a service speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2 without TLS, with JSON.
    Http,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|service| service.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|service| service.name()).collect();
            format!("must be one of {}", names.join(", "))
        })
    }
}
