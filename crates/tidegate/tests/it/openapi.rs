//! The OpenAPI document: what it says, that it says the same each time, and that others can read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::engine::{example, examples};
use tidegate_testkit::program::{Output, output};
use tidegate_testkit::{Engine, Program, eventually, gateway, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/openapi")
}

/// `tidegate openapi` in `folder`, with more arguments.
async fn run(folder: &Path, file: &str, arguments: &[&str]) -> Output {
    output(BINARY, folder, &[&["openapi", "-c", file], arguments].concat(), "").await
}

/// The document as it is printed.
async fn printed(folder: &Path, file: &str) -> String {
    let output = run(folder, file, &[]).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    output.stdout
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The document of the shop with all its routes.
async fn shop_document() -> String {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    let yaml = gateway::complete(&shop::config(([127, 0, 0, 1], 9).into(), ""));
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    printed(folder.path(), "tidegate.yaml").await
}

/// The document of the market-data example, from what a run beside the engine has kept of its descriptors, and the one
/// from before that run.
async fn market_data_documents() -> [String; 2] {
    let engine = Engine::start().await;
    let yaml = gateway::complete(&example("s0-market-data", engine.address()));
    let empty = TempDir::new().unwrap();
    std::fs::write(empty.path().join("tidegate.yaml"), &yaml).unwrap();
    let before = printed(empty.path(), "tidegate.yaml").await;
    let mut program = Program::run(BINARY, &yaml);
    program.listener("public").await;
    let kept = program.folder().join("state-home/tidegate");
    let is_set = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().extension() == Some("pb".as_ref());
    eventually("descriptors are kept", || async { std::fs::read_dir(&kept).is_ok_and(|mut dir| dir.any(is_set)) })
        .await;
    program.terminate();
    assert_eq!(program.code().await, 0);
    engine.stop().await;
    [before, printed(program.folder(), "tidegate.yaml").await]
}

/// Compares with `testdata/openapi/<name>`, or rewrites it.
fn check_golden(name: &str, text: &str) {
    let path = testdata().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let at = expected.lines().zip(text.lines()).position(|(expected, found)| expected != found);
    assert!(expected == text, "{name} differs, first in line {:?}; UPDATE_GOLDEN=1 rewrites it", at.map(|at| at + 1));
}

#[tokio::test]
async fn everything_that_a_schema_can_say_is_said() {
    check_golden("library.json", &printed(&testdata(), "library.yaml").await);
}

#[tokio::test]
async fn descriptors_that_a_run_has_kept_are_used_and_without_them_routes_show_what_is_known() {
    let [before, after] = market_data_documents().await;
    check_golden("s0-market-data.json", &after);
    let before = parsed(&before);
    assert_eq!(before["x-tidegate-unknown-services"], json!(["core-engine"]));
    let paths = before["paths"].as_object().unwrap();
    assert_eq!(
        paths.keys().collect::<Vec<_>>(),
        parsed(&after)["paths"].as_object().unwrap().keys().collect::<Vec<_>>()
    );
    assert_eq!(paths["/api/v1/market-data/fetch"]["post"]["x-tidegate-unknown"], true);
}

#[tokio::test]
async fn the_same_configuration_gives_the_same_bytes() {
    let first = printed(&testdata(), "library.yaml").await;
    assert_eq!(first, printed(&testdata(), "library.yaml").await);
}

#[tokio::test]
async fn every_operation_has_an_id_of_its_own_and_the_parameters_of_its_path() {
    let mut ids = Vec::new();
    for text in [shop_document().await, printed(&testdata(), "library.yaml").await] {
        for (path, item) in parsed(&text)["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| !key.starts_with("x-")) {
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
                let none = Vec::new();
                let parameters = operation["parameters"].as_array().unwrap_or(&none).iter();
                let named =
                    parameters.filter(|p| p["in"] == "path").map(|p| format!("{{{}}}", p["name"].as_str().unwrap()));
                let named: Vec<String> = named.collect();
                assert_eq!(path.matches('{').count(), named.len(), "{method} {path}");
                assert!(named.iter().all(|name| path.contains(name.as_str())), "{method} {path}: {named:?}");
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
        ids.clear();
    }
}

#[tokio::test]
async fn title_version_and_description_are_the_author_s() {
    let about = &["--title", "Books", "--api-version", "3", "--description", "All of them.", "--format", "json"];
    let output = run(&testdata(), "library.yaml", about).await;
    let info = json!({"title": "Books", "version": "3", "description": "All of them."});
    assert_eq!((output.code, &parsed(&output.stdout)["info"]), (0, &info));
    let info = json!({"title": "library", "version": "1.0.0"});
    assert_eq!(parsed(&printed(&testdata(), "library.yaml").await)["info"], info);
}

#[tokio::test]
async fn a_wrong_configuration_is_78_and_gives_no_document() {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    let routes = "  - { name: a, path: \"/a/{nobody}\", service: shop, grpc: OrderService/GetOrder }";
    let yaml = format!("services:\n  shop: {{ address: \"127.0.0.1:9\", descriptors: shop.pb }}\nroutes:\n{routes}\n");
    std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(&yaml)).unwrap();
    let output = run(folder.path(), "tidegate.yaml", &[]).await;
    assert_eq!((output.code, output.stdout.as_str()), (78, ""));
    assert!(output.stderr.contains("nobody"), "{}", output.stderr);
    assert_eq!(run(folder.path(), "nothing.yaml", &[]).await.code, 78);
    assert_eq!(run(folder.path(), "tidegate.yaml", &["--format", "text"]).await.code, 2);
}

/// What the public validator says of documents; empty if it finds nothing.
fn validated(files: &[PathBuf]) -> String {
    let tool = std::env::var_os("TIDEGATE_OPENAPI_VALIDATOR").map(PathBuf::from).unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/venv/bin/openapi-spec-validator")
    });
    assert!(tool.exists(), "{} is missing: `make tools` installs it", tool.display());
    let output = Command::new(&tool).arg("--schema").arg("3.1").args(files).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { String::new() } else { said + "not valid" }
}

#[tokio::test]
async fn a_public_validator_accepts_every_document_and_finds_a_broken_one() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let [before, after] = market_data_documents().await;
    let engine = printed(&examples().join("s3-core-engine"), "tidegate.yaml").await;
    let library = printed(&testdata(), "library.yaml").await;
    let shop = shop_document().await;
    let files = [
        file("library.json", &library),
        file("shop.json", &shop),
        file("s0-before.json", &before),
        file("s0.json", &after),
        file("s3.json", &engine),
    ];
    assert_eq!(validated(&files), "");
    let broken = shop.replace("\"required\": true", "\"required\": 1");
    assert_ne!(broken, shop);
    assert_ne!(validated(&[file("broken.json", &broken)]), "");
}
