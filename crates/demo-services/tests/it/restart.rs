//! What was told to a service is there when it comes back.

use demo_services::{Server, ServerError, Service, Settings};
use protos::demo::project::v1::CreateProjectRequest;
use protos::demo::project::v1::project_service_client::ProjectServiceClient;
use protos::demo::simulation::v1 as simulation;
use protos::demo::simulation::v1::simulation_service_client::SimulationServiceClient;
use protos::demo::user::v1 as user;
use protos::demo::user::v1::user_service_client::UserServiceClient;
use protos::demo::wallet::v1 as wallet;
use protos::demo::wallet::v1::wallet_service_client::WalletServiceClient;
use serde_json::{Value, json};

use crate::rpc::{by, parameters};
use crate::running::{Running, settings};

/// What is shown of a trading system, without what is new with every process.
async fn shown(running: &Running) -> Vec<Value> {
    let mut shown = Vec::new();
    for (service, path) in [
        (Service::Account, "/api/v1/account/summary"),
        (Service::Account, "/api/v1/account/positions"),
        (Service::Account, "/api/v1/account/trades"),
        (Service::Orders, "/api/v1/orders"),
        (Service::Strategies, "/api/v1/strategies"),
        (Service::Risk, "/api/v1/risk/limits"),
        (Service::Configuration, "/api/v1/config/a"),
    ] {
        shown.push(running.call(service, &format!("GET {path}")).expect(200).await.body);
    }
    let book = running.call(Service::MarketData, "GET /api/v1/market/orderbook/ACME-USD").expect(200).await.body;
    shown.extend([book["bids"].clone(), book["asks"].clone()]);
    let ticker = running.call(Service::MarketData, "GET /api/v1/market/ticker/ACME-USD").expect(200).await.body;
    shown.extend(["last", "volume", "trades", "high", "low"].map(|field| ticker[field].clone()));
    shown
}

async fn place(running: &Running, user: &str, side: &str, price: &str, quantity: &str) -> Value {
    let order = json!({ "symbol": "ACME-USD", "side": side, "price": price, "quantity": quantity });
    running.call(Service::Orders, "POST /api/v1/orders").user(user).json(&order).expect(201).await.body
}

