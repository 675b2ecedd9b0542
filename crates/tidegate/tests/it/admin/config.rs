//! The configuration over the admin API, and its secrets.

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::client::Http1;
use tidegate_testkit::{Answer, Gateway, Peer, Program, Request, ask_admin, get, post};

use super::{ADMIN, TOKEN, config, put, reads, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

fn yaml(text: &str) -> String {
    format!("{ADMIN}\nroutes: [{{ name: ping, path: /ping, respond: {{ text: {text} }} }}]\n")
}

/// The file that the gateway began with, with another answer.
fn changed(gateway: &Gateway, from: &str, to: &str) -> String {
    std::fs::read_to_string(gateway.folder().join("tidegate.yaml")).unwrap().replace(from, to)
}

#[tokio::test]
async fn who_has_seen_the_configuration_may_replace_it() {
    let gateway = Gateway::start(&yaml("one"));
    let seen = gateway.ask_admin(&get("/api/config")).await;
    let tag = seen.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", gateway.hash()));
    assert_eq!((&seen.json()["generation"], &seen.json()["last_reload"]), (&json!(1), &json!(null)));
    let text = changed(&gateway, "one", "two");
    let without = gateway.ask_admin(&put("/api/config", &text)).await;
    assert_eq!(refusal(&without), (428, "bad_request".to_owned()));
    let send = async |text: &str, tag: &str| gateway.ask_admin(&put("/api/config", text).header("if-match", tag)).await;
    assert_eq!(refusal(&send(&text, "\"0123456789abcdef\"").await).0, 412);
    assert_eq!(gateway.get("/ping").await.text(), "one");

    let applied = send(&text, &tag).await;
    assert_eq!(applied.status, 200, "{}", applied.text());
    let view = applied.json();
    assert_eq!((&view["result"], &view["generation"]), (&json!("applied"), &json!(2)));
    assert_eq!(applied.header("etag"), format!("\"{}\"", gateway.hash()));
    assert_eq!(gateway.get("/ping").await.text(), "two");
    assert_eq!(refusal(&send(&text, &tag).await).0, 412, "it was another one that the sender had seen");

    let bad = send("version: 1\nrotues: []", "*").await;
    assert_eq!(refusal(&bad).0, 422);
    let problems = bad.json()["problems"].clone();
    let told = |problem: &Value| problem["code"] == "unknown_key" && problem["line"] == 2;
    assert!(problems.as_array().unwrap().iter().any(told), "{problems}");
    let restart = send(&changed(&gateway, "workers: 2", "workers: 1"), "*").await;
    assert_eq!((refusal(&restart).0, &restart.json()["fields"]), (409, &json!(["runtime.workers"])));
    assert_eq!(gateway.get("/ping").await.text(), "two");
    gateway.stop().await;
}

#[tokio::test]
async fn reloads_and_their_history_are_told() {
    let gateway = Gateway::start(&yaml("one"));
    let reload = async || gateway.ask_admin(&Request::new("POST", "/api/config/reload")).await;
    assert_eq!(reload().await.json()["result"], "unchanged");
    gateway.write_config(&yaml("one").replace("/ping", "/pong"));
    let applied = reload().await.json();
    assert_eq!(applied["diff"], json!(["route changed: ping (path /ping → /pong)"]), "{applied}");
    gateway.write_config("version: 1\nrotues: []");
    assert_eq!(refusal(&reload().await).0, 422);
    let last = gateway.ask_admin(&get("/api/config")).await.json()["last_reload"].clone();
    assert_eq!((&last["result"], &last["by"]), (&json!("rejected"), &json!("admin")), "{last}");
    assert!(last["problems"].to_string().contains("rotues"), "{last}");
    let history = gateway.ask_admin(&get("/api/config/history")).await.json();
    let generations: Vec<_> = history.as_array().unwrap().iter().map(|kept| kept["generation"].clone()).collect();
    assert_eq!(generations.first(), Some(&json!(2)), "{history}");
    assert_eq!(history[0]["hash"], gateway.hash());
    gateway.stop().await;
}

/// What is written in the file, what comes from the environment and what comes from a file.
#[tokio::test]
async fn secrets_are_in_no_answer_no_page_and_no_log() {
    let peer = Peer::start().await;
    for token in [TOKEN, "${PLANTED}", "${file:planted.txt}"] {
        let folder = TempDir::new().unwrap();
        let plant = folder.path().join("planted.txt");
        std::fs::write(&plant, TOKEN).unwrap();
        let token = token.replace("planted.txt", plant.to_str().unwrap());
        let admin = format!("admin: {{ address: \"127.0.0.1:0\", token: \"{token}\" }}");
        let text = config(peer.address(), "").replace(ADMIN, &admin);
        let mut program = Program::run_changed(BINARY, &text, |command| {
            command.env("PLANTED", TOKEN).env("TIDEGATE_LOG", "trace");
        });
        let address = program.admin().await;
        let ask = async |request: Request| {
            ask_admin(address, &request.header("authorization", &format!("Bearer {TOKEN}"))).await
        };
        let clean = |answer: &Answer, what: &str| assert!(!answer.text().contains(TOKEN), "{what}: {}", answer.text());
        // Every kind of fault on the line of the secret and on the next.
        let file = std::fs::read_to_string(program.folder().join("tidegate.yaml")).unwrap();
        for fault in [
            file.replace("token:", "tokne:"),
            file.replace(", token:", ", nobody: 1, token:"),
            file.replace(&format!("\"{token}\" }}"), &format!("\"{token}\"")),
            file.replace(&format!("\"{token}\""), &format!("[\"{token}\"]")),
            file.replace("\"127.0.0.1:0\", token", "\"0.0.0.0\", token"),
        ] {
            assert_ne!(fault, file);
            let refused = ask(put("/api/config", &fault).header("if-match", "*")).await;
            assert!(refused.status == 422 || refused.status == 409, "{} {}", refused.status, refused.text());
            clean(&refused, &fault);
            clean(&ask(get("/api/config")).await, "the last reload");
        }
        let other = file.replace(&token, "another-token-0123456789");
        let restart = ask(put("/api/config", &other).header("if-match", "*")).await;
        assert_eq!(restart.status, 409, "{}", restart.text());
        for request in reads() {
            let answer = ask(request.clone()).await;
            assert_eq!(answer.status, 200, "{request:?}");
            clean(&answer, &request.target);
        }
        clean(&ask(post("/api/explain", "{\"method\":\"GET\",\"url\":\"/v1/orders/7\"}")).await, "explain");
        clean(&ask(post("/api/explain", TOKEN)).await, "a bad question");
        clean(&ask_admin(address, &get("/api/config").header("authorization", TOKEN)).await, "a bad token");
        drop(Http1::connect(address).await);
        program.terminate();
        assert_eq!(program.code().await, 0);
        assert!(!program.log().contains(TOKEN), "{}", program.log());
    }
}
