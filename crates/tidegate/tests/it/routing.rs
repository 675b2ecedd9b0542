//! Which route a request takes, and the paths that need no backend.

use serde_json::json;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::{Gateway, Peer, Request, Script, get, post, shop};

/// A gateway with `routes` (YAML list items) in front of `address`, and more top-level keys.
fn start(address: std::net::SocketAddr, routes: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "services:\n  shop: {{ address: \"{address}\", descriptors: shop.pb }}\nroutes:\n{routes}\n{more}\n"
    ))
}

/// Routes that answer with their own name.
fn named(routes: &[(&str, &str)]) -> String {
    let route = |(index, (path, more)): (usize, &(&str, &str))| {
        format!("  - {{ name: r{index}, path: \"{path}\", respond: {{ text: \"{path}\" }}{more} }}\n")
    };
    routes.iter().enumerate().map(route).collect()
}

#[tokio::test]
async fn the_most_specific_path_wins_whatever_the_order() {
    let mut routes =
        vec![("/a/{x=**}", ""), ("/a/*/c", ""), ("/a/b", ""), ("/a/b/c", ""), ("/a/{x=*}:verb", ""), ("/{x=*}", "")];
    for _ in 0..2 {
        let gateway = start(closed_port(), &named(&routes), "");
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a/b/c", "/a/b/c"),
            ("/a/x/c", "/a/*/c"),
            ("/a/x/d", "/a/{x=**}"),
            ("/a", "/a/{x=**}"),
            ("/a/x:verb", "/a/{x=*}:verb"),
            ("/a/x:other", "/a/{x=**}"),
            ("/b", "/{x=*}"),
            ("/a/%62", "/a/b"),
        ] {
            for answer in gateway.send_both(&get(path)).await {
                assert_eq!((answer.status, answer.text()), (200, expected), "{path}");
            }
        }
        for path in ["/", "/b/c", "/b/"] {
            assert_eq!(gateway.get(path).await.status, 404, "{path}");
        }
        gateway.stop().await;
        routes.reverse();
    }
}

