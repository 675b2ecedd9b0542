//! The example S2, as it is shipped, in front of the real gRPC services: login, every route, errors, and a route that is
//! added while it runs.

use demo_services::Service;
use serde_json::{Value, json};
use tidegate_testkit::{Answer, Demo, Gateway, Request, ask_admin, delete, eventually, get, post};

const EXAMPLE: &str = "s2-config-grpc";
const SECRET: &str = "the-token-secret-of-the-s2-example";

const SERVICES: [Service; 5] =
    [Service::UserRpc, Service::OrderRpc, Service::PositionRpc, Service::WalletRpc, Service::MarketDataRpc];

async fn start() -> (Demo, Gateway) {
    let demo = Demo::start(&SERVICES, SECRET).await;
    let gateway = demo.gateway(EXAMPLE);
    eventually("ready", || async { gateway.get("/health/readiness").await.status == 200 }).await;
    (demo, gateway)
}

async fn end(demo: Demo, gateway: Gateway) {
    gateway.stop().await;
    demo.stop().await;
}

/// Registers, logs in, and gives the token.
async fn login(gateway: &Gateway, email: &str) -> String {
    let user = json!({"email": email, "password": "correct horse battery", "name": "Somebody"});
    let answer = gateway.post("/api/v1/auth/register", user.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = gateway.post("/api/v1/auth/login", user_without_name(&user)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn user_without_name(user: &Value) -> String {
    json!({"email": user["email"], "password": user["password"]}).to_string()
}

fn with(request: Request, token: &str) -> Request {
    request.header("authorization", &format!("Bearer {token}"))
}

fn check_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["success"], &body["error"]["code"]), (&json!(false), &json!(code)), "{body}");
    assert_eq!(body["request_id"].as_str(), Some(answer.header("x-request-id")));
}

