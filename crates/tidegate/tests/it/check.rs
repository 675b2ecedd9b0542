//! `tidegate check`: what only the outside world can tell, and what is worth a warning.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_testkit::peer::closed_port;
use tidegate_testkit::program::{Output, output};
use tidegate_testkit::tokens::{Issuer, Signer};
use tidegate_testkit::{Peer, Script, gateway, shop, tls};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// What `tidegate check` says to a file with this text.
async fn check(yaml: &str, arguments: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(yaml)).unwrap();
    output(BINARY, folder.path(), &[&["check", "-c", "tidegate.yaml"], arguments].concat(), "").await
}

/// A configuration with one service.
fn service(service: &str) -> String {
    format!(
        "services: {{ shop: {service} }}
routes: [{{ name: get-order, path: \"/v1/{{id}}\", method: GET, service: shop, grpc: shop.v1.OrderService/GetOrder }}]
"
    )
}

/// Code and severity of all problems, with the texts that they are about.
fn problems(said: &Output) -> Vec<String> {
    let json: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let word = |problem: &Value, key: &str| problem[key].as_str().unwrap_or("").to_owned();
    let problems = json["problems"].as_array().unwrap().iter();
    problems.map(|problem| format!("{} {}", word(problem, "severity"), word(problem, "code"))).collect()
}

async fn expect(yaml: &str, code: i32, expected: &[&str]) {
    let said = check(yaml, &["--online", "--format", "json"]).await;
    assert_eq!(problems(&said), expected, "{}", said.stdout);
    assert_eq!((said.code, said.stderr.as_str()), (code, ""), "{}", said.stdout);
}

#[tokio::test]
async fn a_backend_that_is_there_and_tells_its_descriptors_passes() {
    let peer = Peer::with(REFLECTION, Script::reflects(&shop::DESCRIPTORS)).await;
    for descriptors in ["reflection", "shop.pb"] {
        let yaml = service(&format!("{{ address: \"{}\", descriptors: {descriptors} }}", peer.address()));
        expect(&yaml, 0, &[]).await;
    }
    let said = check(&service(&format!("{{ address: \"{}\" }}", peer.address())), &["--online"]).await;
    assert_eq!(said.stdout, "0 errors, 0 warnings (1 file, 1 route, 1 service)\n");
}

#[tokio::test]
async fn descriptors_that_are_told_are_compiled_with_the_routes() {
    let peer = Peer::with(REFLECTION, Script::reflects(&shop::DESCRIPTORS)).await;
    let yaml = service(&format!("{{ address: \"{}\" }}", peer.address()));
    expect(&yaml.replace("GetOrder", "GetNothing"), 1, &["error descriptors_failed"]).await;
    expect(&yaml.replace("{id}", "{nothing}"), 1, &["error invalid_path"]).await;
    expect(&yaml.replace("OrderService", "OtherService"), 1, &["error descriptors_failed"]).await;
    let silent = Peer::start().await;
    let yaml = service(&format!("{{ address: \"{}\" }}", silent.address()));
    expect(&yaml, 1, &["error descriptors_failed"]).await;
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_told_with_their_places() {
    let peer = Peer::start().await;
    let (open, closed) = (peer.address(), closed_port());
    let yaml = service(&format!(
        "{{ endpoints: [\"{open}\", \"{closed}\", \"nonexistent.invalid:1\"], descriptors: shop.pb }}"
    ));
    let said = check(&yaml, &["--online"]).await;
    let expected = format!(
        "error[connect_failed]: cannot connect to {closed}: connect: Connection refused (os error 111)
"
    );
    assert!(said.stdout.starts_with(&expected), "{}", said.stdout);
    assert!(
        said.stdout.contains("error[dns_failed]: the name \"nonexistent.invalid\" has no address\n"),
        "{}",
        said.stdout
    );
    assert_eq!(said.code, 1);
    // Nobody is there: that reflection has failed too is no second problem.
    expect(&service(&format!("{{ address: \"{closed}\" }}")), 1, &["error connect_failed"]).await;
    // Clear text where TLS is expected.
    expect(&service(&format!("{{ address: \"grpcs://{open}\", descriptors: shop.pb }}")), 1, &["error connect_failed"])
        .await;
}

#[tokio::test]
async fn taken_ports_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = format!(
        "listeners: [{{ name: a, address: \"{address}\" }}, {{ name: b, address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"{address}\" }}\nroutes: [{{ name: a, path: /a, respond: {{ text: a }} }}]\n"
    );
    let said = check(&yaml, &["--online", "--format", "json"]).await;
    assert!(
        problems(&said).iter().all(|problem| problem == "error port_in_use" || problem == "error duplicate"),
        "{}",
        said.stdout
    );
    drop(taken);
    let yaml = format!(
        "listeners: [{{ name: a, address: \"{address}\" }}]\nroutes: [{{ name: a, path: /a, respond: {{ text: a }} }}]\n"
    );
    expect(&yaml, 0, &[]).await;
    let elsewhere = yaml.replace(&address.to_string(), "192.0.2.1:8080");
    expect(&elsewhere, 1, &["error cannot_listen", "warning public_plaintext"]).await;
}

#[tokio::test]
async fn an_invalid_configuration_is_not_taken_online() {
    let yaml = service(&format!("{{ address: \"{}\", timout: 1s }}", closed_port()));
    let said = check(&yaml, &["--online", "--format", "json"]).await;
    assert_eq!((problems(&said), said.code), (vec!["error unknown_key".to_owned()], 78));
}

#[tokio::test]
async fn certificates_are_looked_at() {
    let folder = TempDir::new().unwrap();
    let listener = "listeners: [{ name: a, address: \"127.0.0.1:0\", tls: { cert: tls.crt, key: tls.key } }]\nroutes: [{ name: a, path: /a, respond: { text: a } }]\n";
    std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(listener)).unwrap();
    let arguments = ["check", "-c", "tidegate.yaml", "--format", "json"];
    let missing = output(BINARY, folder.path(), &arguments, "").await;
    assert_eq!((problems(&missing), missing.code), (vec!["error tls_failed".to_owned()], 78));
    let day = Duration::from_secs(24 * 3600);
    for (end, expected, code) in [
        (SystemTime::now() - day, Some("error certificate_expired"), 78),
        (SystemTime::now() + 5 * day, Some("warning certificate_expired"), 0),
        (SystemTime::now() + 60 * day, None, 0),
    ] {
        tls::write_certificate_until(folder.path(), end);
        let said = output(BINARY, folder.path(), &arguments, "").await;
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!((problems(&said), said.code), (expected, code), "{}", said.stdout);
    }
}

#[tokio::test]
async fn long_timeouts_and_drains_are_worth_a_warning() {
    let routes = |more: &str| {
        format!(
            "services: {{ shop: {{ address: \"127.0.0.1:9\", descriptors: shop.pb }} }}
routes:
  - {{ name: a, path: /a, service: shop, grpc: OrderService/GetOrder }}
  - {{ name: b, path: /b, service: shop, grpc: OrderService/GetOrder }}
  - {{ name: c, path: /c, service: shop, grpc: OrderService/WatchOrders, timeout: 2h }}
{more}
"
        )
    };
    for (more, expected) in [
        ("", &[][..]),
        ("defaults: { timeout: 60s }", &[]),
        ("defaults: { timeout: 61s }", &["warning long_timeout"]),
        ("defaults: { timeout: null }", &["warning long_timeout"]),
        ("drain: { readiness_delay: 15s, timeout: 30s }", &[]),
        ("drain: { readiness_delay: 16s }", &["warning long_drain"]),
    ] {
        let said = check(&routes(more), &["--format", "json"]).await;
        assert_eq!(
            (problems(&said), said.code),
            (expected.iter().map(|text| (*text).to_owned()).collect(), 0),
            "{more}"
        );
    }
    let said = check(&routes("defaults: { timeout: 2m }"), &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["problems"][0]["path"], &json["ok"]), (&json!("defaults.timeout"), &json!(true)));
}

#[tokio::test]
async fn keys_of_tokens_are_asked_for() {
    let issuer = Issuer::start(&[&Signer::new("one")]).await;
    let yaml = |url: &str| {
        format!(
            "auth: {{ default: [main], providers: {{ main: {{ type: jwt, jwks: \"{url}\" }} }} }}
routes: [{{ name: a, path: /a, respond: {{ text: a }}, auth_required: true }}]
"
        )
    };
    expect(&yaml(&format!("{}/jwks.json", issuer.url())), 0, &[]).await;
    expect(&yaml(&format!("http://{}/jwks.json", closed_port())), 1, &["error jwks_failed"]).await;
    issuer.rotate(&[]);
    expect(&yaml(&format!("{}/jwks.json", issuer.url())), 1, &["error jwks_failed"]).await;
}
