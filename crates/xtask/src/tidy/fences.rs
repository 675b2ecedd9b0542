//! Each library is named only where the table says, so that any of them can be replaced in one place.
//!
//! [`FENCES`] is the only place where that stands; `docs/dependencies.md` shows it by `xtask docs`. Customers and tools
//! (the core engine, the demo services, the test kit, the load generator, xtask) choose for themselves, and so do tests.

use std::fmt::Write as _;

use super::{Finding, Product};
use crate::rust::{Kind, Token, at};

const RULE: &str = "fences";

/// Where a library may be named.
pub(crate) struct Fence {
    /// As code names it.
    pub(crate) library: &'static str,
    /// Beginnings of paths below `crates/`.
    pub(crate) inside: &'static [&'static str],
    /// What it is there for; Markdown.
    pub(crate) purpose: &'static str,
}

const fn fence(library: &'static str, inside: &'static [&'static str], purpose: &'static str) -> Fence {
    Fence { library, inside, purpose }
}

/// In the order of the documentation.
pub(crate) const FENCES: &[Fence] = &[
    fence("hyper", &["tidegate/src/admin/socket", "tidegate/src/outbound"], "HTTP/1.1 of operators and control tasks"),
    fence("hyper_util", &["tidegate/src/admin/socket", "tidegate/src/outbound"], "adapters between hyper and tokio"),
    fence("axum", &["tidegate/src/admin"], "the admin API"),
    fence("futures_util", &["tidegate/src/admin/tap"], "the live view as a stream of events"),
    fence("h2", &["tidegate/src/listen/http2", "tidegate/src/upstream/"], "HTTP/2 of clients and of backends"),
    fence("rustls", &["tidegate/src/dial", "tidegate/src/listen/tls", "tidegate/src/listen/devcert"], "TLS"),
    fence(
        "tokio_rustls",
        &["tidegate/src/dial", "tidegate/src/listen/tls", "tidegate/src/listen/transport"],
        "TLS on sockets",
    ),
    fence("webpki", &["tidegate/src/listen/tls"], "names of clients' certificates"),
    fence("rustls_native_certs", &["tidegate/src/dial"], "root certificates of the system"),
    fence(
        "aws_lc_rs",
        &[
            "tidegate-jwt/src/",
            "tidegate/src/admin/guard",
            "tidegate/src/cli",
            "tidegate/src/dial",
            "tidegate/src/listen/tls",
            "tidegate/src/policy/authn",
            "tidegate/src/policy/limits/key",
            "tidegate/src/upstream/reflection",
            "tidegate/src/snapshot/inputs",
        ],
        "the one crypto library: TLS, signatures of tokens, names of buckets in Redis, digests of what reflection sends and of what a configuration was read from",
    ),
    fence("sha1_smol", &["tidegate-ws/src/handshake"], "the digest that answers a WebSocket key, which is no secret"),
    fence("redis", &["tidegate/src/redis"], "commands to Redis"),
    fence("quick_cache", &["tidegate/src/policy/authn/tokens"], "tokens that were verified"),
    fence("jsonschema", &["tidegate/src/policy/validate"], "schemas of bodies on HTTP routes"),
    fence("notify", &["tidegate/src/reload/watch"], "changes of files; not our module of that name"),
    fence("rcgen", &["tidegate/src/listen/devcert", "tidegate/src/listen/tls"], "development certificates"),
    fence("hickory_resolver", &["tidegate/src/upstream/resolve"], "names of endpoints"),
    fence(
        "flate2",
        &["tidegate/src/policy/compress", "tidegate/src/policy/decompress", "tidegate/src/upstream/call"],
        "gzip and deflate: answers, bodies of requests, messages of backends",
    ),
    fence(
        "zstd",
        &["tidegate/src/policy/compress", "tidegate/src/policy/decompress", "tidegate/src/upstream/call"],
        "Zstandard: answers, bodies of requests, messages of backends",
    ),
    fence("brotli", &["tidegate/src/policy/compress"], "Brotli: answers"),
    fence(
        "socket2",
        &[
            "tidegate/src/dial",
            "tidegate/src/listen/accept",
            "tidegate/src/listen/inherit",
            "tidegate/src/listen/transport",
        ],
        "options of sockets",
    ),
    fence(
        "rustix",
        &[
            "tidegate/src/listen/accept",
            "tidegate/src/listen/handover",
            "tidegate/src/listen/inherit",
            "tidegate/src/time",
        ],
        "the process's limit of open files, descriptors passed through Unix sockets, the monotonic clock",
    ),
    fence("sd_listen_fds", &["tidegate/src/listen/inherit"], "sockets from the service manager"),
    fence("minijinja", &["tidegate/src/action/envelope"], "expressions in envelopes"),
    fence("clap", &["tidegate/src/cli"], "the command line"),
    fence("tracing_subscriber", &["tidegate/src/telemetry"], "the process log"),
    fence("tikv_jemallocator", &["tidegate/src/main.rs"], "the allocator"),
    fence("mimalloc", &["tidegate/src/main.rs"], "the other allocator"),
    fence("prost_reflect", &["tidegate-transcode/src/schema"], "descriptor pools"),
    fence("protox", &["tidegate-transcode/src/schema"], "compiles `.proto` sources in process"),
    fence("sha2", &["tidegate-transcode/src/schema"], "the digest of a schema"),
    fence("granit_parser", &["tidegate-config/src/yaml"], "YAML events with positions"),
    fence("schemars", &["tidegate-config/src/"], "JSON Schema of the configuration"),
    fence("anyhow", &["tidegate/src/cli"], "errors of commands; everywhere else they are enums"),
    // Named nowhere in the product.
    fence("tonic", &[], "backends and tests only"),
    fence("tower", &[], "nowhere: the order of work is `pipeline.rs`"),
];

/// Crates whose sources are not fenced.
const FREE: &[&str] = &["core-engine", "demo-services", "loadgen", "protos", "tidegate-testkit", "xtask"];

/// Findings of the rule.
pub(crate) fn check(product: &[Product<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in product {
        let Some(inside) = file.path.strip_prefix("crates/") else { continue };
        if FREE.iter().any(|name| inside.starts_with(&format!("{name}/"))) {
            continue;
        }
        for (index, token) in file.tokens.iter().enumerate() {
            let Some(fence) = FENCES.iter().find(|fence| fence.library == token.text) else { continue };
            let allowed = fence.inside.iter().any(|beginning| inside.starts_with(beginning));
            if !allowed && names_a_crate(&file.tokens, index) {
                let text = format!("`{}` is fenced: {}", fence.library, places(fence));
                findings.push(Finding { path: file.path.to_owned(), line: token.line, rule: RULE, text });
            }
        }
    }
    findings
}

/// True for `h2::…`, `::h2::…`, `use h2;` and `use h2 as …`, false for `x::h2::…` and a variable `h2`.
fn names_a_crate(tokens: &[Token<'_>], index: usize) -> bool {
    let before = |back: usize| index.checked_sub(back).map_or("", |index| at(tokens, index));
    if before(1) == "." {
        return false;
    }
    if before(1) == "::" {
        // A path of something else, unless the colons open the path.
        let opener = index.checked_sub(2).and_then(|index| tokens.get(index));
        return opener.is_none_or(|token| token.kind == Kind::Sign && token.text != ">")
            || opener.is_some_and(|token| token.text == "use");
    }
    let declares = before(1) == "use" || (before(1) == "crate" && before(2) == "extern");
    at(tokens, index + 1) == "::" || declares
}

fn places(fence: &Fence) -> String {
    match fence.inside {
        [] => format!("never in the product ({})", fence.purpose),
        inside => format!("only in {}", inside.join(", ")),
    }
}

/// The table as Markdown.
pub(crate) fn markdown() -> String {
    let mut table = String::from("| library | for | may be named in `crates/…` |\n|---|---|---|\n");
    for fence in FENCES {
        let inside: Vec<String> = fence.inside.iter().map(|inside| format!("`{inside}`")).collect();
        let inside = if inside.is_empty() { "–".to_owned() } else { inside.join(", ") };
        let _ = writeln!(table, "| `{}` | {} | {inside} |", fence.library, fence.purpose);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{lines, product};
    use crate::tree::Tree;

    #[test]
    fn a_library_is_named_inside_its_fence_only() {
        for (path, text, found) in [
            ("tidegate/src/listen/http2.rs", "use h2::server;", false),
            ("tidegate/src/upstream/call.rs", "h2::Reason::CANCEL", false),
            ("tidegate/src/gateway.rs", "use h2::Reason;", true),
            ("tidegate/src/gateway.rs", "fn f(e: ::h2::Error) {}", true),
            ("tidegate/src/gateway.rs", "use ::h2::Error;", true),
            ("tidegate/src/gateway.rs", "use h2;", true),
            ("tidegate/src/gateway.rs", "use hyper as h;", true),
            ("tidegate/src/gateway.rs", "let h2 = settings.h2; x::h2::y()", false),
            ("tidegate/src/gateway.rs", "#[cfg(test)] mod tests { use h2::client; }", false),
            ("tidegate/src/gateway.rs", "/// [`h2::client`]\nstruct A;", false),
            ("tidegate-config/src/valid/mod.rs", "use tonic::Status;", true),
            ("core-engine/src/main.rs", "use tonic::Status;", false),
            ("tidegate/tests/it/main.rs", "use tonic::Status;", false),
        ] {
            let path = format!("crates/{path}");
            let tree = Tree::of(&[(path.as_str(), text)]);
            let findings = lines(&check(&product(&tree)));
            assert_eq!(!findings.is_empty(), found, "{text} {findings:?}");
        }
    }

    #[test]
    fn a_finding_tells_where_the_library_belongs() {
        let tree = Tree::of(&[("crates/tidegate/src/app.rs", "\nuse rcgen::KeyPair;")]);
        let expected = "crates/tidegate/src/app.rs:2: fences: `rcgen` is fenced: only in tidegate/src/listen/devcert, tidegate/src/listen/tls";
        assert_eq!(lines(&check(&product(&tree))), [expected]);
    }
}
