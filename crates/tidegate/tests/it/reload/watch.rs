//! The program sees by itself that its files have changed, however they are replaced.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tidegate_testkit::client::Http1;
use tidegate_testkit::{Peer, Program, Script, eventually, gateway, get, shop};

use super::ping;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

async fn text(address: SocketAddr, path: &str) -> String {
    Http1::connect(address).await.send(&get(path)).await.text().to_owned()
}

async fn says(address: SocketAddr, path: &str, expected: &str) {
    eventually(&format!("{path} says {expected}"), || async { text(address, path).await == expected }).await;
}

fn rename_over(path: &Path, content: impl AsRef<[u8]>) {
    let fresh = path.with_extension("fresh");
    std::fs::write(&fresh, content).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test]
async fn a_file_that_is_renamed_over_or_written_in_place_is_seen() {
    let mut program = Program::run(BINARY, &ping("one"));
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    let path = program.folder().join("tidegate.yaml");
    rename_over(&path, gateway::complete(&ping("two")));
    says(address, "/ping", "two").await;
    std::fs::write(&path, gateway::complete(&ping("three"))).unwrap();
    says(address, "/ping", "three").await;
    // Half of a file is refused, and the whole one taken when it is there.
    let whole = gateway::complete(&ping("four"));
    std::fs::write(&path, &whole[..whole.len() - 12]).unwrap();
    let refused = program.logged("configuration refused").await;
    assert!(refused.contains("tidegate.yaml:"), "{refused}");
    assert_eq!(text(address, "/ping").await, "three");
    std::fs::write(&path, &whole).unwrap();
    says(address, "/ping", "four").await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

/// As Kubernetes does it: every file is a link through `..data`, and that is replaced.
#[tokio::test]
async fn a_swapped_configmap_is_seen() {
    let folder = TempDir::new().unwrap();
    let mount = folder.path().join("mount");
    let version = |name: &str, answer: &str| {
        let data = mount.join(name);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(
            data.join("tidegate.yaml"),
            gateway::complete(&format!("include: [\"*.part.yaml\"]\n{}", ping(answer))),
        )
        .unwrap();
        std::fs::write(data.join("a.part.yaml"), ping(answer).replace("ping", "part")).unwrap();
        symlink(name, mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    version("..2026_01", "one");
    for file in ["tidegate.yaml", "a.part.yaml"] {
        symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let mut program = Program::run_in(BINARY, folder, "mount/tidegate.yaml", &[]);
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    assert_eq!(text(address, "/part").await, "one");
    for number in 2..5 {
        version(&format!("..2026_0{number}"), &format!("n{number}"));
        std::fs::remove_dir_all(mount.join(format!("..2026_0{}", number - 1))).unwrap();
        says(address, "/ping", &format!("n{number}")).await;
        assert_eq!(text(address, "/part").await, format!("n{number}"));
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn files_that_a_pattern_finds_come_and_go() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("routes.d")).unwrap();
    let yaml = format!("include: [\"routes.d/*.yaml\"]\n{}", ping("one"));
    std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(&yaml)).unwrap();
    let mut program = Program::run_in(BINARY, folder, "tidegate.yaml", &[]);
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    let extra = program.folder().join("routes.d/extra.yaml");
    std::fs::write(&extra, ping("included").replace("ping", "extra")).unwrap();
    says(address, "/extra", "included").await;
    std::fs::remove_file(extra).unwrap();
    eventually("it is gone", || async { Http1::connect(address).await.send(&get("/extra")).await.status == 404 }).await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn descriptors_and_secrets_elsewhere_are_seen() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let elsewhere = TempDir::new().unwrap();
    shop::write_files(elsewhere.path());
    let (set, secret) = (elsewhere.path().join("shop.pb"), elsewhere.path().join("secret"));
    std::fs::write(&secret, "one\n").unwrap();
    let yaml = shop::config(peer.address(), "").replace("shop.pb", set.to_str().unwrap()).replace(
        "\nroutes:",
        &format!(
            "\nroutes:\n  - {{ name: ping, path: /ping, respond: {{ text: \"${{file:{}}}\" }} }}",
            secret.display()
        ),
    );
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    assert_eq!(text(address, "/ping").await, "one");
    rename_over(&secret, "two\n");
    says(address, "/ping", "two").await;
    assert!(!program.log().contains("two"), "secrets are not shown: {}", program.log());
    let source = shop::PROTO.replace("bool verbose = 3;", "bool verbose = 3;\n  bool gift = 13;");
    rename_over(&set, shop::descriptors_of(source.leak()));
    says(address, "/v1/orders/7?gift=true", shop::ORDER_JSON).await;
    assert_eq!(peer.connections(), 1);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn hup_reads_again_and_tells_when_there_was_nothing() {
    let mut program = Program::run(BINARY, &ping("one"));
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    program.hang_up();
    program.logged("nothing to reload").await;
    rename_over(&program.folder().join("tidegate.yaml"), gateway::complete(&ping("two")));
    program.hang_up();
    says(address, "/ping", "two").await;
    let line = program.logged("\"reloaded\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["generation"], 2, "{line}");
    assert_eq!(line["changes"], "1 route changed (ping)", "{line}");
    assert_eq!(line["hash"].as_str().unwrap().len(), 16, "{line}");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

/// Standard input can be read but once, so what came from it stays.
#[tokio::test]
async fn a_configuration_from_standard_input_stays_on_hup() {
    let mut program = Program::run_with_input(BINARY, TempDir::new().unwrap(), &gateway::complete(&ping("one"))).await;
    let address = program.listener("main").await;
    program.logged("\"started\"").await;
    program.hang_up();
    program.logged("nothing to reload").await;
    assert_eq!(text(address, "/ping").await, "one");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}
