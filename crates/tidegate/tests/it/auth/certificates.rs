//! Clients that show certificates.

use serde_json::json;
use tidegate_testkit::client::Http1;
use tidegate_testkit::tls::{Authority, Client, connect_as, write_certificate};
use tidegate_testkit::tokens::{claims, hs256};
use tidegate_testkit::web::ok;
use tidegate_testkit::{Answer, Gateway, Request, Web, get, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{SECRET, bearer};

fn config(web: &Web, auth: &str) -> String {
    let tls = |auth: &str| format!("tls: {{ cert: tls.crt, key: tls.key, client_ca: ca.crt, client_auth: {auth} }}");
    format!(
        "listeners:
  - {{ name: must, address: \"127.0.0.1:0\", {} }}
  - {{ name: may, address: \"127.0.0.1:0\", {} }}
auth:
  providers:
    mesh: {{ type: mtls, certificates: [{{ name: \"spiffe://example.com/orders\", id: orders, roles: [operator] }}] }}
    any: {{ type: mtls }}
    local: {{ type: jwt, secret: \"{SECRET}\" }}
  forward: {{ x-user-id: id, x-user-roles: roles }}
services: {{ web: {{ endpoints: [\"http://{}\"] }} }}
routes:
  - {{ name: open, path: /open, service: web, auth_required: false }}
  - {{ name: mesh, path: /mesh, service: web, auth: {{ providers: [mesh], allow: {{ roles: [operator] }} }} }}
  - {{ name: any, path: /any, service: web, auth: {{ providers: [any] }} }}
  - {{ name: bound, path: /bound, service: web, auth: {{ providers: [local] }} }}
{auth}",
        tls("required"),
        tls("optional"),
        web.address()
    )
}

struct World {
    web: Web,
    gateway: Gateway,
    authority: Authority,
}

impl World {
    async fn start() -> Self {
        let web = Web::start(|_| ok("hello")).await;
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        std::fs::write(folder.path().join("ca.crt"), authority.pem()).unwrap();
        let gateway = Gateway::start_in(folder, &config(&web, ""));
        Self { web, gateway, authority }
    }

    /// The answer, or nothing if there is none: the handshake has failed.
    async fn ask(&self, listener: &str, client: Option<&Client>, request: &Request) -> Option<Answer> {
        let trusted = self.gateway.folder().join("tls.crt");
        let mut stream = connect_as(self.gateway.listener(listener), &trusted, &["http/1.1"], client).await.ok()?;
        let mut text = format!("{} {} HTTP/1.1\r\nhost: localhost\r\n", request.method, request.target);
        request.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        // With TLS 1.3 the client learns of a refusal after its own handshake.
        stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        let mut first = [0];
        if !matches!(soon(stream.read(&mut first)).await, Ok(1)) {
            return None;
        }
        let (reader, writer) = tokio::io::split(stream);
        let whole = tokio::io::join(std::io::Cursor::new(first).chain(reader), writer);
        Some(Http1::over(whole).answer().await)
    }
}

#[tokio::test]
async fn a_certificate_is_an_identity() {
    let world = World::start().await;
    let orders = world.authority.client(&["spiffe://example.com/orders", "orders.example.com"]);
    let other = world.authority.client(&["other.example.com"]);
    for listener in ["must", "may"] {
        let answer = world.ask(listener, Some(&orders), &get("/mesh")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            (world.web.last().field("x-user-id"), world.web.last().field("x-user-roles")),
            ("orders".into(), "operator".into())
        );
        let answer = world.ask(listener, Some(&other), &get("/mesh")).await.unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (401, "auth_invalid"));
        let answer = world.ask(listener, Some(&other), &get("/any")).await.unwrap();
        assert_eq!((answer.status, world.web.last().field("x-user-id")), (200, "other.example.com".into()));
        assert_eq!(world.ask(listener, Some(&other), &get("/open")).await.unwrap().status, 200);
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn whoever_shows_none_is_refused_by_the_listener_or_by_the_route() {
    let world = World::start().await;
    let strangers = Authority::new();
    let stranger = strangers.client(&["spiffe://example.com/orders"]);
    assert!(world.ask("must", None, &get("/open")).await.is_none());
    assert_eq!(world.ask("may", None, &get("/open")).await.unwrap().status, 200);
    let answer = world.ask("may", None, &get("/mesh")).await.unwrap();
    assert_eq!((answer.status, answer.reason().as_str(), answer.header("www-authenticate")), (403, "forbidden", ""));
    for listener in ["must", "may"] {
        assert!(world.ask(listener, Some(&stranger), &get("/open")).await.is_none(), "{listener}");
    }
    world.gateway.stop().await;
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_certificate_is_good_with_it_alone() {
    use base64::Engine as _;
    let world = World::start().await;
    let (mine, other) = (world.authority.client(&["a.example.com"]), world.authority.client(&["b.example.com"]));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &mine.certificate);
    let thumbprint = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let token = hs256(SECRET, &claims("u1", json!({"cnf": {"x5t#S256": thumbprint}})));
    let request = bearer(get("/bound"), &token);
    // Twice: the verdict that is kept must not stand for other connections.
    for _ in 0..2 {
        assert_eq!(world.ask("may", Some(&mine), &request).await.unwrap().status, 200);
        for thief in [Some(&other), None] {
            let answer = world.ask("may", thief, &request).await.unwrap();
            assert_eq!((answer.status, answer.reason().as_str()), (401, "auth_invalid"));
        }
    }
    world.gateway.stop().await;
}
