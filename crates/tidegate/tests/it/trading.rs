//! The example S1, as it is shipped, in front of the seven real HTTP services: every route, for every role.

use std::collections::BTreeSet;

use demo_services::Service;
use serde_json::{Value, json};
use tidegate_testkit::tokens::{claims, hs256};
use tidegate_testkit::{Answer, Demo, Gateway, Request, eventually, get};

pub(super) const EXAMPLE: &str = "s1-trading-http";
const SECRET: &str = "the-secret-of-this-example-alone";
const KEY: &str = "tg_desk_key_of_the_example";

pub(super) const SERVICES: [Service; 7] = [
    Service::MarketData,
    Service::Orders,
    Service::Strategies,
    Service::Account,
    Service::Risk,
    Service::Configuration,
    Service::Dashboard,
];

/// Name of a route, a request for it, and the least role that may make it. What it names is not there, so that a request
/// that is let in changes nothing.
pub(super) const ROUTES: [(&str, &str, &str); 33] = [
    ("list-symbols", "GET /api/v1/market/symbols", "viewer"),
    ("get-orderbook", "GET /api/v1/market/orderbook/NOPE", "viewer"),
    ("list-market-trades", "GET /api/v1/market/trades/NOPE", "viewer"),
    ("get-ticker", "GET /api/v1/market/ticker/NOPE", "viewer"),
    ("create-order", "POST /api/v1/orders", "operator"),
    ("get-order", "GET /api/v1/orders/ord-999999", "viewer"),
    ("cancel-order", "DELETE /api/v1/orders/ord-999999", "operator"),
    ("list-orders", "GET /api/v1/orders", "viewer"),
    ("list-active-orders", "GET /api/v1/orders/active", "viewer"),
    ("list-order-history", "GET /api/v1/orders/history", "viewer"),
    ("create-strategy", "POST /api/v1/strategies", "operator"),
    ("get-strategy", "GET /api/v1/strategies/none", "viewer"),
    ("update-strategy", "PUT /api/v1/strategies/none", "operator"),
    ("delete-strategy", "DELETE /api/v1/strategies/none", "operator"),
    ("list-strategies", "GET /api/v1/strategies", "viewer"),
    ("start-strategy", "POST /api/v1/strategies/none/start", "operator"),
    ("stop-strategy", "POST /api/v1/strategies/none/stop", "operator"),
    ("get-strategy-status", "GET /api/v1/strategies/none/status", "viewer"),
    ("get-account-summary", "GET /api/v1/account/summary", "viewer"),
    ("get-balance", "GET /api/v1/account/balance", "viewer"),
    ("list-positions", "GET /api/v1/account/positions", "viewer"),
    ("get-pnl", "GET /api/v1/account/pnl", "viewer"),
    ("list-account-trades", "GET /api/v1/account/trades", "viewer"),
    ("get-risk-limits", "GET /api/v1/risk/limits", "viewer"),
    ("update-risk-limits", "PUT /api/v1/risk/limits", "admin"),
    ("get-risk-status", "GET /api/v1/risk/status", "viewer"),
    ("emergency-stop", "POST /api/v1/risk/emergency-stop", "admin"),
    ("create-config", "POST /api/v1/config", "admin"),
    ("get-config", "GET /api/v1/config/none", "operator"),
    ("update-config", "PUT /api/v1/config/none", "admin"),
    ("delete-config", "DELETE /api/v1/config/none", "admin"),
    ("get-dashboard-status", "GET /api/v1/dashboard/status", "viewer"),
    ("get-dashboard-summary", "GET /api/v1/dashboard/summary", "viewer"),
];

/// Rising: each role includes those before it.
const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

pub(super) async fn start() -> (Demo, Gateway) {
    let demo = Demo::start(&SERVICES, "the secret of tokens that nobody uses here").await;
    let gateway = demo.gateway(EXAMPLE);
    eventually("ready", || async { gateway.get("/health/readiness").await.status == 200 }).await;
    (demo, gateway)
}

pub(super) async fn end(demo: Demo, gateway: Gateway) {
    gateway.stop().await;
    demo.stop().await;
}

/// `line` is a method and a path. What takes a body gets `{}`.
pub(super) fn request(line: &str) -> Request {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::new(method, path);
    if matches!(method, "POST" | "PUT") { with_json(request, &json!({})) } else { request }
}

pub(super) fn with_json(request: Request, body: &Value) -> Request {
    Request { headers: Vec::new(), ..request }.header("content-type", "application/json").body(body.to_string())
}

pub(super) fn as_role(request: Request, user: &str, role: &str) -> Request {
    let token = hs256(SECRET, &claims(user, json!({"iss": "trading", "roles": [role]})));
    request.header("authorization", &format!("Bearer {token}"))
}

/// The error of the example's envelope.
pub(super) fn check_error(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!((&error["code"], error["request_id"].as_str()), (&json!(code), Some(answer.header("x-request-id"))));
}