#[tokio::test]
async fn a_trading_system_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { data: Some(folder.path().to_owned()), seed: false, ..settings() };
    let running = Running::start_with(&settings).await;
    let elder = place(&running, "ann", "buy", "25", "5").await;
    let younger = place(&running, "bob", "buy", "25", "5").await;
    place(&running, "cid", "sell", "25", "2").await;
    let limits = json!({ "max_order_value": 5000, "max_position_value": 9000, "max_open_orders": 9, "max_loss": 800 });
    running.call(Service::Risk, "PUT /api/v1/risk/limits").json(&limits).expect(200).await;
    running
        .call(Service::Configuration, "POST /api/v1/config")
        .json(&json!({ "key": "a", "value": [1] }))
        .expect(201)
        .await;
    let parameters = json!({ "quantity": "1", "lookback": 100, "max_position": "5" });
    let strategy = json!({ "name": "s", "symbol": "ACME-USD", "type": "momentum", "parameters": parameters });
    let strategy = running.call(Service::Strategies, "POST /api/v1/strategies").json(&strategy).expect(201).await;
    let start = format!("POST {}/start", strategy.header("location"));
    running.call(Service::Strategies, &start).expect(200).await;
    let before = shown(&running).await;
    running.stop().await.unwrap();

    let running = Running::start_with(&settings).await;
    assert_eq!(shown(&running).await, before);
    // The elder order has kept its place before the younger one, and the strategy runs.
    place(&running, "cid", "sell", "25", "4").await;
    let order = |id: &Value, user: &str| {
        running.call(Service::Orders, &format!("GET /api/v1/orders/{}", id["id"].as_str().unwrap())).user(user)
    };
    assert_eq!(order(&elder, "ann").expect(200).await.body["status"], "filled");
    assert_eq!(order(&younger, "bob").expect(200).await.body["filled_quantity"], "1");
    running.call(Service::Strategies, &start).refused(409, "strategy_running").await;
    let next = place(&running, "ann", "buy", "20", "1").await;
    assert_eq!(next["id"], "ord-000005");

    // A stop outlives the process too.
    running.call(Service::Risk, "POST /api/v1/risk/emergency-stop").expect(200).await;
    running.stop().await.unwrap();
    let running = Running::start_with(&settings).await;
    let status = running.call(Service::Risk, "GET /api/v1/risk/status").expect(200).await.body;
    assert_eq!((&status["trading"], &status["open_orders"]["value"]), (&json!("stopped"), &json!(0)));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn users_wallets_and_simulations_are_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { data: Some(folder.path().to_owned()), ..settings() };
    let running = Running::start_with(&settings).await;
    let (email, password) = ("ann@example.com".to_owned(), "correct horse".to_owned());
    let mut users = UserServiceClient::new(running.channel(Service::UserRpc).await);
    let register = user::RegisterRequest { email: email.clone(), password: password.clone(), name: "Ann".to_owned() };
    users.register(register).await.unwrap();
    let mut wallets = WalletServiceClient::new(running.channel(Service::WalletRpc).await);
    let deposit =
        wallet::DepositRequest { currency: "EUR".to_owned(), amount: "5".to_owned(), reference: "r".to_owned() };
    wallets.deposit(by("ann", deposit.clone())).await.unwrap();
    let mut projects = ProjectServiceClient::new(running.channel(Service::ProjectRpc).await);
    let project = CreateProjectRequest { name: "p".to_owned(), description: String::new() };
    let project_id = projects.create_project(by("ann", project)).await.unwrap().into_inner().id;
    let mut simulations = SimulationServiceClient::new(running.channel(Service::SimulationRpc).await);
    let new = simulation::CreateSimulationRequest {
        project_id,
        name: "s".to_owned(),
        parameters: Some(parameters(1_000_000)),
    };
    let simulation_id = simulations.create_simulation(by("ann", new)).await.unwrap().into_inner().id;
    let start = simulation::StartSimulationRequest { simulation_id: simulation_id.clone() };
    simulations.start_simulation(by("ann", start)).await.unwrap();
    let watch = simulation::WatchSimulationRequest { simulation_id };
    let mut samples = simulations.watch_simulation(by("ann", watch.clone())).await.unwrap().into_inner();
    let mut step = 0;
    while step < 3 {
        step = samples.message().await.unwrap().unwrap().step;
    }
    drop((users, wallets, projects, simulations, samples));
    running.stop().await.unwrap();

    let running = Running::start_with(&settings).await;
    let mut users = UserServiceClient::new(running.channel(Service::UserRpc).await);
    users.login(user::LoginRequest { email, password }).await.unwrap();
    let mut wallets = WalletServiceClient::new(running.channel(Service::WalletRpc).await);
    let balance = wallets.get_balance(by("ann", wallet::GetBalanceRequest::default())).await.unwrap().into_inner();
    assert_eq!(balance.balances[0].amount, "5");
    assert_eq!(wallets.deposit(by("ann", deposit)).await.unwrap_err().code(), tonic::Code::AlreadyExists);
    let mut simulations = SimulationServiceClient::new(running.channel(Service::SimulationRpc).await);
    let mut samples = simulations.watch_simulation(by("ann", watch)).await.unwrap().into_inner();
    let first = samples.message().await.unwrap().unwrap();
    assert!(first.step >= step, "{first:?}");
    assert!(samples.message().await.unwrap().unwrap().step > first.step);
    drop((users, wallets, simulations, samples));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_belongs_to_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { data: Some(folder.path().to_owned()), ..settings() };
    let running = Running::start_with(&settings).await;
    assert!(matches!(Server::bind(&settings).await, Err(ServerError::Store(_))));
    running.stop().await.unwrap();
    drop(Server::bind(&settings).await.unwrap());
}
