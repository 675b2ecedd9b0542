//! The example S2, as it is shipped, in front of the real gRPC services: login, every route, errors, what services are
//! told, and a route that is added while it runs.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use demo_services::Service;
use serde_json::{Value, json};
use tidegate_testkit::client::Http1;
use tidegate_testkit::demo::beside;
use tidegate_testkit::engine::examples;
use tidegate_testkit::tokens::{claims, hs256};
use tidegate_testkit::{Answer, Demo, Gateway, Peer, Request, Script, ask_admin, delete, eventually, get, post};

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
    // Two streams: the changes of her own orders, and the market.
    // When the service begins to tell of orders cannot be seen from here, so she goes on until she hears of one.
    let watched = {
        let mut updates = follow(&gateway, "/api/v1/orders/updates", &token).await;
        let mut told = pin!(event(&mut updates));
        loop {
            let id = ask(order("SIDE_BUY"), &token).await["order"]["id"].clone();
            ask(delete(&format!("/api/v1/orders/{}", id.as_str().unwrap())), &token).await;
            if let Ok(told) = tokio::time::timeout(Duration::from_millis(100), &mut told).await {
                break told;
            }
        }
    };
    assert!(watched["order"]["id"].as_str().unwrap().starts_with("ord-"), "{watched}");
    let mut tickers = follow(&gateway, "/api/v1/market/tickers?symbols=ACME-USD", &token).await;
    assert_eq!(event(&mut tickers).await["ticker"]["last"], "24.50");
    drop(tickers);
    // Bob buys what she sells to be flat again.
    ask(order("SIDE_BUY"), &other).await;
    let closed = ask(delete("/api/v1/positions/ACME-USD"), &token).await;
    assert_eq!(closed["position"]["quantity"], "0");
    for path in ["symbols", "ACME-USD/ticker", "ACME-USD/orderbook?depth=2", "ACME-USD/trades"] {
        assert_eq!(gateway.get(&format!("/api/v1/market/{path}")).await.status, 200, "{path}");
    }
    eventually("each route has had a success", || async { missed(&gateway).await.is_empty() }).await;
    end(demo, gateway).await;
}

/// A stream of events that has begun.
async fn follow(gateway: &Gateway, path: &str, token: &str) -> Http1 {
    let mut http1 = gateway.http1().await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
    http1.write(head).await;
    http1
}

/// The next event of a stream. Its head is looked at with the first one: an answer begins with its first message.
async fn event(http1: &mut Http1) -> Value {
    let (status, headers) = http1.head().await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    let event = http1.until("\n\n").await;
    serde_json::from_str(event.trim().strip_prefix("data: ").unwrap()).unwrap()
}

/// Routes of the file that no request has had a success on.
async fn missed(gateway: &Gateway) -> BTreeSet<String> {
    let listed = gateway.ask_admin(&get("/api/routes")).await.json();
    let page = gateway.get("/metrics").await;
    let called = |name: &str| {
        page.text().lines().any(|line| {
            line.starts_with("tidegate_http_requests_total{")
                && line.contains(&format!("route=\"{name}\""))
                && line.contains("code=\"200\"")
        })
    };
    let routes = listed.as_array().unwrap().iter().filter(|route| route["service"].is_string());
    let names: Vec<&str> = routes.map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 21, "{names:?}");
    names.into_iter().filter(|name| !called(name)).map(str::to_owned).collect()
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

/// All codes of gRPC with what this system makes of them, and what a service is told of a request: a scripted backend
/// stands for the order service.
#[tokio::test]
async fn every_code_has_its_status_and_services_are_told_who_asks_and_what() {
    let demo = Demo::start(&SERVICES[..1], SECRET).await;
    let mut peer = Peer::start().await;
    let protos = examples().join("../crates/protos/proto").canonicalize().unwrap();
    let known = format!(
        "address: \"{}\", descriptors: [\"{}\"], proto_paths: [\"{}\"]",
        peer.address(),
        protos.join("demo/order/v1/order.proto").display(),
        protos.display(),
    );
    let yaml = demo.example(EXAMPLE).replace("address: \"localhost:50053\"", &known);
    let gateway = Gateway::start_in(beside(EXAMPLE), &yaml);
    let user = claims("usr-000007", json!({"iss": "demo-services", "email": "ann@example.com"}));
    let request = with(get("/api/v1/orders/ord-1"), &hs256(SECRET, &user))
        .header("x-user-id", "usr-someone-else")
        .header("x-user-email", "somebody@example.com")
        .header("x-path-order_id", "ord-2");
    let cases = [
        (1, 500, "CANCELLED"),
        (2, 500, "UNKNOWN"),
        (3, 400, "INVALID_ARGUMENT"),
        (4, 504, "TIMEOUT"),
        (5, 404, "NOT_FOUND"),
        (6, 409, "ALREADY_EXISTS"),
        (7, 403, "PERMISSION_DENIED"),
        (8, 500, "RESOURCE_EXHAUSTED"),
        (9, 500, "FAILED_PRECONDITION"),
        (10, 500, "ABORTED"),
        (11, 500, "OUT_OF_RANGE"),
        (12, 500, "UNIMPLEMENTED"),
        (13, 500, "INTERNAL"),
        (14, 503, "SERVICE_UNAVAILABLE"),
        (15, 500, "DATA_LOSS"),
        (16, 401, "UNAUTHENTICATED"),
    ];
    for (code, status, word) in cases {
        peer.on("GetOrder", Script::fails(code, "so it is"));
        check_error(&gateway.send(&request).await, status, word);
        let call = loop {
            // Health checks are calls as well.
            let call = peer.call().await;
            if call.path == "/demo.order.v1.OrderService/GetOrder" {
                break call;
            }
        };
        for (name, value) in [
            ("x-user-id", "usr-000007"),
            ("x-user-email", "ann@example.com"),
            ("x-path-order_id", "ord-1"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-path", "/api/v1/orders/ord-1"),
        ] {
            assert_eq!(call.metadata.get_all(name).iter().count(), 1, "{name}");
            assert_eq!(call.text(name), value, "{name}");
        }
    }
    end(demo, gateway).await;
}

#[tokio::test]
async fn refusals_of_the_gateway_keep_their_own_statuses() {
    let (demo, gateway) = start().await;
    check_error(&gateway.send(&delete("/api/v1/market/symbols")).await, 405, "UNIMPLEMENTED");
    let wrong = json!({"email": "nobody@example.com", "password": "wrong horse battery"}).to_string();
    let mut tried = 0;
    let refused = loop {
        let answer = gateway.post("/api/v1/auth/login", &wrong).await;
        if answer.status == 429 {
            break answer;
        }
        check_error(&answer, 401, "UNAUTHENTICATED");
        tried += 1;
        assert!(tried < 200, "passwords can be guessed");
    };
    check_error(&refused, 429, "RESOURCE_EXHAUSTED");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(gateway.get("/api/v1/market/symbols").await.status, 200, "others go on");
    end(demo, gateway).await;
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
    let line = "tidegate_upstream_connections{service=\"purse-service\",state=\"ready\"} ";
    let ready = page.text().lines().find_map(|text| text.strip_prefix(line)).unwrap();
    assert!(ready.parse::<u32>().unwrap() > 0, "{ready}");
    end(demo, gateway).await;
}
