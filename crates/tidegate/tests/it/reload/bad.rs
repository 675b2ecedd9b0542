//! Bad configurations of every kind: each is refused, says what is wrong and where, and changes nothing.

use std::net::TcpListener;

use tempfile::TempDir;
use tidegate::reload::Outcome;
use tidegate_config::Severity;
use tidegate_testkit::{Gateway, Peer, Script, gateway, shop, tls};

use super::{ping, refused};

/// Where a problem must be told to be.
enum Told {
    /// At a line of a file.
    Line,
    /// In a file as a whole, which the message names: nothing of it could be read.
    File,
}
use Told::{File, Line};

/// A configuration that has what every one needs, and then this.
fn usual(yaml: &str) -> Vec<u8> {
    gateway::complete(yaml).into_bytes()
}

/// The shop with one setting replaced.
fn shop(from: &str, to: &str) -> Vec<u8> {
    let yaml = shop::config("127.0.0.1:9".parse().unwrap(), "");
    assert!(yaml.contains(from), "{from}");
    usual(&yaml.replacen(from, to, 1))
}

/// What is wrong, the text of the file, a word that must be told, and where.
type Case = (&'static str, Vec<u8>, &'static str, Told);

fn not_yaml() -> Vec<Case> {
    let whole = gateway::complete(&ping("one"));
    let half = whole.as_bytes()[..whole.len() - 9].to_vec();
    let nested = usual(&format!("routes: {}", "[".repeat(10_000)));
    let laughs: String = (1..30).fold("a0: &a0 [x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let before = n - 1;
        format!("{text}a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n")
    });
    vec![
        ("an open bracket", usual("routes: ["), "error[syntax]", Line),
        ("a tab", usual("routes:\n\t- x"), "error[syntax]", Line),
        ("an open quote", usual("routes: \"x"), "error[syntax]", Line),
        ("half of a file", half, "error[syntax]", Line),
        ("an empty file", Vec::new(), "error[wrong_type]", Line),
        ("a comment alone", b"# nothing\n".to_vec(), "error[wrong_type]", Line),
        ("a text alone", b"tidegate".to_vec(), "error[wrong_type]", Line),
        ("a list alone", b"- version: 1\n".to_vec(), "error[wrong_type]", Line),
        ("two documents", usual(&format!("{}---\n{}", ping("one"), ping("two"))), "error[syntax]", Line),
        ("NUL bytes", [whole.as_bytes(), b"\0\0"].concat(), "error[syntax]", Line),
        (
            "bytes that are no text",
            b"version: 1\n\xff\xfe\x00\x01\x80".to_vec(),
            "tidegate.yaml: line 2 is not UTF-8",
            File,
        ),
        ("17 MiB", [whole.as_bytes(), &vec![b'#'; 17 << 20]].concat(), "tidegate.yaml: larger than 16 MiB", File),
        ("an alias that contains itself", usual("routes: &a [*a]"), "error[syntax]", Line),
        ("an alias of nothing", usual("routes: *nothing"), "error[syntax]", Line),
        ("ten thousand brackets", nested, "error[syntax]", Line),
        ("aliases without end", usual(&laughs), "error[syntax]", Line),
        ("the same key twice", usual(&format!("{}{}", ping("one"), ping("two"))), "error[duplicate_key]", Line),
    ]
}

