//! A text in place of the main file.

use tidegate::reload::{Outcome, Refusal};
use tidegate_testkit::Gateway;

use super::{ping, refused};

/// The text of the file that the gateway began with, with another answer.
fn text(gateway: &Gateway, answer: &str) -> Vec<u8> {
    let file = std::fs::read_to_string(gateway.folder().join("tidegate.yaml")).unwrap();
    file.replace("one", answer).into_bytes()
}

#[tokio::test]
async fn only_who_has_seen_the_configuration_in_force_may_replace_it() {
    let gateway = Gateway::start(&ping("one"));
    let (reloads, hash) = (gateway.reloads(), gateway.hash());
    let refusal = reloads.put(text(&gateway, "two"), "\"0123456789abcdef\"").await.unwrap_err();
    assert_eq!(refusal, Refusal::PreconditionFailed { hash: hash.as_str().into() });
    assert_eq!(gateway.get("/ping").await.text(), "one");
    let tag = format!("\"{hash}\"");
    assert!(matches!(reloads.put(text(&gateway, "two"), &tag).await, Ok(Outcome::Applied { generation: 2, .. })));
    assert_eq!(gateway.get("/ping").await.text(), "two");
    assert!(matches!(reloads.put(text(&gateway, "three"), &tag).await, Err(Refusal::PreconditionFailed { .. })));
    let bad = reloads.put("version: 1\nrotues: []".as_bytes(), &gateway.hash()).await.unwrap();
    assert!(refused(&bad).contains("rotues"));
    assert_eq!(gateway.get("/ping").await.text(), "two");
    gateway.stop().await;
}

#[tokio::test]
async fn the_files_come_back_when_they_change_or_are_asked_for() {
    let gateway = Gateway::start(&ping("one"));
    let put = async |answer: &str| {
        let outcome = gateway.reloads().put(text(&gateway, answer), "*").await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        assert_eq!(gateway.get("/ping").await.text(), answer);
    };
    put("two").await;
    assert!(matches!(gateway.look().await, Outcome::Unchanged), "the file has not changed");
    assert_eq!(gateway.get("/ping").await.text(), "two");
    assert!(matches!(gateway.reload().await, Outcome::Applied { .. }), "asked for");
    assert_eq!(gateway.get("/ping").await.text(), "one");
    put("two").await;
    gateway.write_config(&format!("{}# changed\n", ping("one")));
    assert!(matches!(gateway.look().await, Outcome::Applied { .. }));
    assert_eq!(gateway.get("/ping").await.text(), "one");
    gateway.stop().await;
}

#[tokio::test]
async fn the_text_includes_what_the_file_included() {
    let gateway = Gateway::start(&format!("include: [\"routes.d/*.yaml\"]\n{}", ping("one")));
    std::fs::create_dir(gateway.folder().join("routes.d")).unwrap();
    gateway.write("routes.d/a.yaml", ping("included").replace("ping", "extra"));
    assert!(matches!(gateway.look().await, Outcome::Applied { .. }));
    assert!(matches!(gateway.reloads().put(text(&gateway, "two"), "*").await, Ok(Outcome::Applied { .. })));
    assert_eq!(gateway.get("/ping").await.text(), "two");
    assert_eq!(gateway.get("/extra").await.text(), "included");
    gateway.write("routes.d/a.yaml", ping("changed").replace("ping", "extra"));
    assert!(matches!(gateway.look().await, Outcome::Applied { .. }));
    assert_eq!((gateway.get("/ping").await.text(), gateway.get("/extra").await.text()), ("one", "changed"));
    gateway.stop().await;
}

/// A certificate or a descriptor set that is replaced is no word about the configuration.
#[tokio::test]
async fn a_file_beside_the_configuration_leaves_the_text_in_force() {
    let peer =
        tidegate_testkit::Peer::with("GetOrder", tidegate_testkit::Script::ok(tidegate_testkit::shop::order())).await;
    let yaml = tidegate_testkit::shop::config(peer.address(), "").replace("get-order", "one");
    let gateway = Gateway::start(&yaml);
    assert!(matches!(gateway.reloads().put(text(&gateway, "two"), "*").await, Ok(Outcome::Applied { .. })));
    let source = tidegate_testkit::shop::PROTO.replace("bool verbose = 3;", "bool verbose = 3;\n  bool gift = 13;");
    gateway.write("shop.pb", tidegate_testkit::shop::descriptors_of(source.leak()));
    let Outcome::Applied { diff, .. } = gateway.look().await else { panic!("not applied") };
    assert!(diff.summary().starts_with("1 file changed") && diff.summary().contains("shop.pb"), "{}", diff.summary());
    let history = gateway.reloads().history().generations();
    assert!(history[1].diff.summary().contains("1 route added (two), 1 route removed (one)"), "{history:?}");
    assert_eq!(gateway.get("/v1/orders/7?gift=true").await.status, 200);
    gateway.stop().await;
}
