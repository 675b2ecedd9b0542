//! Requests that schemathesis makes up from our OpenAPI documents, against running gateways: no answer is a fault of
//! ours, and every answer is one that the document describes. Slow, so it runs with `make contract` only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_testkit::engine::example;
use tidegate_testkit::program::output;
use tidegate_testkit::{Engine, Gateway, Peer, Script, eventually, gateway, shop};
use tokio::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// Made-up requests for each operation.
const EXAMPLES: &str = "40";

/// What is judged. Not among it: whether a request that fits the schema is taken, because the schema cannot say all that
/// a service, or a 64-bit number, demands.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Lets schemathesis loose on `address` with the document of `yaml`; `without` are operations that never end.
async fn check(yaml: &str, address: SocketAddr, without: &[&str]) {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    let printed = output(BINARY, folder.path(), &["openapi", "-c", "tidegate.yaml"], "").await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""));
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, printed.stdout).unwrap();
    let tool: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/contract/bin/schemathesis");
    assert!(tool.exists(), "{} is missing: `make contract` installs it", tool.display());
    let mut command = Command::new(tool);
    command.arg("run").arg(&document).args(["--url", &format!("http://{address}"), "--checks", CHECKS]);
    command.args(["--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic", "--no-color"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "5", "--max-failures", "5"]);
    for operation in without {
        command.args(["--exclude-operation-id", operation]);
    }
    let output = command.current_dir(folder.path()).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "schemathesis has found something:\n{}", String::from_utf8_lossy(&said));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs with `make contract`"]
async fn the_core_engine_is_as_its_document_says() {
    let engine = Engine::start().await;
    let yaml = gateway::complete(&example("s3-core-engine", engine.address()));
    let gateway = Gateway::start(&yaml);
    eventually("ready", || async { gateway.get("/health/readiness").await.status == 200 }).await;
    check(&yaml, gateway.address(), &[]).await;
    gateway.stop().await;
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs with `make contract`"]
async fn the_shop_is_as_its_document_says() {
    let peer = Peer::start().await;
    peer.on("GetOrder", Script::ok(shop::order()));
    peer.on("CreateOrder", Script::ok(shop::order()));
    peer.on("WatchOrders", Script::new().message(shop::event(1)).message(shop::event(2)).status(0, ""));
    peer.on("Import", Script::ok(shop::message("ImportSummary", serde_json::json!({ "accepted": 3 }))));
    peer.on("Chat", Script::new().message(shop::event(1)).status(0, ""));
    let file = serde_json::json!({ "contentType": "application/octet-stream", "data": "AAEC" });
    let file = shop::message("google.api.HttpBody", file);
    peer.on("Download", Script::ok(file.clone()));
    peer.on("DownloadParts", Script::new().message(file).status(0, ""));
    peer.on("Upload", Script::ok(shop::message("ImportSummary", serde_json::json!({ "accepted": 1 }))));
    let yaml = gateway::complete(&shop::config(peer.address(), ""));
    let gateway = Gateway::start(&yaml);
    check(&yaml, gateway.address(), &[]).await;
    gateway.stop().await;
}