fn not_a_configuration() -> Vec<Case> {
    let listeners = |list: &str| usual(&format!("listeners: {list}\n{}", ping("one")));
    let route = |route: &str| usual(&format!("routes: [{{ name: ping, {route} }}]\n"));
    let respond = "respond: { text: one }";
    vec![
        ("no version", ping("one").into_bytes(), "version", Line),
        ("another version", usual("version: 2\n"), "version", Line),
        ("an unknown key", usual("rotues: []"), "did you mean \"routes\"", Line),
        ("an unknown key of a route", route("pth: /ping, respond: { text: one }"), "did you mean \"path\"", Line),
        (
            "a number without unit",
            usual(&format!("drain: {{ timeout: 5 }}\n{}", ping("one"))),
            "error[missing_unit]",
            Line,
        ),
        (
            "an unknown unit",
            usual(&format!("drain: {{ timeout: 5 parsecs }}\n{}", ping("one"))),
            "error[invalid_value]",
            Line,
        ),
        (
            "a negative time",
            usual(&format!("drain: {{ timeout: -5s }}\n{}", ping("one"))),
            "error[invalid_value]",
            Line,
        ),
        ("a text for a list", usual("routes: ping"), "error[wrong_type]", Line),
        ("a list for a map", usual("services: [shop]"), "error[wrong_type]", Line),
        ("no listener", listeners("[]"), "error[missing_key]", Line),
        ("a listener without address", listeners("[{ name: main }]"), "address", Line),
        ("an address of words", listeners("[{ name: main, address: nowhere }]"), "nowhere", Line),
        (
            "a listener's name twice",
            listeners("[{ name: main, address: \"127.0.0.1:0\" }, { name: main, address: \"127.0.0.1:1\" }]"),
            "main",
            Line,
        ),
        (
            "an address twice",
            listeners("[{ name: main, address: \"127.0.0.1:7\" }, { name: other, address: \"127.0.0.1:7\" }]"),
            "127.0.0.1:7",
            Line,
        ),
        ("no workers", usual(&format!("runtime: {{ workers: 0 }}\n{}", ping("one"))), "error[invalid_value]", Line),
        ("a level that is none", usual("observability: { logs: { level: loud } }"), "loud", Line),
        ("an open admin listener", usual("admin: { address: \"0.0.0.0:9901\" }"), "token", Line),
        (
            "a route's name twice",
            usual("routes: [{ name: a, path: /a, respond: {} }, { name: a, path: /b, respond: {} }]"),
            "error[duplicate]",
            Line,
        ),
        (
            "a path twice",
            usual("routes: [{ name: a, path: /a, respond: {} }, { name: b, path: /a, respond: {} }]"),
            "error[duplicate_route]",
            Line,
        ),
        ("a route that does nothing", route("path: /ping"), "error[missing_key]", Line),
        (
            "a route that does two things",
            route(&format!("path: /ping, {respond}, service: a, grpc: B/C")),
            "error[unknown_name]",
            Line,
        ),
        ("a path without slash", route(&format!("path: ping, {respond}")), "error[invalid_path]", Line),
        ("an open variable", route(&format!("path: \"/a/{{b\", {respond}")), "error[invalid_path]", Line),
        ("a variable twice", route(&format!("path: \"/{{b}}/{{b}}\", {respond}")), "error[invalid_path]", Line),
        (
            "a method of two words",
            route(&format!("path: /a, method: \"GE T\", {respond}")),
            "error[invalid_value]",
            Line,
        ),
        ("a status that is none", route("path: /a, respond: { status: 99 }"), "error[invalid_value]", Line),
        (
            "a variable that is not set",
            route("path: /a, respond: { text: \"${TIDEGATE_NOT_SET}\" }"),
            "TIDEGATE_NOT_SET",
            Line,
        ),
        ("a secret that is not there", route("path: /a, respond: { text: \"${file:missing}\" }"), "missing", Line),
        ("an open expansion", route("path: /a, respond: { text: \"${A\" }"), "error[expansion]", Line),
        ("an expansion of no name", route("path: /a, respond: { text: \"${a b}\" }"), "error[expansion]", Line),
        ("an include that is not there", usual("include: [missing.yaml]"), "missing.yaml", Line),
        ("an include of itself", usual("include: [tidegate.yaml]"), "error[duplicate]", Line),
        ("an include twice", usual("include: [good.yaml, good.yaml]"), "error[duplicate]", Line),
        ("a folder as include", usual("include: [folder]"), "folder", Line),
        ("an include of bytes", usual("include: [bytes.yaml]"), "bytes.yaml", Line),
        ("an include with an unknown key", usual("include: [unknown.yaml]"), "unknown.yaml:2", Line),
    ]
}

fn not_a_service() -> Vec<Case> {
    let ca = |tls: &str| shop("descriptors: shop.pb", &format!("descriptors: shop.pb, tls: {{ {tls} }}"));
    vec![
        ("a service that is not there", shop("service: shop", "service: shopp"), "did you mean", Line),
        ("an endpoint without port", shop("127.0.0.1:9", "127.0.0.1"), "error[invalid_value]", Line),
        ("an endpoint with port 0", shop("127.0.0.1:9", "127.0.0.1:0"), "error[invalid_value]", Line),
        (
            "fewer connections than there must be",
            shop("shop.pb", "shop.pb, connections: { min: 3, max: 2 }"),
            "error[invalid_value]",
            Line,
        ),
        ("descriptors that are not there", shop("shop.pb", "missing.pb"), "missing.pb", Line),
        ("descriptors that are none", shop("shop.pb", "bytes.yaml"), "error[descriptors_failed]", Line),
        ("sources with a mistake", shop("shop.pb", "[mistake.proto]"), "mistake.proto", Line),
        ("sources without what they import", shop("shop.pb", "[lonely.proto]"), "nowhere.proto", Line),
        ("a method that is not there", shop("OrderService/GetOrder", "OrderService/GetOder"), "GetOder", Line),
        ("a method without service", shop("shop.v1.OrderService/GetOrder", "GetOrder"), "error[invalid_value]", Line),
        ("a body that is no field", shop("body: order", "body: oder"), "oder", Line),
        ("a variable that is no field", shop("/v1/orders/{id}", "/v1/orders/{idd}"), "idd", Line),
        ("an envelope that is not there", shop("/GetOrder }", "/GetOrder, envelope: none }"), "none", Line),
        (
            "an envelope with a broken expression",
            usual(
                "defaults: { envelope: e, errors: { format: envelope } }\nenvelopes: { e: { error: { a: \"{{ message / }}\" } } }",
            ),
            "error[invalid_envelope]",
            Line,
        ),
        ("roots that are not there", ca("ca: missing.crt"), "missing.crt", Line),
        ("roots that are none", ca("ca: bytes.yaml"), "bytes.yaml", Line),
        ("a key that is not the certificate's", ca("cert: tls.crt, key: other.key"), "error[tls_failed]", Line),
    ]
}

