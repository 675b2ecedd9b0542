//! The example S1 when something is wrong: what each service refuses comes through as it says it, and a service that
//! ends takes no other with it.

use demo_services::Service;
use serde_json::{Value, json};
use tidegate_testkit::demo::beside;
use tidegate_testkit::{Answer, Demo, Gateway, Request, get};

use crate::trading::{EXAMPLE, ROUTES, SERVICES, as_role, check_error, end, request, start, with_json};

const ACME: &str = "ACME-USD";

/// Somebody's request, as an administrator: method and path, and its body if the service is to see one.
async fn ask(gateway: &Gateway, user: &str, line: &str, body: Option<&Value>) -> Answer {
    let plain = request(line);
    let plain = body.map_or(plain.clone(), |body| with_json(plain, body));
    gateway.send(&as_role(plain, user, "admin")).await
}

/// The same, which must succeed.
async fn done(gateway: &Gateway, user: &str, line: &str, body: Option<&Value>) -> Value {
    let answer = ask(gateway, user, line, body).await;
    assert!([200, 201].contains(&answer.status), "{line}: {} {}", answer.status, answer.text());
    answer.json()
}

/// Ann's requests, each with the status and the word that it must be refused with. All words but those of the gateway
/// are the service's.
async fn refused(gateway: &Gateway, cases: &[(&str, Option<Value>, u16, &str)]) {
    for (line, body, status, code) in cases {
        check_refusal(&ask(gateway, "ann", line, body.as_ref()).await, line, *status, code);
    }
}

fn check_refusal(answer: &Answer, line: &str, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{line}: {}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["code"], code, "{line}: {error}");
    assert!(error["message"].is_string(), "{line}: {error}");
    assert!(!answer.header("x-request-id").is_empty(), "{line}");
}

/// Ann's request with a condition on the version.
fn conditional(line: &str, name: &str, tag: &str, body: Option<&Value>) -> Request {
    let plain = request(line);
    let plain = body.map_or(plain.clone(), |body| with_json(plain, body));
    as_role(plain.header(name, tag), "ann", "admin")
}

fn order(side: &str, price: &str, quantity: &str) -> Value {
    json!({"symbol": ACME, "side": side, "type": "limit", "price": price, "quantity": quantity})
}

#[tokio::test]
async fn market_data_refuses_what_it_does_not_know() {
    let (demo, gateway) = start().await;
    refused(
        &gateway,
        &[
            ("GET /api/v1/market/symbols?page=1", None, 400, "validation_failed"),
            ("GET /api/v1/market/orderbook/NOPE", None, 404, "not_found"),
            ("GET /api/v1/market/orderbook/ACME-USD?depth=0", None, 400, "validation_failed"),
            ("GET /api/v1/market/trades/NOPE", None, 404, "not_found"),
            ("GET /api/v1/market/trades/ACME-USD?limit=501", None, 400, "validation_failed"),
            ("GET /api/v1/market/ticker/NOPE", None, 404, "not_found"),
            ("GET /api/v1/market/nothing", None, 404, "route_not_found"),
            ("POST /api/v1/market/symbols", None, 405, "method_not_allowed"),
        ],
    )
    .await;
    let known = ask(&gateway, "ann", "GET /api/v1/market/symbols", None).await;
    let again = conditional("GET /api/v1/market/symbols", "if-none-match", known.header("etag"), None);
    let again = gateway.send(&again).await;
    assert_eq!((again.status, again.text()), (304, ""));
    end(demo, gateway).await;
}

#[tokio::test]
async fn orders_are_refused_for_what_is_wrong_with_them() {
    let (demo, gateway) = start().await;
    let place = "POST /api/v1/orders";
    let with = |name: &str, value: Value| {
        let mut order = order("buy", "24", "1");
        order[name] = value;
        Some(order)
    };
    let made = done(&gateway, "ann", place, with("client_order_id", json!("mine-1")).as_ref()).await;
    let closed = format!("/api/v1/orders/{}", made["id"].as_str().unwrap());
    done(&gateway, "ann", &format!("DELETE {closed}"), None).await;
    let others = done(&gateway, "bob", place, Some(&order("buy", "23", "1"))).await;
    let others = format!("/api/v1/orders/{}", others["id"].as_str().unwrap());
    // What the file's schema takes and the exchange does not.
    let market = json!({"symbol": ACME, "side": "buy", "type": "market", "quantity": "1"});
    refused(
        &gateway,
        &[
            (place, with("client_order_id", json!("mine-1")), 409, "already_exists"),
            (place, with("quantity", json!("0.5")), 400, "validation_failed"),
            (place, with("price", json!("24.505")), 400, "validation_failed"),
            (place, with("symbol", json!("NOPE-USD")), 400, "validation_failed"),
            (place, with("side", json!("up")), 400, "validation_failed"),
            (place, with("unknown", json!(1)), 400, "validation_failed"),
            (place, Some(json!([])), 400, "validation_failed"),
            (place, Some(market), 422, "no_liquidity"),
            (place, Some(order("buy", "1000000", "1000000")), 422, "risk_limit"),
            (&format!("DELETE {closed}"), None, 409, "order_closed"),
            (&format!("GET {others}"), None, 403, "forbidden"),
            (&format!("DELETE {others}"), None, 403, "forbidden"),
            ("GET /api/v1/orders/ord-999999", None, 404, "not_found"),
            ("DELETE /api/v1/orders/ord-999999", None, 404, "not_found"),
            ("GET /api/v1/orders?status=nope", None, 400, "validation_failed"),
            ("GET /api/v1/orders/active?limit=501", None, 400, "validation_failed"),
            ("GET /api/v1/orders/history?cursor=x", None, 400, "validation_failed"),
        ],
    )
    .await;
    // The schema is the gateway's, so its answer has the gateway's form.
    check_error(&ask(&gateway, "ann", place, Some(&json!({}))).await, 400, "validation_failed");
    end(demo, gateway).await;
}

