//! Every method of the eight gRPC services.

use demo_services::{Protocol, Service};
use prost::Message;
use protos::demo::auth::v1 as auth;
use protos::demo::auth::v1::auth_service_client::AuthServiceClient;
use protos::demo::marketdata::v1 as market;
use protos::demo::marketdata::v1::market_data_service_client::MarketDataServiceClient;
use protos::demo::order::v1 as order;
use protos::demo::order::v1::order_service_client::OrderServiceClient;
use protos::demo::position::v1 as position;
use protos::demo::position::v1::position_service_client::PositionServiceClient;
use protos::demo::project::v1 as project;
use protos::demo::project::v1::project_service_client::ProjectServiceClient;
use protos::demo::simulation::v1 as simulation;
use protos::demo::simulation::v1::simulation_service_client::SimulationServiceClient;
use protos::demo::user::v1 as user;
use protos::demo::user::v1::user_service_client::UserServiceClient;
use protos::demo::wallet::v1 as wallet;
use protos::demo::wallet::v1::wallet_service_client::WalletServiceClient;
use protos::google::rpc::{BadRequest, ErrorInfo};
use tonic::{Code, Request, Status};

use crate::running::Running;

/// A request of `user`.
pub(crate) fn by<T>(user: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-user-id", user.parse().unwrap());
    request
}

/// Code and details of a failure, each detail on a few words.
fn told<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, Vec<String>) {
    let status = result.unwrap_err();
    let details = match status.details() {
        [] => Vec::new(),
        encoded => protos::google::rpc::Status::decode(encoded).unwrap().details,
    };
    let words = details.iter().flat_map(|any| match any.type_url.as_str() {
        "type.googleapis.com/google.rpc.BadRequest" => {
            let violations = BadRequest::decode(&*any.value).unwrap().field_violations;
            violations.into_iter().map(|violation| violation.field).collect()
        }
        "type.googleapis.com/google.rpc.ErrorInfo" => vec![ErrorInfo::decode(&*any.value).unwrap().reason],
        other => vec![other.to_owned()],
    });
    (status.code(), words.collect())
}

fn check<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, details: &[&str]) {
    assert_eq!(told(result), (code, details.iter().map(ToString::to_string).collect()));
}

#[tokio::test]
async fn users_register_log_in_and_change_their_profile() {
    let running = Running::start().await;
    let mut users = UserServiceClient::new(running.channel(Service::UserRpc).await);
    let register = |email: &str, password: &str, name: &str| user::RegisterRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        name: name.to_owned(),
    };
    let ann = users.register(register("Ann@Example.com", "correct horse", "Ann")).await.unwrap().into_inner().user;
    let ann = ann.unwrap();
    assert_eq!((ann.email.as_str(), ann.version), ("ann@example.com", 1));
    check(users.register(register("ann@example.com", "correct horse", "Ann")).await, Code::AlreadyExists, &[]);
    check(users.register(register("nobody", "short", "")).await, Code::InvalidArgument, &["email", "name", "password"]);

    let login =
        |email: &str, password: &str| user::LoginRequest { email: email.to_owned(), password: password.to_owned() };
    let session = users.login(login("ann@example.com", "correct horse")).await.unwrap().into_inner();
    assert_eq!((session.token_type.as_str(), session.expires_in.unwrap().seconds), ("Bearer", 3_600));
    assert_eq!(session.access_token.split('.').count(), 3);
    for (email, password) in [("ann@example.com", "correct horsf"), ("bob@example.com", "correct horse")] {
        check(users.login(login(email, password)).await, Code::Unauthenticated, &[]);
    }
    check(users.login(login("", "")).await, Code::InvalidArgument, &["email", "password"]);

    let profile = |user_id: &str| user::GetProfileRequest { user_id: user_id.to_owned() };
    let found = users.get_profile(by(&ann.id, profile(""))).await.unwrap().into_inner().user.unwrap();
    assert_eq!(found.name, "Ann");
    check(users.get_profile(profile("")).await, Code::Unauthenticated, &[]);
    check(users.get_profile(by("usr-000099", profile(&ann.id))).await, Code::PermissionDenied, &[]);
    check(users.get_profile(by("usr-000099", profile(""))).await, Code::NotFound, &[]);
    let mut admin = by("usr-000099", profile(&ann.id));
    admin.metadata_mut().insert("x-user-roles", "viewer, admin".parse().unwrap());
    assert_eq!(users.get_profile(admin).await.unwrap().into_inner().user.unwrap().id, ann.id);

    let update = |name: Option<&str>, email: Option<&str>| user::UpdateProfileRequest {
        name: name.map(str::to_owned),
        email: email.map(str::to_owned),
    };
    let updated =
        users.update_profile(by(&ann.id, update(Some("Anna"), None))).await.unwrap().into_inner().user.unwrap();
    assert_eq!((updated.name.as_str(), updated.email.as_str(), updated.version), ("Anna", "ann@example.com", 2));
    users.register(register("bob@example.com", "correct horse", "Bob")).await.unwrap();
    let taken = users.update_profile(by(&ann.id, update(None, Some("bob@example.com")))).await;
    check(taken, Code::AlreadyExists, &[]);
    check(
        users.update_profile(by(&ann.id, update(Some(""), Some("x")))).await,
        Code::InvalidArgument,
        &["email", "name"],
    );
}