fn not_a_listener(taken: &str) -> Vec<Case> {
    let listeners = |more: &str| {
        let main = "{ name: main, address: \"127.0.0.1:0\" }";
        usual(&format!("listeners: [{main}, {{ name: more, {more} }}]\n{}", ping("two")))
    };
    let tls = |tls: &str| listeners(&format!("address: \"127.0.0.1:0\", tls: {{ {tls} }}"));
    vec![
        ("a port that is taken", listeners(&format!("address: \"{taken}\"")), "in use", Line),
        ("a certificate that is not there", tls("cert: missing.crt, key: tls.key"), "missing.crt", Line),
        ("a certificate that is none", tls("cert: bytes.yaml, key: tls.key"), "bytes.yaml", Line),
        ("a key of another certificate", tls("cert: tls.crt, key: other.key"), "error[tls_failed]", Line),
    ]
}

fn files() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    let (_, key) = tls::write_certificate(folder.path());
    std::fs::rename(key, folder.path().join("other.key")).unwrap();
    tls::write_certificate(folder.path());
    write("good.yaml", b"routes: [{ name: good, path: /good, respond: {} }]\n");
    write("bytes.yaml", b"\xff\xfe\x00");
    write("unknown.yaml", b"routes: []\nrotues: []\n");
    write("mistake.proto", b"syntax = \"proto3\"; message A { int64 }");
    write("lonely.proto", b"syntax = \"proto3\"; import \"nowhere.proto\";");
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    folder
}

#[tokio::test]
async fn bad_configurations_of_every_kind_change_nothing() {
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    let good = shop::config(peer.address(), "")
        .replace("\nroutes:", "\nroutes:\n  - { name: ping, path: /ping, respond: { text: one } }");
    let gateway = Gateway::start_in(files(), &good);
    let main = gateway.folder().join("tidegate.yaml");
    let mut kinds = 0;
    for cases in [not_yaml(), not_a_configuration(), not_a_service(), not_a_listener(&taken.0)] {
        for (what, yaml, word, told) in cases {
            gateway.write("tidegate.yaml", yaml);
            let outcome = gateway.reload().await;
            let Outcome::Rejected { diagnostics } = &outcome else { panic!("{what}: {outcome:?}") };
            let text = diagnostics.to_text();
            assert!(text.contains(word), "{what}: {word:?} is not in\n{text}");
            for problem in diagnostics.problems().iter().filter(|problem| problem.severity == Severity::Error) {
                match (&told, &problem.place) {
                    (Line, Some(place)) => assert!(place.line > 0 && place.file.ends_with(".yaml"), "{what}: {text}"),
                    (File, None) => assert!(problem.message.contains("tidegate.yaml"), "{what}: {text}"),
                    _ => panic!("{what} is told at the wrong place:\n{text}"),
                }
            }
            assert_eq!(gateway.get("/ping").await.text(), "one", "{what}");
            assert_eq!(gateway.generation(), 1, "{what}");
            kinds += 1;
        }
    }
    // And no file at all, or a folder in its place.
    std::fs::remove_file(&main).unwrap();
    assert!(refused(&gateway.reload().await).contains("tidegate.yaml: no such file"));
    std::fs::create_dir(&main).unwrap();
    assert!(refused(&gateway.reload().await).contains("tidegate.yaml"));
    std::fs::remove_dir(&main).unwrap();
    kinds += 2;
    assert!(kinds >= 50, "{kinds} kinds");

    assert_eq!(gateway.get("/v1/orders/7").await.text(), shop::ORDER_JSON);
    gateway.write_config(&good);
    assert!(matches!(gateway.reload().await, Outcome::Unchanged));
    assert_eq!(gateway.generation(), 1);
    gateway.stop().await;
}