#[tokio::test]
async fn each_route_is_open_to_its_role_and_to_those_above_it() {
    let (demo, gateway) = start().await;
    let mut names = BTreeSet::new();
    for (name, line, least) in ROUTES {
        names.insert(name);
        let explained = gateway.explain(&request(line));
        assert_eq!(explained.matched.as_deref(), Some(name), "{line}");
        check_error(&gateway.send(&request(line)).await, 401, "auth_missing");
        for role in ROLES {
            let answer = gateway.send(&as_role(request(line), "ann", role)).await;
            let allowed =
                ROLES.iter().position(|known| *known == role) >= ROLES.iter().position(|known| *known == least);
            if allowed {
                assert!(![401, 403].contains(&answer.status), "{role} {line}: {}", answer.text());
            } else {
                check_error(&answer, 403, "forbidden");
            }
        }
    }
    assert_eq!(names.len(), 33);
    // A partner's key is an operator.
    let by_key = |line: &str| request(line).header("x-api-key", KEY);
    assert_eq!(gateway.send(&by_key("GET /api/v1/account/balance")).await.status, 200);
    check_error(&gateway.send(&by_key("POST /api/v1/risk/emergency-stop")).await, 403, "forbidden");
    check_error(
        &gateway.send(&request("GET /api/v1/account/balance").header("x-api-key", "tg_other")).await,
        401,
        "auth_invalid",
    );
    end(demo, gateway).await;
}

#[tokio::test]
async fn a_trading_day_goes_through_every_route() {
    let (demo, gateway) = start().await;
    let ask = async |user: &str, line: &str, body: Option<Value>, status: u16| {
        let plain = request(line);
        let plain = body.map_or(plain.clone(), |body| with_json(plain, &body));
        let answer = gateway.send(&as_role(plain, user, "admin")).await;
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
        if answer.text().is_empty() { Value::Null } else { answer.json() }
    };
    let order = |side: &str, price: &str, quantity: &str| {
        Some(json!({"symbol": "ACME-USD", "side": side, "type": "limit", "price": price, "quantity": quantity}))
    };
    // The market, and two orders that meet.
    let symbols = ask("ann", "GET /api/v1/market/symbols", None, 200).await;
    assert_eq!(symbols["symbols"][0]["symbol"], "ACME-USD");
    let bid = ask("ann", "POST /api/v1/orders", order("buy", "24.50", "10"), 201).await;
    let book = ask("bob", "GET /api/v1/market/orderbook/ACME-USD?depth=1", None, 200).await;
    assert_eq!(book["bids"][0]["quantity"], "10");
    ask("bob", "POST /api/v1/orders", order("sell", "24.50", "4"), 201).await;
    assert_eq!(ask("ann", "GET /api/v1/market/ticker/ACME-USD", None, 200).await["last"], "24.50");
    assert_eq!(ask("ann", "GET /api/v1/market/trades/ACME-USD", None, 200).await["trades"][0]["quantity"], "4");
    let path = format!("/api/v1/orders/{}", bid["id"].as_str().unwrap());
    let filled = ask("ann", &format!("GET {path}"), None, 200).await;
    assert_eq!((&filled["status"], &filled["remaining_quantity"]), (&json!("partially_filled"), &json!("6")));
    ask("bob", &format!("GET {path}"), None, 403).await;
    assert_eq!(ask("ann", "GET /api/v1/orders/active", None, 200).await["orders"].as_array().unwrap().len(), 1);
    ask("ann", &format!("DELETE {path}"), None, 200).await;
    ask("ann", &format!("DELETE {path}"), None, 409).await;
    assert_eq!(ask("ann", "GET /api/v1/orders/history", None, 200).await["orders"][0]["status"], "cancelled");
    assert_eq!(ask("ann", "GET /api/v1/orders", None, 200).await["orders"].as_array().unwrap().len(), 1);
    // What it did to the account.
    assert_eq!(ask("ann", "GET /api/v1/account/positions", None, 200).await["positions"][0]["quantity"], "4");
    for what in ["summary", "balance", "pnl", "trades"] {
        ask("ann", &format!("GET /api/v1/account/{what}"), None, 200).await;
    }
    // A strategy.
    let parameters = json!({"quantity": "10", "half_spread": "0.50", "max_position": "100"});
    let body = json!({"name": "quotes", "symbol": "ACME-USD", "type": "market_maker", "parameters": parameters});
    let made = ask("ann", "POST /api/v1/strategies", Some(body.clone()), 201).await;
    let path = format!("/api/v1/strategies/{}", made["id"].as_str().unwrap());
    ask("ann", &format!("GET {path}"), None, 200).await;
    ask("ann", &format!("PUT {path}"), Some(body.clone()), 200).await;
    ask("ann", &format!("POST {path}/start"), None, 200).await;
    ask("ann", &format!("PUT {path}"), Some(body), 409).await;
    assert_eq!(ask("ann", &format!("GET {path}/status"), None, 200).await["state"], "running");
    assert_eq!(ask("ann", "GET /api/v1/strategies", None, 200).await["strategies"].as_array().unwrap().len(), 1);
    ask("ann", &format!("POST {path}/stop"), None, 200).await;
    ask("ann", &format!("DELETE {path}"), None, 204).await;
    // Configuration.
    ask("ann", "POST /api/v1/config", Some(json!({"key": "fees.maker", "value": 2})), 201).await;
    ask("ann", "POST /api/v1/config", Some(json!({"key": "fees.maker", "value": 2})), 409).await;
    ask("ann", "PUT /api/v1/config/fees.maker", Some(json!({"value": 3})), 200).await;
    assert_eq!(ask("ann", "GET /api/v1/config/fees.maker", None, 200).await["value"], 3);
    ask("ann", "DELETE /api/v1/config/fees.maker", None, 204).await;
    // Risk: limits, then everything stops.
    let limits = json!({"max_order_value": "100", "max_position_value": "150", "max_open_orders": 2, "max_loss": "50"});
    ask("ann", "PUT /api/v1/risk/limits", Some(limits), 200).await;
    assert_eq!(ask("ann", "GET /api/v1/risk/limits", None, 200).await["limits"]["max_order_value"], "100");
    ask("ann", "POST /api/v1/orders", order("buy", "25", "5"), 422).await;
    ask("ann", "POST /api/v1/risk/emergency-stop", Some(json!({"reason": "a test"})), 200).await;
    ask("ann", "POST /api/v1/orders", order("buy", "25", "1"), 409).await;
    assert_eq!(ask("ann", "GET /api/v1/risk/status", None, 200).await["trading"], "stopped");
    assert_eq!(ask("ann", "GET /api/v1/dashboard/status", None, 200).await["status"], "stopped");
    ask("ann", "GET /api/v1/dashboard/summary", None, 200).await;
    ask("ann", "POST /api/v1/risk/emergency-stop", Some(json!({"active": false})), 200).await;
    check_all_were_called(&gateway).await;
    end(demo, gateway).await;
}