#[tokio::test]
async fn sessions_begin_go_on_and_end() {
    let running = Running::start().await;
    let mut sessions = AuthServiceClient::new(running.channel(Service::AuthRpc).await);
    let (email, password) = ("ann@example.com".to_owned(), "correct horse".to_owned());
    let register = auth::RegisterRequest { email: email.clone(), password: password.clone(), name: "Ann".to_owned() };
    let first = sessions.register(register.clone()).await.unwrap().into_inner();
    check(sessions.register(register.clone()).await, Code::AlreadyExists, &[]);

    let verify = |access_token: &str| auth::VerifyRequest { access_token: access_token.to_owned() };
    let boss = auth::RegisterRequest { email: "Boss@Example.com".to_owned(), ..register.clone() };
    let boss = sessions.register(boss).await.unwrap().into_inner();
    let roles = sessions.verify(verify(&boss.access_token)).await.unwrap().into_inner().roles;
    assert_eq!(roles, ["viewer", "admin"]);
    let claims = sessions.verify(verify(&first.access_token)).await.unwrap().into_inner();
    assert_eq!((&claims.user_id, &claims.email, claims.roles), (&first.user_id, &email, vec!["viewer".to_owned()]));
    check(sessions.verify(verify("a.b.c")).await, Code::Unauthenticated, &[]);

    let second = sessions.login(auth::LoginRequest { email: email.clone(), password }).await.unwrap().into_inner();
    assert_eq!(second.user_id, first.user_id);
    let wrong = auth::LoginRequest { email, password: "correct horsf".to_owned() };
    check(sessions.login(wrong).await, Code::Unauthenticated, &[]);

    let refresh = |token: &str| auth::RefreshRequest { refresh_token: token.to_owned() };
    let third = sessions.refresh(refresh(&second.refresh_token)).await.unwrap().into_inner();
    check(sessions.refresh(refresh(&second.refresh_token)).await, Code::Unauthenticated, &[]);
    check(sessions.refresh(refresh("")).await, Code::InvalidArgument, &["refresh_token"]);
    for _ in 0..2 {
        sessions.logout(auth::LogoutRequest { refresh_token: third.refresh_token.clone() }).await.unwrap();
    }
    check(sessions.refresh(refresh(&third.refresh_token)).await, Code::Unauthenticated, &[]);
    sessions.refresh(refresh(&first.refresh_token)).await.unwrap();
    check(sessions.logout(auth::LogoutRequest::default()).await, Code::InvalidArgument, &["refresh_token"]);
}