#[tokio::test]
async fn strategies_are_refused_for_what_they_do_already() {
    let (demo, gateway) = start().await;
    let parameters = json!({"quantity": "10", "half_spread": "0.50", "max_position": "100"});
    let body = json!({"name": "quotes", "symbol": ACME, "type": "market_maker", "parameters": parameters});
    let mut wrong = body.clone();
    wrong["type"] = json!("magic");
    let mut paths = Vec::new();
    for user in ["ann", "ann", "bob"] {
        let made = done(&gateway, user, "POST /api/v1/strategies", Some(&body)).await;
        paths.push(format!("/api/v1/strategies/{}", made["id"].as_str().unwrap()));
    }
    let [stopped, running, others] = &paths[..] else { panic!("{paths:?}") };
    done(&gateway, "ann", &format!("POST {running}/start"), None).await;
    refused(
        &gateway,
        &[
            ("POST /api/v1/strategies", Some(json!({})), 400, "validation_failed"),
            ("POST /api/v1/strategies", Some(wrong.clone()), 400, "validation_failed"),
            (&format!("PUT {stopped}"), Some(wrong), 400, "validation_failed"),
            (&format!("POST {stopped}/stop"), None, 409, "strategy_stopped"),
            (&format!("POST {running}/start"), None, 409, "strategy_running"),
            (&format!("PUT {running}"), Some(body.clone()), 409, "strategy_running"),
            (&format!("DELETE {running}"), None, 409, "strategy_running"),
            (&format!("GET {others}"), None, 403, "forbidden"),
            (&format!("POST {others}/start"), None, 403, "forbidden"),
            ("GET /api/v1/strategies?limit=501", None, 400, "validation_failed"),
            ("GET /api/v1/strategies/none", None, 404, "not_found"),
            ("PUT /api/v1/strategies/none", Some(body.clone()), 404, "not_found"),
            ("DELETE /api/v1/strategies/none", None, 404, "not_found"),
            ("POST /api/v1/strategies/none/start", None, 404, "not_found"),
            ("POST /api/v1/strategies/none/stop", None, 404, "not_found"),
            ("GET /api/v1/strategies/none/status", None, 404, "not_found"),
        ],
    )
    .await;
    let line = format!("PUT {stopped}");
    let stale = gateway.send(&conditional(&line, "if-match", "\"v9\"", Some(&body))).await;
    check_refusal(&stale, &line, 412, "stale_version");
    let line = "POST /api/v1/strategies";
    let half = Request::new("POST", "/api/v1/strategies").header("content-type", "application/json").body("{\"name\":");
    check_refusal(&gateway.send(&as_role(half, "ann", "operator")).await, line, 400, "malformed_json");
    done(&gateway, "ann", &format!("POST {running}/stop"), None).await;
    end(demo, gateway).await;
}