/// The page of metrics has a success of each route.
async fn check_all_were_called(gateway: &Gateway) {
    let page = gateway.get("/metrics").await;
    for (name, _, _) in ROUTES {
        let found = page.text().lines().any(|line| {
            line.starts_with("tidegate_http_requests_total{")
                && line.contains(&format!("route=\"{name}\""))
                && line.contains("code=\"20")
        });
        assert!(found, "no success of {name}");
    }
}

#[tokio::test]
async fn bad_requests_end_at_the_gateway_and_public_paths_are_open() {
    let (demo, gateway) = start().await;
    let order = |body: &str| {
        let request = Request::new("POST", "/api/v1/orders").header("content-type", "application/json").body(body);
        as_role(request, "ann", "operator")
    };
    check_error(&gateway.send(&order("{}")).await, 400, "validation_failed");
    check_error(
        &gateway.send(&order(r#"{"symbol": "ACME-USD", "side": "up", "quantity": "1"}"#)).await,
        400,
        "validation_failed",
    );
    check_error(&gateway.send(&order(&format!("\"{}\"", "x".repeat(70_000)))).await, 413, "payload_too_large");
    let text = Request::new("POST", "/api/v1/orders").header("content-type", "text/plain").body("x");
    check_error(&gateway.send(&as_role(text, "ann", "operator")).await, 415, "unsupported_media_type");
    for path in ["/health", "/health/liveness", "/health/readiness", "/metrics", "/version"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    let preflight = Request::new("OPTIONS", "/api/v1/orders")
        .header("origin", "https://trading.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type");
    let answer = gateway.send(&preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "https://trading.example.com"));
    end(demo, gateway).await;
}

#[tokio::test]
async fn limits_hold_for_a_user_and_others_go_on() {
    let (demo, gateway) = start().await;
    let order = json!({"symbol": "ACME-USD", "side": "buy", "type": "limit", "price": "1", "quantity": "1"});
    let place = |user: &str| as_role(with_json(Request::new("POST", "/api/v1/orders"), &order), user, "operator");
    let mut placed = 0;
    let refused = loop {
        let answer = gateway.send(&place("ann")).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 201, "{}", answer.text());
        placed += 1;
        assert!(placed < 2000, "nothing is refused");
    };
    assert!(placed >= 40, "{placed} are less than the burst");
    check_error(&refused, 429, "rate_limited");
    assert!(!refused.header("retry-after").is_empty() && refused.header("ratelimit").contains("orders-per-user"));
    assert_eq!(gateway.send(&place("bob")).await.status, 201, "another user has places of their own");
    assert_eq!(gateway.send(&as_role(get("/api/v1/orders"), "ann", "viewer")).await.status, 200);
    end(demo, gateway).await;
}

#[tokio::test]
async fn the_file_has_these_33_routes_and_no_other() {
    let (demo, gateway) = start().await;
    let listed = gateway.ask_admin(&get("/api/routes")).await.json();
    let proxied = listed.as_array().unwrap().iter().filter(|route| route["service"].is_string());
    let mut proxied: Vec<&str> = proxied.map(|route| route["name"].as_str().unwrap()).collect();
    let mut called = ROUTES.map(|(name, _, _)| name);
    proxied.sort_unstable();
    called.sort_unstable();
    assert_eq!(proxied, called);
    end(demo, gateway).await;
}
