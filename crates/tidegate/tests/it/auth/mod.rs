//! Who may use a route: tokens, API keys, certificates, roles, and what backends are told of it.

mod certificates;
mod keys;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tidegate_testkit::tokens::{Signer, claims, hs256, key_set, unix_now};
use tidegate_testkit::web::ok;
use tidegate_testkit::{Gateway, Request, Web, delete, get, post};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn sha256(text: &str) -> String {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn config(web: &Web) -> String {
    let partner = sha256("partner-key");
    format!(
        "auth:
  default: [local]
  providers:
    local: {{ type: jwt, secret: \"{SECRET}\", issuer: us, audience: [orders, bills], leeway: 0s }}
    partner: {{ type: api_key, keys: {{ {partner}: {{ id: partner-1, roles: [operator], scopes: [\"orders:read\"] }} }} }}
    hidden: {{ type: jwt, secret: \"{SECRET}\", token_from: [\"header:x-token\", \"cookie:session\"], forward_token: false }}
    asked: {{ type: api_key, query: key, forward_token: false, keys: {{ {partner}: {{ id: partner-2 }} }} }}
  forward: {{ x-user-id: sub, x-user-email: email, x-user-roles: roles, x-tenant: tenant }}
  roles: {{ admin: [operator], operator: [viewer], viewer: [] }}
services:
  web: {{ endpoints: [\"http://{}\"] }}
routes:
  - {{ name: open, path: /open, service: web, auth_required: false }}
  - {{ name: private, path: /private, service: web, auth_required: true }}
  - {{ name: admin, path: /admin, service: web, auth: {{ allow: {{ roles: [admin] }} }} }}
  - {{ name: viewer, path: /viewer, service: web, auth: {{ providers: [local, partner], allow: {{ roles: [viewer] }}, methods: {{ DELETE: {{ roles: [admin] }} }} }} }}
  - {{ name: scoped, path: /scoped, service: web, auth: {{ providers: [local, partner], allow: {{ scopes: [\"orders:read\"], claims: {{ tenant: acme }} }} }} }}
  - {{ name: hidden, path: /hidden, service: web, auth: {{ providers: [hidden] }} }}
  - {{ name: asked, path: /asked, service: web, auth: {{ providers: [asked] }} }}
",
        web.address()
    )
}

async fn start() -> (Web, Gateway) {
    let web = Web::start(|_| ok("hello")).await;
    let gateway = Gateway::start(&config(&web));
    (web, gateway)
}

/// Good claims of `u1` for this configuration, with `more`.
fn good(more: serde_json::Value) -> serde_json::Value {
    let mut all = claims("u1", json!({"iss": "us", "aud": "orders"}));
    let serde_json::Value::Object(more) = more else { panic!("claims are an object") };
    all.as_object_mut().unwrap().extend(more);
    all
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("authorization", &format!("Bearer {token}"))
}

/// Status and reason of what `claims` get at `/private`.
async fn judged(gateway: &Gateway, claims: &serde_json::Value) -> (u16, String) {
    let answer = gateway.send(&bearer(get("/private"), &hs256(SECRET, claims))).await;
    (answer.status, if answer.status == 200 { String::new() } else { answer.reason() })
}

#[tokio::test]
async fn a_route_that_needs_a_credential_is_closed_without_one() {
    let (web, gateway) = start().await;
    for answer in gateway.send_both(&get("/private")).await {
        assert_eq!((answer.status, answer.reason().as_str()), (401, "auth_missing"));
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tidegate\"");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for request in [
        post("/private", "{}"),
        get("/admin"),
        get("/viewer"),
        Request::new("HEAD", "/private"),
        Request::new("OPTIONS", "/private"),
    ] {
        assert_eq!(gateway.send(&request).await.status, 401, "{request:?}");
    }
    let both = gateway.send(&get("/viewer")).await;
    assert_eq!(both.header("www-authenticate"), "Bearer realm=\"tidegate\", ApiKey realm=\"tidegate\"");
    assert!(web.heard().is_empty());
    assert_eq!(gateway.get("/open").await.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_good_token_is_let_in_and_backends_are_told_whose_it_is() {
    let (web, gateway) = start().await;
    let token = hs256(SECRET, &good(json!({"email": "u1@example.com", "roles": ["admin"], "tenant": "acme"})));
    let request = bearer(get("/private"), &token)
        .header("x-user-id", "forged")
        .header("x_user_id", "forged")
        .header("x-tenant", "forged")
        .header("x_tenant", "forged");
    let named = request.clone().header("connection", "x-user-id, x-tenant");
    // Twice: verified, then known.
    for _ in 0..2 {
        let mut answers = gateway.send_both(&request).await.to_vec();
        answers.push(gateway.send(&named).await);
        for answer in answers {
            assert_eq!(answer.status, 200);
        }
        for heard in web.heard().iter().rev().take(3) {
            assert_eq!(heard.field("x-user-id"), "u1");
            assert_eq!(heard.field("x-user-email"), "u1@example.com");
            assert_eq!(heard.field("x-user-roles"), "admin,operator,viewer");
            assert_eq!(heard.field("x-tenant"), "acme");
            assert_eq!((heard.field("x_user_id"), heard.field("x_tenant")), (String::new(), String::new()));
            assert_eq!(heard.field("authorization"), format!("Bearer {token}"));
        }
    }
    let open = get("/open").header("x-tenant", "forged").header("x_tenant", "forged").header("x-user-id", "forged");
    assert_eq!(gateway.send(&open).await.status, 200);
    let heard = web.last();
    assert_eq!((heard.field("x-tenant"), heard.field("x_tenant"), heard.field("x-user-id")), Default::default());
    gateway.stop().await;
}

#[tokio::test]
async fn claims_decide_whether_a_token_is_good() {
    let (web, gateway) = start().await;
    let now = unix_now();
    assert_eq!(judged(&gateway, &good(json!({}))).await, (200, String::new()));
    assert_eq!(judged(&gateway, &good(json!({"aud": ["x", "bills"]}))).await.0, 200);
    let before = web.heard().len();
    for (more, reason) in [
        (json!({"exp": now - 5}), "auth_expired"),
        (json!({"exp": "soon"}), "auth_invalid"),
        (json!({"exp": null}), "auth_invalid"),
        (json!({"nbf": now + 50}), "auth_invalid"),
        (json!({"iat": now + 50}), "auth_invalid"),
        (json!({"iss": "them"}), "auth_invalid"),
        (json!({"iss": null}), "auth_invalid"),
        (json!({"aud": "other"}), "auth_invalid"),
        (json!({"aud": null}), "auth_invalid"),
    ] {
        let expected = (401, reason.to_owned());
        assert_eq!(judged(&gateway, &good(more.clone())).await, expected, "{more}");
        assert_eq!(judged(&gateway, &good(more.clone())).await, expected, "{more}, again");
    }
    let token = hs256(SECRET, &good(json!({})));
    let other = hs256("another secret, which is long enough", &good(json!({})));
    let none = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
    for bad in [&other, &none, &token[..token.len() - 2], &format!("{token}="), &format!("{token}.x"), "x", "a.b.c"] {
        let answer = gateway.send(&bearer(get("/private"), bad)).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "auth_invalid"), "{bad}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"tidegate\", error=\"invalid_token\"");
        assert!(!answer.text().contains("eyJ"), "nothing of a credential is told");
    }
    let twice = bearer(bearer(get("/private"), &token), &token);
    let answer = gateway.send(&twice).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "bad_request"));
    assert_eq!(web.heard().len(), before, "nothing of it reached the backend");
    gateway.stop().await;
}

#[tokio::test]
async fn roles_scopes_and_claims_decide_what_somebody_may_do() {
    let (web, gateway) = start().await;
    let with = |request: Request, more| bearer(request, &hs256(SECRET, &good(more)));
    let partner = |request: Request| request.header("x-api-key", "partner-key");
    for (request, status) in [
        (with(get("/admin"), json!({"roles": ["admin"]})), 200),
        (with(get("/admin"), json!({"roles": ["operator"]})), 403),
        (with(get("/admin"), json!({})), 403),
        (with(get("/viewer"), json!({"roles": "viewer other"})), 200),
        (with(get("/viewer"), json!({"roles": ["admin"]})), 200),
        (with(Request::new("HEAD", "/viewer"), json!({"roles": ["viewer"]})), 200),
        (with(delete("/viewer"), json!({"roles": ["operator"]})), 403),
        (with(delete("/viewer"), json!({"roles": ["admin"]})), 200),
        (with(get("/scoped"), json!({"scope": "orders:read orders:write", "tenant": "acme"})), 200),
        (with(get("/scoped"), json!({"scp": ["orders:read"], "tenant": "acme"})), 200),
        (with(get("/scoped"), json!({"scope": "orders:write", "tenant": "acme"})), 403),
        (with(get("/scoped"), json!({"scope": "orders:read", "tenant": "other"})), 403),
        (partner(get("/viewer")), 200),
        (partner(delete("/viewer")), 403),
        (partner(get("/scoped")), 403),
        (partner(get("/admin")), 401),
        (get("/viewer").header("x-api-key", "another-key"), 401),
        (get("/viewer").header("x-api-key", &"k".repeat(300)), 401),
    ] {
        let before = web.heard().len();
        let answer = gateway.send(&request).await;
        assert_eq!(answer.status, status, "{} {}", request.method, request.target);
        if status == 403 {
            assert_eq!((answer.reason().as_str(), answer.header("www-authenticate")), ("forbidden", ""));
            let told = answer.text();
            assert!(
                !told.contains("admin\"") && !told.contains("orders:"),
                "no hint of what would have worked: {told}"
            );
        }
        assert_eq!(web.heard().len() > before, status == 200, "{} {}", request.method, request.target);
    }
    gateway.send(&partner(get("/viewer"))).await;
    let heard = web.last();
    assert_eq!((heard.field("x-user-id"), heard.field("x-user-roles")), ("partner-1".into(), "operator,viewer".into()));
    gateway.stop().await;
}

#[tokio::test]
async fn credentials_stand_where_the_configuration_says_and_may_be_kept_from_backends() {
    let (web, gateway) = start().await;
    let token = hs256(SECRET, &claims("u2", json!({})));
    assert_eq!(gateway.send(&bearer(get("/hidden"), &token)).await.reason(), "auth_missing");
    let header = get("/hidden?a=1").header("x-token", &token);
    let cookie = get("/hidden?a=1").header("cookie", &format!("a=1; session={token}; b=2"));
    for request in [header, cookie] {
        assert_eq!(gateway.send(&request).await.status, 200, "{request:?}");
        let heard = web.last();
        assert_eq!(heard.field("x-user-id"), "u2");
        assert!(!heard.head.contains(&token), "{}", heard.head);
    }
    assert_eq!(web.last().field("cookie"), "a=1; b=2");
    assert_eq!(gateway.get("/asked?key=partner-key&a=1").await.status, 200);
    assert_eq!((web.last().line(), web.last().field("x-user-id")), ("GET /asked?a=1 HTTP/1.1", "partner-2".into()));
    assert_eq!(gateway.get("/asked?key=other").await.reason(), "auth_invalid");
    assert_eq!(gateway.get("/asked?key=partner-key&key=partner-key").await.reason(), "bad_request");
    gateway.stop().await;
}

#[tokio::test]
async fn files_of_keys_are_read_and_read_again() {
    let web = Web::start(|_| ok("hello")).await;
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let yaml = format!(
        "auth:
  providers:
    file: {{ type: jwt, jwks: keys.json }}
    api: {{ type: api_key, keys_file: api.json }}
services: {{ web: {{ endpoints: [\"http://{}\"] }} }}
routes:
  - {{ name: a, path: /a, service: web, auth: {{ providers: [file, api] }} }}
",
        web.address()
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.json"), key_set(&[&old])).unwrap();
    std::fs::write(folder.path().join("api.json"), format!("{{\"{}\": {{\"id\": \"one\"}}}}", sha256("one"))).unwrap();
    let gateway = Gateway::start_in(folder, &yaml);
    let (first, second) = (old.token(&claims("u", json!({}))), new.token(&claims("u", json!({}))));
    let status = async |request: Request| gateway.send(&request).await.status;
    let key = |key: &str| get("/a").header("x-api-key", key);
    assert_eq!(status(bearer(get("/a"), &first)).await, 200);
    assert_eq!(status(bearer(get("/a"), &second)).await, 401);
    assert_eq!((status(key("one")).await, status(key("two")).await), (200, 401));
    gateway.write("keys.json", key_set(&[&new]));
    gateway.write("api.json", format!("{{\"{}\": {{\"id\": \"two\"}}}}", sha256("two")));
    assert!(gateway.look().await.result().is_success());
    assert_eq!(status(bearer(get("/a"), &first)).await, 401, "known tokens go with their keys");
    assert_eq!(status(bearer(get("/a"), &second)).await, 200);
    assert_eq!((status(key("one")).await, status(key("two")).await), (401, 200));
    gateway.write("keys.json", "{");
    assert!(!gateway.look().await.result().is_success());
    assert_eq!(status(bearer(get("/a"), &second)).await, 200, "what was good goes on");
    gateway.stop().await;
}

/// A file may hold secrets, and each key fits its own algorithms alone: what is public never makes a good HMAC.
#[tokio::test]
async fn a_file_of_keys_may_hold_secrets() {
    let signer = Signer::new("one");
    let public = signer.jwk().to_string();
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let keys = json!({"keys": [signer.jwk(), secret]});
    for (algorithms, admitted) in [("[ES256, HS256]", 200), ("[ES256]", 401)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
        let yaml = format!(
            "auth: {{ providers: {{ file: {{ type: jwt, jwks: keys.json, algorithms: {algorithms} }} }} }}\n\
             routes: [{{ name: a, path: /a, respond: {{ text: hello }}, auth: {{ providers: [file] }} }}]\n"
        );
        let gateway = Gateway::start_in(folder, &yaml);
        let status = async |token: &str| gateway.send(&bearer(get("/a"), token)).await.status;
        assert_eq!(status(&signer.token(&claims("u", json!({})))).await, 200, "{algorithms}");
        assert_eq!(status(&hs256(SECRET, &claims("u", json!({})))).await, admitted, "{algorithms}");
        assert_eq!(status(&hs256(&public, &claims("u", json!({})))).await, 401, "{algorithms}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_is_explained_is_what_is_answered() {
    let (_web, gateway) = start().await;
    let admin = bearer(get("/admin"), &hs256(SECRET, &good(json!({"roles": ["admin"]}))));
    let viewer = bearer(get("/admin"), &hs256(SECRET, &good(json!({"roles": ["viewer"]}))));
    for request in [get("/admin"), admin.clone(), viewer, get("/open")] {
        let answer = gateway.send(&request).await;
        let explained = gateway.explain(&request);
        let would = explained.would_answer.map_or(200, |refusal| refusal.status);
        assert_eq!(would, answer.status, "{request:?}");
    }
    let text = gateway.explain(&admin).to_text();
    assert!(text.contains("authentication local") && text.contains("accepted by local, subject u1"), "{text}");
    assert!(text.contains("authorisation  roles admin"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_is_logged_and_counted_with_its_provider_and_never_with_its_credential() {
    let web = Web::start(|_| ok("hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let yaml = format!(
        "{}observability: {{ logs: {{ access: {{ output: {} }} }}, metrics: {{ public_path: /metrics }} }}\n",
        config(&web),
        log.display()
    );
    let gateway = Gateway::start(&yaml);
    let token = hs256(SECRET, &good(json!({"roles": ["viewer"]})));
    gateway.send(&bearer(get("/viewer"), &token)).await;
    gateway.send(&bearer(get("/admin"), &token)).await;
    gateway.send(&get("/viewer").header("x-api-key", "partner-key")).await;
    gateway.send(&get("/asked?key=partner-key")).await;
    gateway.send(&get("/private")).await;
    let page = gateway.get("/metrics").await;
    let page = page.text();
    for line in [
        "tidegate_auth_decisions_total{provider=\"local\",result=\"allow\",reason=\"\"} 1",
        "tidegate_auth_decisions_total{provider=\"local\",result=\"deny\",reason=\"forbidden\"} 1",
        "tidegate_auth_decisions_total{provider=\"local\",result=\"deny\",reason=\"auth_missing\"} 1",
        "tidegate_auth_decisions_total{provider=\"partner\",result=\"allow\",reason=\"\"} 1",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    gateway.stop().await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("\"auth_provider\":\"local\",\"subject\":\"u1\""), "{text}");
    assert!(text.contains("\"auth_provider\":\"partner\",\"subject\":\"partner-1\""), "{text}");
    for secret in [token.as_str(), "partner-key", SECRET] {
        assert!(!text.contains(secret) && !page.contains(secret));
    }
}
