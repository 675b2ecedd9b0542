//! What operators see.

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::program::output;
use tidegate_testkit::{Engine, Gateway, Peer, Program, Script, ask_admin, eventually, get, post, shop, tls};
use tokio::process::Command;

use super::{config, put, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

#[tokio::test]
async fn the_overview_counts_what_has_happened() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let before = gateway.ask_admin(&get("/api/overview")).await.json();
    assert_eq!((&before["requests"]["total"], &before["requests"]["duration"]["p50"]), (&json!(0), &json!(null)));
    for target in ["/v1/orders/7", "/v1/orders/x", "/nowhere"] {
        gateway.get(target).await;
    }
    let answer = gateway.ask_admin(&get("/api/overview")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let view = answer.json();
    assert_eq!((&view["requests"]["total"], &view["unrouted"]["total"]), (&json!(3), &json!(1)), "{view}");
    assert_eq!(view["unrouted"]["client_errors"], 1);
    assert!(view["requests"]["duration"]["p99"].as_f64().unwrap() > 0.0, "{view}");
    assert_eq!((&view["draining"], &view["alive"], &view["pending"]), (&json!(false), &json!(true), &json!([])));
    assert_eq!(view["config"]["hash"], gateway.hash());
    assert_eq!((&view["config"]["generation"], &view["config"]["last_reload"]), (&json!(1), &json!("ok")));
    assert_eq!((&view["counts"]["routes"], &view["counts"]["services"]), (&json!(9), &json!(1)));
    gateway.stop().await;
}

#[tokio::test]
async fn routes_are_shown_with_their_policies_and_where_those_stand() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&config(peer.address(), "defaults: { timeout: 7s }"));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    let routes = gateway.ask_admin(&get("/api/routes")).await.json();
    let route = routes.as_array().unwrap().iter().find(|route| route["name"] == "get-order").unwrap();
    assert_eq!((&route["path"], &route["methods"]), (&json!("/v1/orders/{id}"), &json!(["GET"])));
    assert_eq!((&route["service"], &route["requests"]["total"]), (&json!("shop"), &json!(1)));
    let origin = route["origin"].as_str().unwrap();
    assert!(origin.contains("tidegate.yaml:"), "{origin}");

    let answer = gateway.ask_admin(&get("/api/routes/get-order")).await.json();
    let policies = answer[0]["policies"].as_array().unwrap();
    let deadline = policies.iter().find(|policy| policy["name"] == "deadline").unwrap();
    let yaml = std::fs::read_to_string(gateway.folder().join("tidegate.yaml")).unwrap();
    let line = yaml.lines().position(|line| line.starts_with("defaults:")).unwrap() + 1;
    assert_eq!(deadline["origin"]["line"], line, "{deadline}");
    assert!(deadline["origin"]["file"].as_str().unwrap().ends_with("tidegate.yaml"), "{deadline}");
    assert!(deadline["value"].to_string().contains("7s"), "{deadline}");
    let unknown = gateway.ask_admin(&get("/api/routes/nobody")).await;
    assert_eq!(refusal(&unknown), (404, "route_not_found".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_goes_down_is_seen_and_so_is_its_return() {
    let engine = Engine::start().await;
    let address = engine.address();
    let yaml = format!(
        "admin: {{ address: \"127.0.0.1:0\" }}
services: {{ core: {{ address: \"{address}\" }} }}
routes: [{{ name: fetch, path: /fetch, method: POST, service: core, grpc: CoreEngine/FetchMarketData, body: \"*\" }}]
"
    );
    let gateway = Gateway::start(&yaml);
    let state = async || {
        let view = gateway.ask_admin(&get("/api/services/core")).await.json();
        view["endpoints"][0]["state"].as_str().unwrap().to_owned()
    };
    let known = async || gateway.ask_admin(&get("/api/services/core")).await.json()["schema"]["known"] == true;
    eventually("the schema is known", known).await;
    eventually("requests are answered", async || {
        gateway.post("/fetch", "{\"symbols\":[\"BTCUSDT\"]}").await;
        state().await == "ready"
    })
    .await;
    engine.stop().await;
    eventually("the endpoint is out", async || {
        gateway.post("/fetch", "{\"symbols\":[\"BTCUSDT\"]}").await;
        state().await == "transient_failure"
    })
    .await;
    assert_eq!(gateway.ask_admin(&get("/api/overview")).await.json()["counts"]["endpoints_out"], 1);
    let engine = Engine::start_at(address).await;
    eventually("the endpoint is back", async || {
        gateway.post("/fetch", "{\"symbols\":[\"BTCUSDT\"]}").await;
        state().await == "ready"
    })
    .await;
    let unknown = gateway.ask_admin(&get("/api/services/nobody")).await;
    assert_eq!(refusal(&unknown), (404, "route_not_found".to_owned()));
    gateway.stop().await;
    engine.stop().await;
}

#[tokio::test]
async fn listeners_and_certificates_are_shown() {
    let folder = TempDir::new().unwrap();
    let (cert, key) = tls::write_certificate(folder.path());
    let (cert, key) = (cert.display(), key.display());
    let yaml = format!(
        "listeners:
  - {{ name: plain, address: \"127.0.0.1:0\" }}
  - {{ name: secure, address: \"127.0.0.1:0\", tls: {{ cert: \"{cert}\", key: \"{key}\" }} }}
admin: {{ address: \"127.0.0.1:0\" }}
routes: [{{ name: ping, path: /ping, respond: {{ text: pong }} }}]
"
    );
    let gateway = Gateway::start_in(folder, &yaml);
    let listeners = gateway.ask_admin(&get("/api/listeners")).await.json();
    assert_eq!(listeners[0]["address"], gateway.listener("plain").to_string());
    assert_eq!((&listeners[0]["tls"], &listeners[1]["tls"]), (&json!(false), &json!(true)));
    let certificates = gateway.ask_admin(&get("/api/certificates")).await.json();
    assert_eq!((certificates.as_array().unwrap().len(), &certificates[0]["listener"]), (1, &json!("secure")));
    assert!(certificates[0]["days_left"].as_u64().unwrap() > 300, "{certificates}");
    assert_eq!(certificates[0], listeners[1]["certificate"]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_program_asks_a_running_gateway_for_explanations() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let url = format!("http://{}", gateway.admin());
    for (method, target) in [("GET", "/v1/orders/7"), ("GET", "/v1/orders/x"), ("POST", "/nowhere")] {
        let arguments = ["explain", method, target, "--admin", &url, "--format", "json"];
        let said = output(BINARY, gateway.folder(), &arguments, "").await;
        let question = json!({"method": method, "url": target, "headers": {}}).to_string();
        let answer = gateway.ask_admin(&post("/api/explain", question)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-tidegate-config-hash"), gateway.hash());
        assert_eq!(answer.header("x-tidegate-config-generation"), "1");
        let said_json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(said_json["matched"], answer.json()["matched"], "{method} {target}");
        assert_eq!(said_json["policies"], answer.json()["policies"]);
        assert_eq!(said_json["would_answer"], answer.json()["would_answer"]);
        assert_eq!(said.code, i32::from(answer.json()["matched"].is_null()), "{said:?}");
    }
    for bad in ["", "[]", "{\"method\":\"GET\"}", "{\"method\":\"G T\",\"url\":\"/\",\"headers\":{}}"] {
        let answer = gateway.ask_admin(&post("/api/explain", bad)).await;
        assert_eq!(refusal(&answer), (400, "bad_request".to_owned()), "{bad}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_document_of_the_api_is_the_one_that_the_program_prints() {
    let peer = Peer::start().await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    let printed = output(BINARY, gateway.folder(), &["openapi", "-c", "tidegate.yaml"], "").await;
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let served = gateway.ask_admin(&get("/api/openapi")).await.json();
    assert_eq!(served["paths"], printed["paths"]);
    assert_eq!(served["components"], printed["components"]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_levels_of_the_log_change_at_once() {
    let peer = Peer::start().await;
    let mut program = Program::run(BINARY, &config(peer.address(), ""));
    let admin = program.admin().await;
    let main = program.listener("main").await;
    let ask = async |request| ask_admin(admin, &request).await;
    ask_admin(main, &get("/nowhere")).await;
    assert_eq!(ask(get("/api/log-level")).await.json(), json!({"filter": "info"}));
    let changed = ask(put("/api/log-level", "{\"filter\":\"info,tidegate::gateway=debug\"}")).await;
    assert_eq!((changed.status, changed.json()), (200, json!({"filter": "info,tidegate::gateway=debug"})));
    program.logged("levels were changed").await;
    assert!(!program.log().contains("\"refused\""), "{}", program.log());
    ask_admin(main, &get("/nowhere")).await;
    program.logged("\"refused\"").await;
    for bad in ["", "{}", "{\"filter\":7}", "{\"filter\":\"tidegate=loud\"}"] {
        let answer = ask(put("/api/log-level", bad)).await;
        assert_eq!(refusal(&answer), (400, "bad_request".to_owned()), "{bad}");
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_page_of_a_gateway_that_has_worked() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("CreateOrder", Script::fails(13, "no"));
    let listeners =
        "listeners: [{ name: main, address: \"127.0.0.1:0\" }, { name: secure, address: \"127.0.0.1:0\", tls: auto }]";
    let gateway = Gateway::start(&config(peer.address(), listeners));
    for target in ["/v1/orders/7", "/v1/orders/x", "/nowhere"] {
        gateway.send_both(&get(target)).await;
    }
    gateway.post("/v1/orders", "{}").await;
    assert!(tls::connect(gateway.listener("secure"), &gateway.folder().join("tidegate.yaml"), &[]).await.is_err());
    gateway.write_config("version: 1\nrotues: []");
    gateway.reload().await;
    gateway.apply(&config(peer.address(), &format!("{listeners}\n# another"))).await;
    let page = gateway.ask_admin(&get("/metrics")).await;
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"), "{}", page.header("content-type"));
    for part in [
        "reason=\"route_not_found\"",
        "config_reloads_total{result=\"rejected\"} 1",
        "listener=\"secure\"",
        "code=\"INTERNAL\"",
    ] {
        assert!(page.text().contains(part), "{part}\n{}", page.text());
    }
    let folder = gateway.folder().join("page");
    std::fs::write(&folder, page.text()).unwrap();
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(std::fs::File::open(&folder).unwrap());
    let said = command.output().await.expect("promtool, of Debian's package prometheus");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && text.is_empty(), "{text}");
    let open =
        gateway.ask_admin(&get("/metrics").header("accept", "application/openmetrics-text; version=1.0.0")).await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"), "{}", open.header("content-type"));
    assert!(open.text().ends_with("# EOF\n"));
    gateway.stop().await;
}
