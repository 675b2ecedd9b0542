//! Clocks, tasks and the outside world are read in one place each, and by pure crates not at all.

use super::graph::{CRATES, Role};
use super::{Finding, Product};
use crate::rust::{Token, matches};

const RULE: &str = "clocks";

/// Something that code may say only in some places.
struct Limit {
    /// Tokens in a row; a last one that ends in `*` is a beginning.
    says: &'static [&'static str],
    /// Beginnings of paths below `crates/` that may.
    except: &'static [&'static str],
    instead: &'static str,
}

const fn limit(says: &'static [&'static str], except: &'static [&'static str], instead: &'static str) -> Limit {
    Limit { says, except, instead }
}

/// For the gateway.
const PRODUCT: &[Limit] = &[
    limit(&["Instant", "::", "now"], &["tidegate/src/time.rs"], "use `time::now`"),
    limit(&["SystemTime", "::", "now"], &["tidegate/src/time.rs"], "use `time::unix_ms`"),
    limit(&["tokio", "::", "spawn*"], &["tidegate/src/tasks.rs"], "use `tasks::spawn`, which guards against panics"),
    limit(&["task", "::", "spawn*"], &["tidegate/src/tasks.rs"], "use `tasks::spawn`, which guards against panics"),
];

/// For pure crates.
const PURE: &[Limit] = &[
    limit(&["Instant"], &[], "time is a parameter"),
    limit(&["SystemTime"], &[], "time is a parameter"),
    limit(&["env", "::"], &["tidegate-config/src/source"], "what comes from outside is a parameter"),
    limit(
        &["fs", "::"],
        &["tidegate-config/src/source", "tidegate-transcode/src/schema/source"],
        "what comes from outside is a parameter",
    ),
    limit(&["std", "::", "thread"], &[], "pure crates have no threads"),
    limit(&["std", "::", "process"], &[], "pure crates start nothing"),
    limit(&["TcpStream"], &[], "pure crates have no sockets"),
    limit(&["TcpListener"], &[], "pure crates have no sockets"),
    limit(&["UdpSocket"], &[], "pure crates have no sockets"),
    limit(&["UnixStream"], &[], "pure crates have no sockets"),
    limit(&["ToSocketAddrs"], &[], "pure crates have no sockets"),
    // The crypto library wants its own generator for signatures; tokens are signed for development only.
    limit(&["rand", "::"], &["tidegate-jwt/src/sign.rs"], "random bits are a parameter"),
    limit(&["fastrand", "::"], &[], "random bits are a parameter"),
];

/// Findings of the rule.
pub(crate) fn check(product: &[Product<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in product {
        let Some(inside) = file.path.strip_prefix("crates/") else { continue };
        let name = inside.split('/').next().unwrap_or("");
        let role = CRATES.iter().find(|known| known.name == name).map(|known| known.role);
        let limits = match role {
            Some(Role::Pure) => PURE,
            Some(Role::Product) => PRODUCT,
            Some(Role::Customer | Role::Tool | Role::Dev) | None => continue,
        };
        for limit in limits.iter().filter(|limit| !limit.except.iter().any(|path| inside.starts_with(path))) {
            for index in (0..file.tokens.len()).filter(|index| says(&file.tokens, *index, limit.says)) {
                let text = format!("`{}`: {}", limit.says.concat(), limit.instead);
                findings.push(Finding { path: file.path.to_owned(), line: file.tokens[index].line, rule: RULE, text });
            }
        }
    }
    findings
}

fn says(tokens: &[Token<'_>], index: usize, texts: &[&str]) -> bool {
    let Some((last, head)) = texts.split_last() else { return false };
    let Some(beginning) = last.strip_suffix('*') else { return matches(tokens, index, texts) };
    let tail = tokens.get(index + head.len());
    matches(tokens, index, head) && tail.is_some_and(|token| token.text.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{lines, product};
    use crate::tree::Tree;

    #[test]
    fn clocks_tasks_and_the_outside_world_have_one_place_each() {
        for (path, text, found) in [
            ("tidegate/src/time.rs", "SystemTime::now()", false),
            ("tidegate/src/gateway.rs", "std::time::SystemTime::now()", true),
            ("tidegate/src/gateway.rs", "tokio::time::Instant::now()", true),
            ("tidegate/src/gateway.rs", "started: Instant", false),
            ("tidegate/src/gateway.rs", "tokio::spawn(x)", true),
            ("tidegate/src/gateway.rs", "tokio::task::spawn_blocking(x)", true),
            ("tidegate/src/gateway.rs", "tasks::spawn(\"x\", y); thread::spawn(z)", false),
            ("tidegate/src/gateway.rs", "#[cfg(test)] mod tests { fn f() { tokio::spawn(x) } }", false),
            ("tidegate/src/tasks.rs", "tokio::spawn(x)", false),
            ("tidegate-route/src/lib.rs", "use std::time::Instant;", true),
            ("tidegate-route/src/lib.rs", "use std::time::Duration;", false),
            ("tidegate-route/src/lib.rs", "env!(\"X\")", false),
            ("tidegate-config/src/expand.rs", "std::env::var(\"X\")", true),
            ("tidegate-config/src/source.rs", "std::env::var(\"X\")", false),
            ("tidegate-config/src/valid/listener.rs", "use std::net::SocketAddr;", false),
            ("tidegate-config/src/valid/listener.rs", "use std::net::TcpListener;", true),
            ("core-engine/src/main.rs", "Instant::now()", false),
        ] {
            let path = format!("crates/{path}");
            let tree = Tree::of(&[(path.as_str(), text)]);
            let findings = lines(&check(&product(&tree)));
            assert_eq!(!findings.is_empty(), found, "{text} {findings:?}");
        }
    }
}