#[tokio::test]
async fn account_risk_and_dashboard_refuse_what_makes_no_sense() {
    let (demo, gateway) = start().await;
    let stop = "POST /api/v1/risk/emergency-stop";
    refused(
        &gateway,
        &[
            ("GET /api/v1/account/summary?x=1", None, 400, "validation_failed"),
            ("GET /api/v1/account/balance?x=1", None, 400, "validation_failed"),
            ("GET /api/v1/account/positions?x=1", None, 400, "validation_failed"),
            ("GET /api/v1/account/pnl?x=1", None, 400, "validation_failed"),
            ("GET /api/v1/account/trades?limit=501", None, 400, "validation_failed"),
            ("PUT /api/v1/risk/limits", Some(json!({"max_order_value": "0"})), 400, "validation_failed"),
            (stop, Some(json!({"active": false})), 409, "trading_runs"),
            ("GET /api/v1/dashboard/status?x=1", None, 400, "validation_failed"),
            ("GET /api/v1/dashboard/summary?x=1", None, 400, "validation_failed"),
        ],
    )
    .await;
    let line = "PUT /api/v1/risk/limits";
    let limits = json!({"max_order_value": "100", "max_position_value": "150", "max_open_orders": 2, "max_loss": "50"});
    let stale = gateway.send(&conditional(line, "if-match", "\"v9\"", Some(&limits))).await;
    check_refusal(&stale, line, 412, "stale_version");
    // An emergency stop cancels what is open, refuses what comes, and is no stop a second time.
    let made = done(&gateway, "bob", "POST /api/v1/orders", Some(&order("buy", "24", "1"))).await;
    let stopped = done(&gateway, "ann", stop, Some(&json!({"reason": "a test"}))).await;
    assert_eq!((&stopped["stop"]["cancelled_orders"], &stopped["stop"]["by"]), (&json!(1), &json!("ann")));
    let path = format!("GET /api/v1/orders/{}", made["id"].as_str().unwrap());
    assert_eq!(done(&gateway, "bob", &path, None).await["status"], "cancelled");
    refused(
        &gateway,
        &[
            (stop, Some(json!({"reason": "again"})), 409, "trading_stopped"),
            ("POST /api/v1/orders", Some(order("buy", "24", "1")), 409, "trading_stopped"),
        ],
    )
    .await;
    end(demo, gateway).await;
}

#[tokio::test]
async fn configuration_refuses_what_is_there_already_or_not_at_all() {
    let (demo, gateway) = start().await;
    let entry = json!({"key": "fees.maker", "value": 2});
    done(&gateway, "ann", "POST /api/v1/config", Some(&entry)).await;
    refused(
        &gateway,
        &[
            ("POST /api/v1/config", Some(entry), 409, "already_exists"),
            ("POST /api/v1/config", Some(json!({"key": "a/b", "value": 1})), 400, "validation_failed"),
            ("PUT /api/v1/config/fees.maker", Some(json!({})), 400, "validation_failed"),
            ("GET /api/v1/config/none", None, 404, "not_found"),
            ("PUT /api/v1/config/none", Some(json!({"value": 1})), 404, "not_found"),
            ("DELETE /api/v1/config/none", None, 404, "not_found"),
        ],
    )
    .await;
    for (line, body) in
        [("PUT /api/v1/config/fees.maker", Some(json!({"value": 3}))), ("DELETE /api/v1/config/fees.maker", None)]
    {
        let stale = gateway.send(&conditional(line, "if-match", "\"v9\"", body.as_ref())).await;
        check_refusal(&stale, line, 412, "stale_version");
    }
    end(demo, gateway).await;
}

#[tokio::test]
async fn a_service_that_ends_takes_no_other_with_it() {
    let (others, ends) = (&SERVICES[..6], &SERVICES[6..]);
    assert_eq!(ends, [Service::Dashboard]);
    let others = Demo::start(others, "the secret of tokens that nobody uses here").await;
    let dashboard = Demo::start(ends, "the secret of tokens that nobody uses here").await;
    let gateway = Gateway::start_in(beside(EXAMPLE), &others.placed_in(&dashboard.example(EXAMPLE)));
    let reads: Vec<&str> = ROUTES.iter().map(|(_, line, _)| *line).filter(|line| line.starts_with("GET ")).collect();
    let statuses = async |gateway: &Gateway| {
        let mut statuses = Vec::new();
        for line in &reads {
            statuses.push((*line, ask(gateway, "ann", line, None).await.status));
        }
        statuses
    };
    let before = statuses(&gateway).await;
    // What is asked for by name is not there, which the service itself says.
    assert!(before.iter().all(|(_, status)| [200, 404].contains(status)), "{before:?}");
    dashboard.stop().await;
    for line in ["GET /api/v1/dashboard/status", "GET /api/v1/dashboard/summary"] {
        let answer = gateway.send(&as_role(get(line.strip_prefix("GET ").unwrap()), "ann", "viewer")).await;
        let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
        assert!(["connect_failed", "no_healthy_endpoint"].contains(&code.as_str()), "{code}");
        check_error(&answer, 503, &code);
    }
    let expected: Vec<(&str, u16)> = before
        .into_iter()
        .map(|(line, status)| (line, if line.contains("/dashboard/") { 503 } else { status }))
        .collect();
    assert_eq!(statuses(&gateway).await, expected);
    assert_eq!(gateway.get("/health/readiness").await.status, 200, "readiness does not depend on backends");
    end(others, gateway).await;
}