#[tokio::test]
async fn methods_choose_and_405_says_which() {
    let routes = "
  - { name: read, path: /a, method: GET, respond: { text: read } }
  - { name: write, path: /a, methods: [POST, PURGE], respond: { text: write } }
  - { name: any, path: /b, respond: { text: any } }";
    let gateway = start(closed_port(), routes, "");
    for (method, path, status, text) in [
        ("GET", "/a", 200, "read"),
        ("POST", "/a", 200, "write"),
        ("PURGE", "/a", 200, "write"),
        ("PATCH", "/b", 200, "any"),
    ] {
        for answer in gateway.send_both(&Request::new(method, path)).await {
            assert_eq!((answer.status, answer.text()), (status, text), "{method} {path}");
        }
    }
    for answer in gateway.send_both(&Request::new("DELETE", "/a")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (405, "method_not_allowed"));
        assert_eq!(answer.header("allow"), "GET, HEAD, POST, PURGE");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn hosts_choose() {
    let routes = named(&[("/a", ", hosts: [api.test]"), ("/{x}", ", hosts: [\"*.test\"]"), ("/{x=**}", "")]);
    let gateway = start(closed_port(), &routes, "");
    for (host, expected) in [
        ("api.test", "/a"),
        ("API.test", "/a"),
        ("api.test:8080", "/a"),
        ("www.test", "/{x}"),
        ("a.b.test", "/{x}"),
        ("test", "/{x=**}"),
        ("other.org", "/{x=**}"),
    ] {
        assert_eq!(gateway.send(&get("/a").header("host", host)).await.text(), expected, "{host}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn values_of_several_segments_keep_their_slashes() {
    let mut peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let route = |more: &str| {
        format!(
            "  - {{ name: a, path: \"/v1/{{customer=shelves/**}}\", service: shop, grpc: OrderService/GetOrder{more} }}"
        )
    };
    for (more, value) in [("", "shelves/a b/c%2Fd"), (", multi_segment_escape: all", "shelves/a b/c/d")] {
        let gateway = start(peer.address(), &route(more), "");
        assert_eq!(gateway.get("/v1/shelves/a%20b/c%2Fd").await.status, 200);
        let sent = shop::json("GetOrderRequest", &peer.call().await.message().await);
        assert_eq!(sent, json!({"customer": value}));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_field_of_the_answer_can_be_the_body() {
    let order = shop::message("Order", json!({"items": [{"sku": "x"}], "labels": {"a": "b"}, "customerName": "Ada"}));
    let peer = Peer::with("GetOrder", Script::ok(order)).await;
    let fields = [
        ("items", r#"[{"sku":"x"}]"#),
        ("labels", r#"{"a":"b"}"#),
        ("customer_name", r#""Ada""#),
        ("total", "0"),
        ("parent", "{}"),
    ];
    let routes: String = fields
        .iter()
        .map(|(field, _)| {
            format!("  - {{ name: {field}, path: \"/{field}/{{id}}\", service: shop, grpc: OrderService/GetOrder, response_body: {field} }}\n")
        })
        .collect();
    let gateway = start(peer.address(), &routes, "");
    for (field, expected) in fields {
        assert_eq!(gateway.get(&format!("/{field}/7")).await.text(), expected);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn fixed_answers_need_no_backend() {
    let routes = "
  - { name: text, path: /text, respond: { text: pong } }
  - { name: json, path: /json, method: GET, respond: { status: 418, json: { b: [1, 2.0, null], a: \"{{ x }}\" } } }
  - { name: empty, path: /empty, respond: { status: 204 } }";
    let gateway = start(closed_port(), routes, "");
    let cases = [
        ("/text", 200, "text/plain; charset=utf-8", "pong"),
        ("/json", 418, "application/json", r#"{"b":[1,2.0,null],"a":"{{ x }}"}"#),
        ("/empty", 204, "", ""),
    ];
    for (path, status, content_type, body) in cases {
        for answer in gateway.send_both(&get(path)).await {
            assert_eq!((answer.status, answer.header("content-type"), answer.text()), (status, content_type, body));
        }
        let mut http1 = gateway.http1().await;
        for request in [Request::new("HEAD", path), get(path)] {
            assert_eq!(http1.send(&request).await.status, status, "{path}");
        }
    }
    // A body that nobody reads does not put the connection out of step.
    let mut http1 = gateway.http1().await;
    assert_eq!(http1.send(&post("/text", "{}")).await.text(), "pong");
    assert_eq!(http1.send(&get("/text")).await.text(), "pong");
    gateway.stop().await;
}

#[tokio::test]
async fn system_routes_tell_the_state() {
    let gateway = start(
        closed_port(),
        "  - { name: a, path: \"/v1/{id}\", method: GET, service: shop, grpc: OrderService/GetOrder }",
        "",
    );
    for answer in gateway.send_both(&get("/health")).await {
        let body = answer.json();
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert_eq!((&body["status"], &body["checks"]["service:shop"]["status"]), (&json!("pass"), &json!("pass")));
        assert!(body["uptime_s"].is_u64() && body["config"]["loaded_at"].is_string(), "{body}");
    }
    assert_eq!(gateway.get("/health/liveness").await.text(), r#"{"status":"alive"}"#);
    assert_eq!(gateway.get("/health/readiness").await.text(), r#"{"status":"ready"}"#);
    let version = gateway.get("/version").await.json();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["revision"].is_string() && version["rustc"].is_string());
    assert_eq!(gateway.send(&Request::new("HEAD", "/health")).await.status, 200);
    let post = gateway.post("/health", "").await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
    // Health does not fail with a backend, it warns.
    assert_eq!(gateway.get("/v1/7").await.status, 503);
    let health = gateway.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("warn")));
    assert_eq!(gateway.get("/health/readiness").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn system_routes_can_move_or_go() {
    let more = "system_routes: { health: /state, liveness: null, version: null }";
    let gateway = start(closed_port(), "  - { name: a, path: /version, respond: { text: mine } }", more);
    assert_eq!(gateway.get("/state").await.status, 200);
    assert_eq!(gateway.get("/health").await.status, 404);
    assert_eq!(gateway.get("/health/liveness").await.status, 404);
    assert_eq!(gateway.get("/version").await.text(), "mine");
    gateway.stop().await;
}

/// A thousand routes, one of which is asked for.
#[tokio::test]
async fn many_routes_are_one_table() {
    let paths: Vec<String> = (0..1000).map(|index| format!("/v{index}/{{a}}/x{index}/{{b=**}}")).collect();
    let routes: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    let gateway = start(closed_port(), &named(&routes), "");
    for index in [0, 500, 999] {
        let answer = gateway.get(&format!("/v{index}/1/x{index}/2/3")).await;
        assert_eq!(answer.text(), paths[index]);
        assert_eq!(gateway.get(&format!("/v{index}/1/y/2/3")).await.status, 404);
    }
    let deep = format!("/v1/1/x1{}", "/a".repeat(4000));
    assert_eq!(gateway.get(&deep).await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn files_can_be_included() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("routes.d")).unwrap();
    for name in ["a", "b"] {
        let text = format!("routes:\n  - {{ name: {name}, path: /{name}, respond: {{ text: {name} }} }}\n");
        std::fs::write(folder.path().join("routes.d").join(format!("{name}.yaml")), text).unwrap();
    }
    let gateway = Gateway::start_in(
        folder,
        "include: [\"routes.d/*.yaml\"]\nroutes: [{ name: c, path: /c, respond: { text: c } }]\n",
    );
    for name in ["a", "b", "c"] {
        assert_eq!(gateway.get(&format!("/{name}")).await.text(), name);
    }
    gateway.stop().await;
}
