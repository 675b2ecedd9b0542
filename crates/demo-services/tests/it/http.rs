//! Every route of the seven HTTP services.

use demo_services::{Protocol, Service, Settings};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::running::{Running, settings};

const ACME: &str = "ACME-USD";

fn limit(side: &str, price: &str, quantity: &str) -> Value {
    json!({ "symbol": ACME, "side": side, "type": "limit", "price": price, "quantity": quantity })
}

/// Places an order and returns its id.
async fn place(running: &Running, user: &str, order: &Value) -> String {
    let call = running.call(Service::Orders, "POST /api/v1/orders").user(user).json(order);
    call.expect(201).await.body["id"].as_str().unwrap().to_owned()
}

async fn get(running: &Running, service: Service, path: &str) -> Value {
    running.call(service, &format!("GET {path}")).expect(200).await.body
}

#[tokio::test]
async fn market_data_shows_what_was_ordered_and_traded() {
    let running = Running::start().await;
    let symbols = running.call(Service::MarketData, "GET /api/v1/market/symbols").expect(200).await;
    assert_eq!(symbols.body["symbols"].as_array().unwrap().len(), 4);
    assert_eq!(symbols.body["symbols"][0]["symbol"], ACME);
    let tag = symbols.header("etag");
    let again = running.call(Service::MarketData, "GET /api/v1/market/symbols").header("if-none-match", tag);
    let again = again.expect(304).await;
    assert_eq!((again.header("etag"), &again.body), (tag, &Value::Null));

    for (side, price, quantity) in [("buy", "24", "5"), ("buy", "24", "2"), ("buy", "23.5", "1"), ("sell", "26", "4")] {
        place(&running, "ann", &limit(side, price, quantity)).await;
    }
    let book = get(&running, Service::MarketData, "/api/v1/market/orderbook/ACME-USD").await;
    assert_eq!(book["bids"][0], json!({ "price": "24.00", "quantity": "7", "orders": 2 }));
    assert_eq!(book["asks"], json!([{ "price": "26.00", "quantity": "4", "orders": 1 }]));
    let one = get(&running, Service::MarketData, "/api/v1/market/orderbook/ACME-USD?depth=1").await;
    assert_eq!(one["bids"].as_array().unwrap().len(), 1);

    place(&running, "bob", &json!({ "symbol": ACME, "side": "sell", "type": "market", "quantity": 6 })).await;
    let trades = get(&running, Service::MarketData, "/api/v1/market/trades/ACME-USD").await;
    let shown: Vec<_> = trades["trades"].as_array().unwrap().iter().map(|trade| trade["quantity"].clone()).collect();
    assert_eq!(shown, ["1", "5"]);
    assert_eq!(trades["trades"][0]["taker_side"], "sell");
    assert!(trades["trades"][0].get("buyer").is_none(), "accounts are private");
    let page = get(&running, Service::MarketData, "/api/v1/market/trades/ACME-USD?limit=1").await;
    let rest = format!("/api/v1/market/trades/ACME-USD?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = get(&running, Service::MarketData, &rest).await;
    assert_eq!((&rest["trades"][0]["quantity"], &rest["next_cursor"]), (&json!("5"), &Value::Null));

    let ticker = get(&running, Service::MarketData, "/api/v1/market/ticker/ACME-USD").await;
    assert_eq!((&ticker["last"], &ticker["volume"], &ticker["trades"]), (&json!("24.00"), &json!("6"), &json!(2)));
    assert_eq!((&ticker["bid"], &ticker["ask"]), (&json!("24.00"), &json!("26.00")));

    for path in ["orderbook", "trades", "ticker"] {
        let call = running.call(Service::MarketData, &format!("GET /api/v1/market/{path}/NOPE"));
        call.refused(404, "not_found").await;
    }
    for query in ["depth=0", "depth=101", "depth=x", "deep=1", "depth=1&depth=1"] {
        let call = running.call(Service::MarketData, &format!("GET /api/v1/market/orderbook/ACME-USD?{query}"));
        call.refused(400, "validation_failed").await;
    }
}

#[tokio::test]
async fn an_order_is_placed_read_filled_and_cancelled() {
    let running = Running::start().await;
    let mut order = limit("buy", "24.50", "10");
    order["client_order_id"] = "mine-1".into();
    let created = running.call(Service::Orders, "POST /api/v1/orders").json(&order).expect(201).await;
    let id = created.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/orders/{id}");
    assert_eq!((created.header("location"), created.header("etag")), (path.as_str(), "\"v1\""));
    assert_eq!(created.body["status"], "open");
    running.call(Service::Orders, "POST /api/v1/orders").json(&order).refused(409, "already_exists").await;

    let read = || running.call(Service::Orders, &format!("GET {path}"));
    read().header("if-none-match", "W/\"v1\", \"v9\"").expect(304).await;
    read().user("bob").refused(403, "forbidden").await;
    place(&running, "bob", &limit("sell", "24.5", "4")).await;
    let filled = read().header("if-none-match", "\"v1\"").expect(200).await;
    assert_eq!(filled.header("etag"), "\"v2\"");
    assert_eq!(filled.body["status"], "partially_filled");
    assert_eq!((&filled.body["remaining_quantity"], &filled.body["average_price"]), (&json!("6"), &json!("24.50")));

    let other = place(&running, "ann", &limit("buy", "20", "1")).await;
    let ids = |list: &Value| -> Vec<String> {
        list["orders"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned()).collect()
    };
    let active = get(&running, Service::Orders, "/api/v1/orders/active").await;
    assert_eq!(ids(&active), [other.clone(), id.clone()]);

    let cancelled = running.call(Service::Orders, &format!("DELETE {path}")).expect(200).await.body;
    assert_eq!((&cancelled["status"], &cancelled["filled_quantity"]), (&json!("cancelled"), &json!("4")));
    running.call(Service::Orders, &format!("DELETE {path}")).refused(409, "order_closed").await;
    let history = get(&running, Service::Orders, "/api/v1/orders/history").await;
    assert_eq!(ids(&history), [id.as_str()]);
    let open = get(&running, Service::Orders, "/api/v1/orders?status=open&symbol=ACME-USD").await;
    assert_eq!(ids(&open), [other.as_str()]);
    let first = get(&running, Service::Orders, "/api/v1/orders?limit=1").await;
    assert_eq!(ids(&first), [other.as_str()]);
    let next = format!("/api/v1/orders?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    let last = get(&running, Service::Orders, &next).await;
    assert_eq!((ids(&last), &last["next_cursor"]), (vec![id], &Value::Null));

    for (id, status) in [("ord-999999", 404), ("nonsense", 404)] {
        running.call(Service::Orders, &format!("GET /api/v1/orders/{id}")).expect(status).await;
        running.call(Service::Orders, &format!("DELETE /api/v1/orders/{id}")).expect(status).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_told_by_field() {
    let running = Running::start().await;
    for (body, fields) in [
        (json!({}), vec!["symbol", "side", "quantity"]),
        (json!({ "symbol": "X", "side": "buy", "quantity": "1", "price": "1" }), vec!["symbol"]),
        (limit("buy", "24.505", "0.5"), vec!["quantity", "price"]),
        (limit("buy", "-1", "0"), vec!["quantity", "price"]),
        (limit("buy", "1e40", "1"), vec!["price"]),
        (limit("up", "1", "1"), vec!["side"]),
        (json!({ "symbol": ACME, "side": "buy", "type": "market", "price": "1", "quantity": "1" }), vec!["price"]),
        (json!({ "symbol": ACME, "side": "buy", "quantity": "1" }), vec!["price"]),
        (json!({ "symbol": ACME, "side": "buy", "quantity": [] }), vec!["quantity"]),
        (
            json!({ "symbol": ACME, "side": "buy", "price": 1, "quantity": 1, "client_order_id": "a b" }),
            vec!["client_order_id"],
        ),
        (json!([]), vec!["body"]),
    ] {
        let answer = running.call(Service::Orders, "POST /api/v1/orders").json(&body);
        let answer = answer.refused(400, "validation_failed").await;
        assert_eq!(answer.fields(), fields, "{body}");
    }
    let post = || running.call(Service::Orders, "POST /api/v1/orders");
    let json = || post().header("content-type", "application/json; charset=utf-8");
    json().text("{\"symbol\":").refused(400, "malformed_json").await;
    json().text("{} {}").refused(400, "malformed_json").await;
    json().text("").refused(400, "malformed_json").await;
    json().text(&" ".repeat(64 * 1024 + 1)).refused(413, "payload_too_large").await;
    post().text("{}").refused(415, "unsupported_media_type").await;
    let nobody = json!({ "symbol": ACME, "side": "buy", "type": "market", "quantity": 1 });
    post().json(&nobody).refused(422, "no_liquidity").await;
    post().user("a b").json(&nobody).refused(400, "validation_failed").await;
    for query in ["status=nope", "symbol=NOPE", "limit=0x", "limit=501", "cursor=x", "page=1"] {
        let call = running.call(Service::Orders, &format!("GET /api/v1/orders?{query}"));
        call.refused(400, "validation_failed").await;
    }
    assert_eq!(get(&running, Service::Orders, "/api/v1/orders").await["orders"], json!([]));
}

#[tokio::test]
async fn a_strategy_trades_while_it_is_started() {
    let running = Running::start().await;
    let parameters = json!({ "quantity": "10", "half_spread": "0.50", "max_position": "100" });
    let body = json!({ "name": "quotes", "symbol": ACME, "type": "market_maker", "parameters": parameters });
    let call = |line: &str| running.call(Service::Strategies, line);
    let created = call("POST /api/v1/strategies").json(&body).expect(201).await;
    let id = created.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/strategies/{id}");
    assert_eq!((created.header("location"), &created.body["state"]), (path.as_str(), &json!("stopped")));
    call(&format!("GET {path}")).header("if-none-match", created.header("etag")).expect(304).await;
    call(&format!("GET {path}")).user("bob").refused(403, "forbidden").await;

    let started = call(&format!("POST {path}/start")).expect(200).await;
    assert_eq!(started.body["state"], "running");
    call(&format!("POST {path}/start")).refused(409, "strategy_running").await;
    call(&format!("PUT {path}")).json(&body).refused(409, "strategy_running").await;
    call(&format!("DELETE {path}")).refused(409, "strategy_running").await;
    let quotes = loop {
        let status = call(&format!("GET {path}/status")).expect(200).await.body;
        if status["open_orders"].as_array().unwrap().len() == 2 {
            break status;
        }
    };
    assert_eq!((&quotes["record"]["orders_placed"], &quotes["open_orders"][0]["price"]), (&json!(2), &json!("24.50")));
    // Bob takes an ask, and the strategy makes new quotes around the price.
    place(&running, "bob", &json!({ "symbol": ACME, "side": "buy", "type": "market", "quantity": "10" })).await;
    loop {
        let status = call(&format!("GET {path}/status")).expect(200).await.body;
        if status["open_orders"][0]["price"] == "25.00" && status["open_orders"][1]["price"] == "26.00" {
            break;
        }
    }
    let stopped = call(&format!("POST {path}/stop")).expect(200).await;
    assert_eq!(stopped.body["state"], "stopped");
    call(&format!("POST {path}/stop")).refused(409, "strategy_stopped").await;
    let book = get(&running, Service::MarketData, "/api/v1/market/orderbook/ACME-USD").await;
    assert_eq!((&book["bids"], &book["asks"]), (&json!([]), &json!([])));

    let parameters = json!({ "quantity": "1", "lookback": 3, "max_position": "5" });
    let changed = json!({ "name": "trend", "symbol": ACME, "type": "momentum", "parameters": parameters });
    call(&format!("PUT {path}")).header("if-match", "\"v1\"").json(&changed).refused(412, "stale_version").await;
    let version = stopped.body["version"].as_u64().unwrap();
    let put = call(&format!("PUT {path}")).header("if-match", &format!("\"v{version}\"")).json(&changed);
    let put = put.expect(200).await;
    assert_eq!((&put.body["name"], &put.body["version"]), (&json!("trend"), &json!(version + 1)));

    let list = get(&running, Service::Strategies, "/api/v1/strategies").await;
    assert_eq!(list["strategies"].as_array().unwrap().len(), 1);
    call(&format!("DELETE {path}")).expect(204).await;
    for line in
        [format!("GET {path}"), format!("DELETE {path}"), format!("POST {path}/start"), format!("POST {path}/stop")]
    {
        call(&line).refused(404, "not_found").await;
    }
    call(&format!("GET {path}/status")).refused(404, "not_found").await;

    let wrong = |field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body
    };
    for (body, fields) in [
        (json!({}), vec!["name", "symbol", "type", "parameters"]),
        (wrong("type", json!("magic")), vec!["type"]),
        (wrong("symbol", json!("NOPE")), vec!["symbol"]),
        (wrong("parameters", json!({ "quantity": "x" })), vec!["parameters.quantity"]),
        (wrong("parameters", json!({})), vec!["parameters"]),
        (
            wrong("parameters", json!({ "quantity": "0.5", "half_spread": "0", "max_position": "1" })),
            vec!["parameters.half_spread", "parameters.quantity"],
        ),
    ] {
        let answer = call("POST /api/v1/strategies").json(&body).refused(400, "validation_failed").await;
        assert_eq!(answer.fields(), fields, "{body}");
    }
}

#[tokio::test]
async fn an_account_adds_up() {
    let running = Running::start().await;
    place(&running, "bob", &limit("sell", "20", "10")).await;
    place(&running, "ann", &limit("buy", "20", "10")).await;
    place(&running, "bob", &limit("buy", "23", "4")).await;
    place(&running, "ann", &limit("sell", "23", "4")).await;
    place(&running, "ann", &limit("sell", "30", "1")).await;

    let account = |path: &str| {
        let path = format!("/api/v1/account/{path}");
        let running = &running;
        async move { get(running, Service::Account, &path).await }
    };
    let summary = account("summary").await;
    assert_eq!(summary["cash"], "999892.00");
    assert_eq!(
        (&summary["equity"], &summary["open_orders"], &summary["positions"]),
        (&json!("1000030.00"), &json!(1), &json!(1))
    );
    assert_eq!((&summary["realized_pnl"], &summary["unrealized_pnl"]), (&json!("12.00"), &json!("18.00")));
    let balance = account("balance").await;
    assert_eq!((&balance["cash"], &balance["equity"]), (&summary["cash"], &summary["equity"]));
    let positions = account("positions").await;
    let position = &positions["positions"][0];
    assert_eq!(
        (&position["quantity"], &position["average_price"], &position["mark_price"]),
        (&json!("6"), &json!("20.00"), &json!("23.00"))
    );
    let profit = account("pnl").await;
    assert_eq!((&profit["total"], &profit["by_symbol"][0]["realized"]), (&json!("30.00"), &json!("12.00")));
    let trades = account("trades").await;
    let shown = |trade: &Value| format!("{} {} {}", trade["side"], trade["role"], trade["quantity"]);
    let shown: Vec<_> = trades["trades"].as_array().unwrap().iter().map(shown).collect();
    assert_eq!(shown, ["\"sell\" \"taker\" \"4\"", "\"buy\" \"taker\" \"10\""]);
    let page = account("trades?limit=1").await;
    assert!(page["next_cursor"].is_string());

    // Without a name it is the account `demo`, which has done nothing yet.
    let demo = running.call(Service::Account, "GET /api/v1/account/summary").anonymous().expect(200).await.body;
    assert_eq!(
        (&demo["account"], &demo["cash"], &demo["positions"]),
        (&json!("demo"), &json!("1000000.00"), &json!(0))
    );
    running.call(Service::Account, "GET /api/v1/account/pnl?x=1").refused(400, "validation_failed").await;
}

#[tokio::test]
async fn risk_limits_refuse_and_an_emergency_stops_everything() {
    let running = Running::start().await;
    let call = |line: &str| running.call(Service::Risk, line);
    let status = call("GET /api/v1/risk/status").expect(200).await.body;
    assert_eq!(status["loss"]["value"], "0", "nothing is lost yet");
    let limits = call("GET /api/v1/risk/limits").expect(200).await;
    assert_eq!((limits.header("etag"), &limits.body["version"]), ("\"v1\"", &json!(1)));
    call("GET /api/v1/risk/limits").header("if-none-match", "*").expect(304).await;
    let new = json!({ "max_order_value": "100", "max_position_value": 150, "max_open_orders": 2, "max_loss": "50" });
    call("PUT /api/v1/risk/limits").header("if-match", "\"v2\"").json(&new).refused(412, "stale_version").await;
    let set = call("PUT /api/v1/risk/limits").header("if-match", "\"v1\"").json(&new).expect(200).await;
    assert_eq!(set.header("etag"), "\"v2\"");
    let wrong = json!({ "max_order_value": "0", "max_open_orders": 5000 });
    let wrong = call("PUT /api/v1/risk/limits").json(&wrong).refused(400, "validation_failed").await;
    assert_eq!(wrong.fields(), ["max_position_value", "max_loss"]);

    let order = |order: &Value| running.call(Service::Orders, "POST /api/v1/orders").json(order);
    let refused = order(&limit("buy", "25", "5")).refused(422, "risk_limit").await;
    assert_eq!(refused.body["error"]["message"], "max_order_value is 100, this would make 125");
    order(&limit("buy", "25", "4")).expect(201).await;
    order(&limit("buy", "25", "4")).refused(422, "risk_limit").await;
    order(&limit("sell", "30", "1")).expect(201).await;
    order(&limit("sell", "31", "1")).refused(422, "risk_limit").await;
    let status = call("GET /api/v1/risk/status").expect(200).await.body;
    assert_eq!((&status["trading"], &status["open_orders"]["value"]), (&json!("running"), &json!(2)));

    let reason = json!({ "reason": "a test" });
    let stopped = call("POST /api/v1/risk/emergency-stop").json(&reason).expect(200).await.body;
    assert_eq!((&stopped["stop"]["cancelled_orders"], &stopped["stop"]["by"]), (&json!(2), &json!("ann")));
    order(&limit("buy", "25", "1")).refused(409, "trading_stopped").await;
    call("POST /api/v1/risk/emergency-stop").refused(409, "trading_stopped").await;
    let status = call("GET /api/v1/risk/status").expect(200).await.body;
    assert_eq!((&status["trading"], &status["stop"]["reason"]), (&json!("stopped"), &json!("a test")));
    let dashboard = get(&running, Service::Dashboard, "/api/v1/dashboard/status").await;
    assert_eq!((&dashboard["status"], &dashboard["store"]), (&json!("stopped"), &json!("writing")));

    let resume = json!({ "active": false });
    call("POST /api/v1/risk/emergency-stop").json(&resume).expect(200).await;
    call("POST /api/v1/risk/emergency-stop").json(&resume).refused(409, "trading_runs").await;
    call("POST /api/v1/risk/emergency-stop").text("{}").refused(415, "unsupported_media_type").await;
    order(&limit("buy", "25", "1")).expect(201).await;
}

#[tokio::test]
async fn configuration_entries_have_versions() {
    let running = Running::start().await;
    let call = |line: &str| running.call(Service::Configuration, line);
    let entry = json!({ "key": "fees.maker", "value": { "bps": 2 } });
    let created = call("POST /api/v1/config").json(&entry).expect(201).await;
    assert_eq!((created.header("location"), created.header("etag")), ("/api/v1/config/fees.maker", "\"v1\""));
    assert_eq!(created.body["updated_by"], "ann");
    call("POST /api/v1/config").json(&entry).refused(409, "already_exists").await;
    let read = call("GET /api/v1/config/fees.maker").expect(200).await;
    assert_eq!(read.body["value"], json!({ "bps": 2 }));
    call("GET /api/v1/config/fees.maker").header("if-none-match", "\"v1\"").expect(304).await;

    let put = |tag: &str| {
        let call = call("PUT /api/v1/config/fees.maker").header("if-match", tag);
        call.json(&json!({ "value": null }))
    };
    put("\"v7\"").refused(412, "stale_version").await;
    put("\"other\"").refused(412, "stale_version").await;
    let changed = put("\"v1\"").expect(200).await;
    assert_eq!((&changed.body["value"], &changed.body["version"]), (&Value::Null, &json!(2)));
    put("*").expect(200).await;

    for (body, fields) in [
        (json!({}), vec!["key", "value"]),
        (json!({ "key": "a/b", "value": 1 }), vec!["key"]),
        (json!({ "key": "a", "value": "x".repeat(17_000) }), vec!["value"]),
    ] {
        let answer = call("POST /api/v1/config").json(&body).refused(400, "validation_failed").await;
        assert_eq!(answer.fields(), fields);
    }
    call("PUT /api/v1/config/fees.maker").json(&json!({})).refused(400, "validation_failed").await;
    call("DELETE /api/v1/config/fees.maker").header("if-match", "\"v1\"").refused(412, "stale_version").await;
    call("DELETE /api/v1/config/fees.maker").expect(204).await;
    call("DELETE /api/v1/config/fees.maker").refused(404, "not_found").await;
    call("GET /api/v1/config/fees.maker").refused(404, "not_found").await;
    call("PUT /api/v1/config/fees.maker").json(&json!({ "value": 1 })).refused(404, "not_found").await;
}

#[tokio::test]
async fn the_dashboard_sums_up_a_new_exchange_with_offers_of_the_house() {
    let running = Running::start_with(&settings()).await;
    let status = get(&running, Service::Dashboard, "/api/v1/dashboard/status").await;
    assert_eq!((&status["status"], &status["trading"]), (&json!("running"), &json!("running")));
    let buy = json!({ "symbol": "BTC-USD", "side": "buy", "type": "market", "quantity": "0.01" });
    place(&running, "ann", &buy).await;
    let summary = get(&running, Service::Dashboard, "/api/v1/dashboard/summary").await;
    assert_eq!((&summary["open_orders"], &summary["accounts"]), (&json!(40), &json!(2)));
    assert_eq!(summary["markets"].as_array().unwrap().len(), 4);
    // What one wins the other loses.
    let equity: f64 = summary["equity_of_all_accounts"].as_str().unwrap().parse().unwrap();
    assert!((equity - 2_000_000.0).abs() < f64::EPSILON, "{equity}");
    running.call(Service::Dashboard, "GET /api/v1/dashboard/summary?x=1").refused(400, "validation_failed").await;
}

#[tokio::test]
async fn every_service_tells_its_health_and_knows_its_routes_alone() {
    let running = Running::start().await;
    for service in Service::ALL.iter().filter(|service| service.protocol() == Protocol::Http) {
        let health = get(&running, *service, "/health").await;
        assert_eq!((&health["status"], &health["service"]), (&json!("pass"), &json!(service.name())));
        running.call(*service, "GET /api/v1/nope").refused(404, "route_not_found").await;
        let wrong = running.call(*service, "POST /health").refused(405, "method_not_allowed").await;
        assert_eq!(wrong.header("allow"), "GET,HEAD");
    }
    let encoded = running.call(Service::Configuration, "GET /api/v1/config/%ff");
    assert_eq!(encoded.refused(400, "validation_failed").await.fields(), ["path"]);
    running.call(Service::Account, "GET /api/v1/orders").refused(404, "route_not_found").await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_works_too() {
    let running = Running::start().await;
    let address = running.addresses[&Service::Risk];
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let uri = format!("http://{address}/api/v1/risk/limits");
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["version"], 1);
    }
}

#[tokio::test]
async fn many_orders_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { data: Some(folder.path().to_owned()), seed: false, ..settings() };
    let running = Running::start_with(&settings).await;
    let placing = (0..100).map(|number| {
        let side = if number % 2 == 0 { "buy" } else { "sell" };
        let call = running.call(Service::Orders, "POST /api/v1/orders").user(&format!("user-{}", number % 7));
        call.json(&limit(side, "25", "1")).expect(201)
    });
    let mut ids: Vec<String> = futures_util::future::join_all(placing)
        .await
        .into_iter()
        .map(|answer| answer.body["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    let ticker = get(&running, Service::MarketData, "/api/v1/market/ticker/ACME-USD").await;
    assert_eq!((&ticker["volume"], &ticker["bid"], &ticker["ask"]), (&json!("50"), &Value::Null, &Value::Null));
}
