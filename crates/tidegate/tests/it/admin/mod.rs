//! The admin API: what it shows and does, and whom it lets in.

mod browser;
mod config;
mod door;
mod health;
mod tap;
mod views;

use std::net::SocketAddr;

use tidegate_testkit::{Answer, Request, get, shop};

const ADMIN: &str = "admin: { address: \"127.0.0.1:0\" }";
const TOKEN: &str = "planted-token-0123456789";

/// The shop at `backend` with an admin API; `more` is YAML at the top level.
fn config(backend: SocketAddr, more: &str) -> String {
    shop::config(backend, &format!("{ADMIN}\n{more}"))
}

fn put(target: &str, body: impl AsRef<[u8]>) -> Request {
    Request::new("PUT", target).body(body)
}

/// A refusal: its status, its reason, and that it is a problem document.
fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    assert_eq!(answer.json()["status"], answer.status);
    (answer.status, answer.reason())
}

/// Every operation that only reads.
const READS: [&str; 17] = [
    "/",
    "/dashboard.js",
    "/dashboard.css",
    "/api/overview",
    "/api/routes",
    "/api/routes/get-order",
    "/api/services",
    "/api/services/shop",
    "/api/listeners",
    "/api/certificates",
    "/api/config",
    "/api/config/history",
    "/api/openapi",
    "/api/log-level",
    "/metrics",
    "/health",
    "/version",
];

fn reads() -> impl Iterator<Item = Request> {
    READS.iter().map(|path| get(path))
}