#[tokio::test]
async fn whoever_logs_in_has_a_wallet_orders_and_positions() {
    let (demo, gateway) = start().await;
    let token = login(&gateway, "ann@example.com").await;
    let other = login(&gateway, "bob@example.com").await;
    let ask = async |request: Request, token: &str| {
        let answer = gateway.send(&with(request, token)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    // Who it is, the token says: not a header of the client.
    let profile = ask(get("/api/v1/users/me").header("x-user-id", "usr-someone-else"), &token).await;
    assert_eq!(profile["user"]["email"], "ann@example.com");
    let renamed =
        Request::new("PUT", "/api/v1/users/me").header("content-type", "application/json").body(r#"{"name": "Ann"}"#);
    assert_eq!(ask(renamed, &token).await["user"]["name"], "Ann");
    ask(post("/api/v1/wallet/deposit", r#"{"currency": "USD", "amount": "250.00"}"#), &token).await;
    ask(post("/api/v1/wallet/withdraw", r#"{"currency": "USD", "amount": "50.00"}"#), &token).await;
    let balance = ask(get("/api/v1/wallet/balance"), &token).await;
    assert_eq!((&balance["balances"][0]["amount"], &balance["user_id"]), (&json!("200.00"), &profile["user"]["id"]));
    assert_eq!(ask(get("/api/v1/wallet/transactions"), &token).await["transactions"].as_array().unwrap().len(), 2);
    let order = |side: &str| {
        let order =
            json!({"symbol": "ACME-USD", "side": side, "type": "ORDER_TYPE_LIMIT", "price": "24.50", "quantity": "4"});
        post("/api/v1/orders", order.to_string())
    };
    let placed = ask(order("SIDE_BUY"), &token).await;
    let id = placed["order"]["id"].as_str().unwrap().to_owned();
    ask(order("SIDE_SELL"), &other).await;
    assert_eq!(ask(get(&format!("/api/v1/orders/{id}")), &token).await["order"]["filled_quantity"], "4");
    check_error(&gateway.send(&with(get(&format!("/api/v1/orders/{id}")), &other)).await, 403, "PERMISSION_DENIED");
    assert_eq!(ask(get("/api/v1/orders"), &token).await["orders"].as_array().unwrap().len(), 1);
    assert_eq!(ask(get("/api/v1/positions"), &token).await["positions"][0]["quantity"], "4");
    assert_eq!(ask(get("/api/v1/positions/ACME-USD"), &token).await["position"]["quantity"], "4");
    let resting = ask(order("SIDE_BUY"), &token).await["order"]["id"].as_str().unwrap().to_owned();
    ask(delete(&format!("/api/v1/orders/{resting}")), &token).await;
    for path in ["symbols", "ACME-USD/ticker", "ACME-USD/orderbook?depth=2", "ACME-USD/trades"] {
        assert_eq!(gateway.get(&format!("/api/v1/market/{path}")).await.status, 200, "{path}");
    }
    end(demo, gateway).await;
}

#[tokio::test]
async fn errors_have_the_codes_and_statuses_of_this_system() {
    let (demo, gateway) = start().await;
    let token = login(&gateway, "ann@example.com").await;
    let send = async |request: Request| gateway.send(&with(request, &token)).await;
    check_error(&gateway.get("/api/v1/wallet/balance").await, 401, "UNAUTHENTICATED");
    check_error(&gateway.send(&with(get("/api/v1/wallet/balance"), "a.b.c")).await, 401, "UNAUTHENTICATED");
    check_error(&send(get("/api/v1/orders/ord-999999")).await, 404, "NOT_FOUND");
    check_error(
        &send(post("/api/v1/wallet/deposit", r#"{"currency": "USD", "amount": "-1"}"#)).await,
        400,
        "INVALID_ARGUMENT",
    );
    check_error(
        &send(post("/api/v1/wallet/withdraw", r#"{"currency": "USD", "amount": "1.00"}"#)).await,
        500,
        "FAILED_PRECONDITION",
    );
    let again = json!({"email": "ann@example.com", "password": "correct horse battery", "name": "Ann"}).to_string();
    check_error(&gateway.post("/api/v1/auth/register", &again).await, 409, "ALREADY_EXISTS");
    let wrong = json!({"email": "ann@example.com", "password": "wrong horse battery"}).to_string();
    check_error(&gateway.post("/api/v1/auth/login", &wrong).await, 401, "UNAUTHENTICATED");
    check_error(&gateway.get("/api/v1/nothing").await, 404, "NOT_FOUND");
    demo.stop().await;
    check_error(&send(get("/api/v1/wallet/balance")).await, 503, "SERVICE_UNAVAILABLE");
    gateway.stop().await;
}

#[tokio::test]
async fn a_service_and_a_route_are_added_in_yaml_alone_while_it_runs() {
    let (demo, gateway) = start().await;
    let token = login(&gateway, "ann@example.com").await;
    assert_eq!(gateway.get("/api/v1/purse").await.status, 404);
    let wallet = demo.example(EXAMPLE);
    let line = wallet.lines().find(|line| line.trim_start().starts_with("wallet-service:")).unwrap();
    let more = line.replace("wallet-service", "purse-service");
    let yaml = wallet.replace(line, &format!("{line}\n{more}")).replace(
        "routes:\n",
        "routes:\n  - { name: get-purse, path: /api/v1/purse, method: GET, service: purse-service, grpc_service: WalletService, grpc_method: GetBalance, auth_required: true }\n",
    );
    gateway.apply(&yaml).await;
    eventually("the new route answers", || async {
        gateway.send(&with(get("/api/v1/purse"), &token)).await.status == 200
    })
    .await;
    let page = ask_admin(gateway.admin(), &get("/metrics")).await;
    let states = |state: &str| {
        page.text().lines().any(|line| {
            line.starts_with("tidegate_upstream_connections{service=\"purse-service\"") && line.contains(state)
        })
    };
    for state in ["idle", "connecting", "ready", "transient_failure", "shutdown"] {
        assert!(states(&format!("state=\"{state}\"")), "{state}");
    }
    end(demo, gateway).await;
}
