//! The dashboard in a real browser: Chromium, driven by ChromeDriver (Debian's packages `chromium` and
//! `chromium-driver`, which `make tools` installs).

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::{Answer, Gateway, Peer, Request, Script, ask_admin, eventually, get, post, shop, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{ADMIN, TOKEN, config};

/// What a browser in a container needs, and what keeps it from asking hosts of its maker.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

struct Browser {
    address: SocketAddr,
    session: String,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    async fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut driver = command.spawn().expect("chromedriver, of Debian's package chromium-driver: make tools");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = soon(lines.next_line()).await.unwrap().expect("chromedriver says its port");
            if let Some((_, port)) = line.rsplit_once("successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let (address, profile) = (SocketAddr::from(([127, 0, 0, 1], port)), TempDir::new().unwrap());
        let mut arguments: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let wanted = json!({"capabilities": {"alwaysMatch": wanted}}).to_string();
        let session = value(&ask_admin(address, &post("/session", wanted)).await);
        let session = session["sessionId"].as_str().unwrap().to_owned();
        Self { address, session, driver, _profile: profile }
    }

    async fn send(&self, command: &str, body: Value) -> Value {
        let target = format!("/session/{}{command}", self.session);
        value(&ask_admin(self.address, &post(&target, body.to_string())).await)
    }

    async fn open(&self, url: &str) {
        self.send("/url", json!({"url": url})).await;
    }

    /// The value of a JavaScript expression.
    async fn eval(&self, expression: &str) -> Value {
        self.send("/execute/sync", json!({"script": format!("return {expression}"), "args": []})).await
    }

    /// The text of the element with this id.
    async fn text(&self, id: &str) -> String {
        let text = self.eval(&format!("document.getElementById('{id}').innerText")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    async fn shows(&self, id: &str, part: &str) {
        eventually(&format!("{id} shows {part}"), async || self.text(id).await.contains(part)).await;
    }

    async fn click(&self, selector: &str) {
        let element = self.send("/element", json!({"using": "css selector", "value": selector})).await;
        let (_, id) = element.as_object().unwrap().iter().next().unwrap();
        self.send(&format!("/element/{}/click", id.as_str().unwrap()), json!({})).await;
    }

    async fn fill(&self, selector: &str, text: &str) {
        let element = self.send("/element", json!({"using": "css selector", "value": selector})).await;
        let (_, id) = element.as_object().unwrap().iter().next().unwrap();
        let id = id.as_str().unwrap();
        self.send(&format!("/element/{id}/clear"), json!({})).await;
        self.send(&format!("/element/{id}/value"), json!({"text": text})).await;
    }

    /// Whether the page is as wide as the window, in a window of this width.
    async fn fits(&self, width: u32) -> bool {
        self.send("/window/rect", json!({"width": width, "height": 900})).await;
        self.eval("document.documentElement.scrollWidth <= window.innerWidth").await == true
    }

    /// What the console has said since the last look: errors of scripts, refused loads, violations of the policy.
    async fn console(&self) -> Vec<Value> {
        self.send("/se/log", json!({"type": "browser"})).await.as_array().unwrap().clone()
    }

    async fn stop(mut self) {
        ask_admin(self.address, &Request::new("DELETE", &format!("/session/{}", self.session))).await;
        soon(self.driver.kill()).await.unwrap();
    }
}

fn value(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["value"].clone()
}

#[tokio::test]
async fn the_dashboard_works_in_a_browser() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let gateway = Gateway::start(&config(peer.address(), ""));
    assert_eq!(gateway.get("/v1/orders/7").await.status, 200);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", gateway.admin())).await;
    browser.shows("routes", "get-order").await;
    browser.shows("services", &peer.address().to_string()).await;
    browser.shows("listeners", "main").await;
    browser.shows("state", "ready").await;
    assert_eq!(
        browser.eval("document.getElementById('login').offsetParent === null").await,
        true,
        "no token is needed"
    );
    for width in [1280, 700, 500] {
        assert!(browser.fits(width).await, "the page is wider than a window of {width}");
    }
    browser.click("td button").await;
    browser.shows("route", "tidegate.yaml:").await;
    browser.fill("#filter", "CHAT").await;
    let rows = "document.querySelectorAll('#routes td:first-child').length";
    eventually("one route is left", async || browser.eval(rows).await == 1).await;
    browser.fill("#url", "/v1/orders/7").await;
    browser.click("#explain button").await;
    browser.shows("explained", "shop.v1.OrderService/GetOrder").await;
    browser.click("#tap-button").await;
    eventually("a request is seen", async || {
        gateway.get("/v1/orders/7").await;
        browser.text("tap").await.contains("200  GET   /v1/orders/7  get-order")
    })
    .await;
    browser.click("#reload").await;
    browser.shows("reloaded", "unchanged").await;
    browser.click("#show").await;
    browser.shows("effective", "\"listeners\"").await;
    browser.fill("#level", "no=level").await;
    browser.click("#levels button").await;
    browser.shows("leveled", "no=level").await;
    assert_eq!(browser.text("error").await, "");
    // What the gateway refuses is said on the console too: the bad level, and nothing else.
    let said = browser.console().await;
    let (refused, other): (Vec<_>, Vec<_>) =
        said.into_iter().partition(|line| line["message"].to_string().contains("/api/log-level"));
    assert_eq!((refused.len(), other), (1, Vec::new()));
    assert_eq!(browser.console().await, Vec::<Value>::new());
    browser.stop().await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_dashboard_asks_for_the_token() {
    let peer = Peer::start().await;
    let admin = format!("admin: {{ address: \"127.0.0.1:0\", token: {TOKEN} }}");
    let gateway = Gateway::start(&config(peer.address(), "").replace(ADMIN, &admin));
    assert_eq!(gateway.ask_admin(&get("/api/routes")).await.status, 401);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/", gateway.admin())).await;
    browser.shows("error", "token is needed").await;
    browser.fill("#token", TOKEN).await;
    browser.click("#login button").await;
    browser.shows("routes", "get-order").await;
    browser.shows("error", "").await;
    browser.stop().await;
    gateway.stop().await;
}
