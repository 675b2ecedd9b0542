//! Near misses on routes that answer by themselves; calls are in `tests/it/explain.rs`.

use std::path::Path;
use std::sync::Arc;

use tidegate_config::source::Memory;

use super::*;

fn snapshot(routes: &str) -> Snapshot {
    let text = format!(
        "version: 1\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\nroutes:\n{routes}\nsystem_routes: {{ health: null, liveness: null, readiness: null, version: null }}\n"
    );
    let source = Memory { files: [("a.yaml".into(), text.into())].into(), ..Memory::default() };
    let loaded =
        tidegate_config::load(&source, Path::new("a.yaml")).unwrap_or_else(|problems| panic!("{}", problems.to_text()));
    crate::app::draft(&Arc::new(loaded.valid)).unwrap()
}

fn asked(snapshot: &Snapshot, method: &str, url: &str) -> Explanation {
    explain(snapshot, &Question::new(method, url, &[]).unwrap())
}

#[test]
fn the_nearest_come_first_and_ties_are_in_the_order_of_the_file() {
    let names = ["one", "two", "three"]
        .map(|name| format!("  - {{ name: {name}, path: /{name}/x, respond: {{ text: a }} }}\n"));
    let snapshot = snapshot(&names.concat());
    let order = |url: &str| -> Vec<String> {
        let explanation = asked(&snapshot, "GET", url);
        explanation.rejected.into_iter().map(|other| other.route).take(3).collect()
    };
    assert_eq!(order("/nothing"), ["one", "two", "three"]);
    assert_eq!(order("/threee/x"), ["three", "one", "two"]);
    assert_eq!(order("/TWO/x"), ["two", "one", "three"]);
    assert_eq!(order("/one/x"), ["two", "three", "system-grpc-health"]);
}

#[test]
fn at_most_ten_are_told_of_many() {
    let routes: String =
        (0..500).map(|n| format!("  - {{ name: r{n}, path: /r{n}, respond: {{ text: a }} }}\n")).collect();
    let snapshot = snapshot(&routes);
    let explanation = asked(&snapshot, "GET", "/r499/");
    assert_eq!((explanation.rejected.len(), explanation.rejected_more), (10, snapshot.routes.len() - 10));
    assert_eq!(explanation.rejected[0].route, "r499");
    assert!(explanation.to_text().ends_with(&format!("  … and {} more\n", snapshot.routes.len() - 10)));
}

#[test]
fn nothing_in_a_request_steers_the_terminal() {
    let snapshot = snapshot("  - { name: a, path: \"/a/{x}\", respond: { text: a } }\n");
    let headers = [("host".to_owned(), "a\u{a0}\u{202e}b".to_owned())];
    for (url, headers) in [("/a/%1b%5b31m", &[][..]), ("/a/x\u{202e}y", &[]), ("/a/%C2%9B", &[]), ("/a/b", &headers)] {
        let Ok(question) = Question::new("GET", url, headers) else { continue };
        let text = explain(&snapshot, &question).to_text();
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(steers), "{url}: {text:?}");
    }
}

#[test]
fn an_explanation_survives_the_way_to_the_command_line() {
    let snapshot = snapshot("  - { name: a, path: \"/a/{x}\", hosts: [a.test], respond: { text: a } }\n");
    for url in ["http://a.test/a/b", "/a/b", "/a//b"] {
        let explanation = asked(&snapshot, "GET", url);
        let json = serde_json::to_string(&explanation).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
    }
}