fn limit(side: order::Side, price: &str, quantity: &str) -> order::PlaceOrderRequest {
    order::PlaceOrderRequest {
        symbol: "ACME-USD".to_owned(),
        side: side.into(),
        price: price.to_owned(),
        quantity: quantity.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn orders_make_trades_and_positions_and_everybody_can_watch() {
    let running = Running::start().await;
    let mut orders = OrderServiceClient::new(running.channel(Service::OrderRpc).await);
    let mut markets = MarketDataServiceClient::new(running.channel(Service::MarketDataRpc).await);
    let mut positions = PositionServiceClient::new(running.channel(Service::PositionRpc).await);

    let mut watch = orders.watch_orders(by("ann", order::WatchOrdersRequest {})).await.unwrap().into_inner();
    let named = || vec!["ACME-USD".to_owned()];
    let mut trades =
        markets.stream_trades(market::StreamTradesRequest { symbols: named() }).await.unwrap().into_inner();
    let tickers = market::StreamTickersRequest { symbols: named() };
    let mut tickers = markets.stream_tickers(tickers).await.unwrap().into_inner();
    assert_eq!(tickers.message().await.unwrap().unwrap().ticker.unwrap().bid, "");

    let mut new = limit(order::Side::Buy, "25.00", "10");
    new.client_order_id = "mine".to_owned();
    let placed = orders.place_order(by("ann", new.clone())).await.unwrap().into_inner().order.unwrap();
    assert_eq!((placed.status(), placed.r#type()), (order::OrderStatus::Open, order::OrderType::Limit));
    check(orders.place_order(by("ann", new)).await, Code::AlreadyExists, &[]);
    assert_eq!(tickers.message().await.unwrap().unwrap().ticker.unwrap().bid, "25.00");
    orders.place_order(by("bob", limit(order::Side::Sell, "25", "4"))).await.unwrap();

    assert_eq!(watch.message().await.unwrap().unwrap().order.unwrap().version, 1);
    let change = watch.message().await.unwrap().unwrap();
    let changed = change.order.unwrap();
    assert_eq!((changed.id.as_str(), changed.filled_quantity.as_str(), change.missed), (placed.id.as_str(), "4", 0));
    let trade = trades.message().await.unwrap().unwrap().trade.unwrap();
    assert_eq!((trade.price.as_str(), trade.quantity.as_str(), trade.taker_side.as_str()), ("25.00", "4", "sell"));

    let get = |order_id: &str| order::GetOrderRequest { order_id: order_id.to_owned() };
    let found = orders.get_order(by("ann", get(&placed.id))).await.unwrap().into_inner().order.unwrap();
    assert_eq!(found.status(), order::OrderStatus::PartiallyFilled);
    check(orders.get_order(by("bob", get(&placed.id))).await, Code::PermissionDenied, &[]);
    check(orders.get_order(by("ann", get("ord-000099"))).await, Code::NotFound, &[]);
    check(orders.get_order(by("ann", get(""))).await, Code::InvalidArgument, &["order_id"]);
    check(orders.get_order(get(&placed.id)).await, Code::Unauthenticated, &[]);
    let list = order::ListOrdersRequest { page_size: 1, ..Default::default() };
    let page = orders.list_orders(by("ann", list)).await.unwrap().into_inner();
    assert_eq!((page.orders.len(), page.next_page_token.as_str()), (1, ""));
    let filled = order::ListOrdersRequest { status: order::OrderStatus::Filled.into(), ..Default::default() };
    assert!(orders.list_orders(by("ann", filled)).await.unwrap().into_inner().orders.is_empty());
    for (wrong, field) in [
        (order::ListOrdersRequest { page_size: -1, ..Default::default() }, "page_size"),
        (order::ListOrdersRequest { status: 99, ..Default::default() }, "status"),
        (order::ListOrdersRequest { page_token: "x".to_owned(), ..Default::default() }, "page_token"),
    ] {
        check(orders.list_orders(by("ann", wrong)).await, Code::InvalidArgument, &[field]);
    }
    let cancel = || order::CancelOrderRequest { order_id: placed.id.clone() };
    orders.cancel_order(by("ann", cancel())).await.unwrap();
    check(orders.cancel_order(by("ann", cancel())).await, Code::FailedPrecondition, &["ORDER_CLOSED"]);
    let wrong = order::PlaceOrderRequest { price: "x".to_owned(), ..Default::default() };
    check(orders.place_order(by("ann", wrong)).await, Code::InvalidArgument, &["side", "price", "quantity"]);
    let mut nobody = limit(order::Side::Buy, "", "1");
    nobody.r#type = order::OrderType::Market.into();
    check(orders.place_order(by("ann", nobody)).await, Code::FailedPrecondition, &["NO_LIQUIDITY"]);

    let wanted = |symbol: &str| position::GetPositionRequest { symbol: symbol.to_owned() };
    let short = positions.get_position(by("bob", wanted("ACME-USD"))).await.unwrap().into_inner().position.unwrap();
    assert_eq!((short.quantity.as_str(), short.average_price.as_str()), ("-4", "25.00"));
    check(positions.get_position(by("bob", wanted("BTC-USD"))).await, Code::NotFound, &[]);
    check(positions.get_position(by("bob", wanted("NOPE"))).await, Code::NotFound, &[]);
    check(positions.get_position(by("bob", wanted(""))).await, Code::InvalidArgument, &["symbol"]);
    orders.place_order(by("cid", limit(order::Side::Sell, "26", "9"))).await.unwrap();
    let close = || position::ClosePositionRequest { symbol: "ACME-USD".to_owned() };
    let closed = positions.close_position(by("bob", close())).await.unwrap().into_inner().position.unwrap();
    assert_eq!((closed.quantity.as_str(), closed.realized_pnl.as_str()), ("0", "-4.00"));
    check(positions.close_position(by("bob", close())).await, Code::NotFound, &[]);
    let all = positions.list_positions(by("bob", position::ListPositionsRequest {})).await.unwrap().into_inner();
    assert_eq!((all.positions.len(), all.realized_pnl.as_str()), (1, "-4.00"));
}

#[tokio::test]
async fn market_data_answers_for_known_symbols() {
    let running = Running::start().await;
    let mut orders = OrderServiceClient::new(running.channel(Service::OrderRpc).await);
    let mut markets = MarketDataServiceClient::new(running.channel(Service::MarketDataRpc).await);
    orders.place_order(by("ann", limit(order::Side::Buy, "25", "10"))).await.unwrap();
    orders.place_order(by("ann", limit(order::Side::Sell, "25", "3"))).await.unwrap();
    let symbols = markets.list_symbols(market::ListSymbolsRequest {}).await.unwrap().into_inner().symbols;
    assert_eq!((symbols.len(), symbols[0].tick_size.as_str()), (4, "0.01"));
    let symbol = || "ACME-USD".to_owned();
    let ticker = market::GetTickerRequest { symbol: symbol() };
    let ticker = markets.get_ticker(ticker).await.unwrap().into_inner().ticker.unwrap();
    assert_eq!(
        (ticker.bid.as_str(), ticker.ask.as_str(), ticker.last.as_str(), ticker.trades),
        ("25.00", "", "25.00", 1)
    );
    let book = market::GetOrderBookRequest { symbol: symbol(), depth: 0 };
    let book = markets.get_order_book(book).await.unwrap().into_inner();
    assert_eq!((book.bids[0].quantity.as_str(), book.asks.len(), book.sequence), ("7", 0, 2));
    let trades = market::ListTradesRequest { symbol: symbol(), limit: 1 };
    assert_eq!(markets.list_trades(trades).await.unwrap().into_inner().trades.len(), 1);

    let unknown = || "NOPE".to_owned();
    check(markets.get_ticker(market::GetTickerRequest { symbol: unknown() }).await, Code::NotFound, &[]);
    check(markets.get_ticker(market::GetTickerRequest::default()).await, Code::InvalidArgument, &["symbol"]);
    let deep = market::GetOrderBookRequest { symbol: symbol(), depth: 101 };
    check(markets.get_order_book(deep).await, Code::InvalidArgument, &["depth"]);
    let many = market::ListTradesRequest { symbol: symbol(), limit: 501 };
    check(markets.list_trades(many).await, Code::InvalidArgument, &["limit"]);
    let stream = market::StreamTickersRequest { symbols: vec![unknown()] };
    check(markets.stream_tickers(stream).await, Code::NotFound, &[]);
    let stream = market::StreamTradesRequest { symbols: vec![symbol(); 51] };
    check(markets.stream_trades(stream).await, Code::InvalidArgument, &["symbols"]);
}

#[tokio::test]
async fn wallets_hold_what_was_deposited() {
    let running = Running::start().await;
    let mut wallets = WalletServiceClient::new(running.channel(Service::WalletRpc).await);
    let balance = |currency: &str| wallet::GetBalanceRequest { currency: currency.to_owned() };
    let empty = wallets.get_balance(by("ann", balance(""))).await.unwrap().into_inner();
    assert_eq!((empty.user_id.as_str(), empty.balances.len()), ("ann", 0));
    let deposit = |currency: &str, amount: &str, reference: &str| wallet::DepositRequest {
        currency: currency.to_owned(),
        amount: amount.to_owned(),
        reference: reference.to_owned(),
    };
    let booked = wallets.deposit(by("ann", deposit("EUR", "10.50", "a"))).await.unwrap().into_inner().transaction;
    assert_eq!(booked.unwrap().balance, "10.50");
    check(wallets.deposit(by("ann", deposit("EUR", "1", "a"))).await, Code::AlreadyExists, &[]);
    wallets.deposit(by("bob", deposit("EUR", "1", "a"))).await.unwrap();
    wallets.deposit(by("ann", deposit("USD", "3", ""))).await.unwrap();
    let withdraw = |amount: &str| wallet::WithdrawRequest {
        currency: "EUR".to_owned(),
        amount: amount.to_owned(),
        reference: String::new(),
    };
    let booked = wallets.withdraw(by("ann", withdraw("0.25"))).await.unwrap().into_inner().transaction.unwrap();
    assert_eq!((booked.r#type(), booked.balance.as_str()), (wallet::TransactionType::Withdrawal, "10.25"));
    check(wallets.withdraw(by("ann", withdraw("10.26"))).await, Code::FailedPrecondition, &["INSUFFICIENT_FUNDS"]);
    check(wallets.withdraw(withdraw("1")).await, Code::Unauthenticated, &[]);
    check(
        wallets.deposit(by("ann", deposit("euro", "-1", "a b"))).await,
        Code::InvalidArgument,
        &["currency", "amount", "reference"],
    );
    check(wallets.deposit(by("ann", deposit("EUR", "", ""))).await, Code::InvalidArgument, &["amount"]);

    let all = wallets.get_balance(by("ann", balance(""))).await.unwrap().into_inner().balances;
    let shown: Vec<_> = all.iter().map(|balance| format!("{} {}", balance.amount, balance.currency)).collect();
    assert_eq!(shown, ["10.25 EUR", "3 USD"]);
    assert_eq!(wallets.get_balance(by("ann", balance("USD"))).await.unwrap().into_inner().balances.len(), 1);
    check(wallets.get_balance(by("ann", balance("GBP"))).await, Code::NotFound, &[]);

    let list = |token: &str| wallet::ListTransactionsRequest { page_size: 2, page_token: token.to_owned() };
    let first = wallets.list_transactions(by("ann", list(""))).await.unwrap().into_inner();
    let rest = wallets.list_transactions(by("ann", list(&first.next_page_token))).await.unwrap().into_inner();
    let amounts = |page: &wallet::ListTransactionsResponse| -> Vec<String> {
        page.transactions.iter().map(|transaction| transaction.amount.clone()).collect()
    };
    assert_eq!((amounts(&first), amounts(&rest)), (vec!["0.25".to_owned(), "3".to_owned()], vec!["10.50".to_owned()]));
    assert_eq!(rest.next_page_token, "");
}

/// An oscillator that takes some steps and is done.
pub(crate) fn parameters(steps: u64) -> simulation::Parameters {
    simulation::Parameters {
        mass: 1.0,
        stiffness: 4.0,
        damping: 0.1,
        displacement: 1.0,
        velocity: 0.0,
        time_step: 0.01,
        steps,
        interval_ms: 10,
    }
}

#[tokio::test]
async fn projects_have_owners_and_simulations_emit_samples_while_they_run() {
    let running = Running::start().await;
    let mut projects = ProjectServiceClient::new(running.channel(Service::ProjectRpc).await);
    let mut simulations = SimulationServiceClient::new(running.channel(Service::SimulationRpc).await);
    let create = |name: &str| project::CreateProjectRequest { name: name.to_owned(), description: "d".to_owned() };
    let made = projects.create_project(by("ann", create("springs"))).await.unwrap().into_inner();
    check(projects.create_project(by("ann", create("springs"))).await, Code::AlreadyExists, &[]);
    check(projects.create_project(by("ann", create(""))).await, Code::InvalidArgument, &["name"]);
    projects.create_project(by("bob", create("springs"))).await.unwrap();
    projects.create_project(by("ann", create("other"))).await.unwrap();
    let get = || project::GetProjectRequest { project_id: made.id.clone() };
    assert_eq!(projects.get_project(by("ann", get())).await.unwrap().into_inner().owner_id, "ann");
    check(projects.get_project(by("bob", get())).await, Code::PermissionDenied, &[]);
    let unknown = project::GetProjectRequest { project_id: "prj-000099".to_owned() };
    check(projects.get_project(by("ann", unknown)).await, Code::NotFound, &[]);
    let update = |name: &str, version| project::UpdateProjectRequest {
        project_id: made.id.clone(),
        name: Some(name.to_owned()),
        description: None,
        version,
    };
    let updated = projects.update_project(by("ann", update("coils", 1))).await.unwrap().into_inner();
    assert_eq!((updated.name.as_str(), updated.description.as_str(), updated.version), ("coils", "d", 2));
    check(projects.update_project(by("ann", update("coils", 1))).await, Code::Aborted, &["STALE_VERSION"]);
    check(projects.update_project(by("ann", update("other", 0))).await, Code::AlreadyExists, &[]);
    let list = |token: &str| project::ListProjectsRequest { page_size: 1, page_token: token.to_owned() };
    let first = projects.list_projects(by("ann", list(""))).await.unwrap().into_inner();
    let second = projects.list_projects(by("ann", list(&first.next_page_token))).await.unwrap().into_inner();
    assert_eq!((&*first.projects[0].name, &*second.projects[0].name, &*second.next_page_token), ("coils", "other", ""));

    let new = |parameters| simulation::CreateSimulationRequest {
        project_id: made.id.clone(),
        name: "one".to_owned(),
        parameters,
    };
    check(simulations.create_simulation(by("ann", new(None))).await, Code::InvalidArgument, &["parameters"]);
    let wrong = simulation::Parameters { mass: -1.0, steps: 0, ..parameters(1) };
    check(
        simulations.create_simulation(by("ann", new(Some(wrong)))).await,
        Code::InvalidArgument,
        &["parameters.mass", "parameters.steps"],
    );
    check(simulations.create_simulation(by("bob", new(Some(parameters(1))))).await, Code::PermissionDenied, &[]);
    let made_simulation =
        simulations.create_simulation(by("ann", new(Some(parameters(5))))).await.unwrap().into_inner();
    let simulation_id = made_simulation.id.clone();
    assert_eq!(made_simulation.state(), simulation::SimulationState::Created);

    let start = || simulation::StartSimulationRequest { simulation_id: simulation_id.clone() };
    let watch = || simulation::WatchSimulationRequest { simulation_id: simulation_id.clone() };
    let stop = || simulation::StopSimulationRequest { simulation_id: simulation_id.clone() };
    check(simulations.stop_simulation(by("ann", stop())).await, Code::FailedPrecondition, &["SIMULATION_NOT_RUNNING"]);
    check(simulations.start_simulation(by("bob", start())).await, Code::PermissionDenied, &[]);
    simulations.start_simulation(by("ann", start())).await.unwrap();
    let mut samples = simulations.watch_simulation(by("ann", watch())).await.unwrap().into_inner();
    let mut steps = Vec::new();
    while let Some(sample) = samples.message().await.unwrap() {
        assert_eq!(sample.state() == simulation::SimulationState::Completed, sample.step == 5);
        steps.push(sample.step);
    }
    let first = steps[0];
    assert_eq!(steps, (first..=5).collect::<Vec<_>>());
    check(simulations.start_simulation(by("ann", start())).await, Code::FailedPrecondition, &["SIMULATION_COMPLETED"]);

    let get = simulation::GetSimulationRequest { simulation_id: simulation_id.clone() };
    let done = simulations.get_simulation(by("ann", get)).await.unwrap().into_inner();
    assert!(done.latest.unwrap().displacement < 1.0);
    let mut after = simulations.watch_simulation(by("ann", watch())).await.unwrap().into_inner();
    assert_eq!(after.message().await.unwrap().unwrap().step, 5);
    assert_eq!(after.message().await.unwrap(), None);

    let long =
        simulations.create_simulation(by("ann", new(Some(parameters(1_000_000))))).await.unwrap().into_inner().id;
    let start = simulation::StartSimulationRequest { simulation_id: long.clone() };
    simulations.start_simulation(by("ann", start.clone())).await.unwrap();
    check(simulations.start_simulation(by("ann", start)).await, Code::FailedPrecondition, &["SIMULATION_RUNNING"]);
    let delete = || simulation::DeleteSimulationRequest { simulation_id: long.clone() };
    check(simulations.delete_simulation(by("ann", delete())).await, Code::FailedPrecondition, &["SIMULATION_RUNNING"]);
    let watch = simulation::WatchSimulationRequest { simulation_id: long.clone() };
    let mut samples = simulations.watch_simulation(by("ann", watch)).await.unwrap().into_inner();
    samples.message().await.unwrap().unwrap();
    let stop = simulation::StopSimulationRequest { simulation_id: long.clone() };
    let stopped = simulations.stop_simulation(by("ann", stop)).await.unwrap().into_inner();
    assert_eq!(stopped.state(), simulation::SimulationState::Stopped);
    let mut last = None;
    while let Some(sample) = samples.message().await.unwrap() {
        last = Some(sample);
    }
    assert_eq!(last.unwrap().state(), simulation::SimulationState::Stopped);

    let of = |project_id: &str| simulation::ListSimulationsRequest {
        project_id: project_id.to_owned(),
        ..Default::default()
    };
    assert_eq!(simulations.list_simulations(by("ann", of(&made.id))).await.unwrap().into_inner().simulations.len(), 2);
    assert!(simulations.list_simulations(by("bob", of(""))).await.unwrap().into_inner().simulations.is_empty());
    check(simulations.list_simulations(by("bob", of(&made.id))).await, Code::PermissionDenied, &[]);
    let remove = || project::DeleteProjectRequest { project_id: made.id.clone() };
    check(projects.delete_project(by("ann", remove())).await, Code::FailedPrecondition, &["PROJECT_IN_USE"]);
    simulations.delete_simulation(by("ann", delete())).await.unwrap();
    let delete = simulation::DeleteSimulationRequest { simulation_id };
    simulations.delete_simulation(by("ann", delete)).await.unwrap();
    projects.delete_project(by("ann", remove())).await.unwrap();
    check(projects.delete_project(by("ann", remove())).await, Code::NotFound, &[]);
}

#[tokio::test]
async fn a_stop_ends_streams_and_then_the_services() {
    let running = Running::start().await;
    let mut orders = OrderServiceClient::new(running.channel(Service::OrderRpc).await);
    let mut watch = orders.watch_orders(by("ann", order::WatchOrdersRequest {})).await.unwrap().into_inner();
    let serving = running.stop();
    let end = watch.message().await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "the service is shutting down"));
    drop((watch, orders));
    serving.await.unwrap();
}

#[tokio::test]
async fn every_service_has_health_and_reflection_of_its_own() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let running = Running::start().await;
    let mut seen = Vec::new();
    for service in Service::ALL.iter().filter(|service| service.protocol() == Protocol::Grpc) {
        let channel = running.channel(*service).await;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(channel.clone());
        let answers = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
        let ours: Vec<String> =
            list.service.into_iter().map(|service| service.name).filter(|name| name.starts_with("demo.")).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        for name in ["", &ours[0]] {
            let check = HealthCheckRequest { service: name.to_owned() };
            let answer = HealthClient::new(channel.clone()).check(check).await.unwrap();
            assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{name}");
        }
        seen.extend(ours);
    }
    assert_eq!(seen.len(), 8);
}
