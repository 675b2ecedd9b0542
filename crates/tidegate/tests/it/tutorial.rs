//! `docs/why-was-my-request-refused.md` is run: its configuration, its commands in their order, and their outputs.
//!
//! Addresses of the page are replaced by free ones on the way in and put back on the way out. `…` in an expected line
//! stands for any text, each line `…` alone for any lines. With `SHOW_TUTORIAL` set, what was really printed is shown.

use std::net::TcpListener;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tidegate_testkit::client::Http1;
use tidegate_testkit::peer::own_ip;
use tidegate_testkit::program::output;
use tidegate_testkit::{Answer, Peer, Program, Request, Script, eventually, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const PAGE: &str = include_str!("../../../../docs/why-was-my-request-refused.md");

/// A command, and the lines that the page shows below it.
struct Step {
    command: String,
    expected: Vec<String>,
}

/// The text of all fenced blocks of this kind.
fn blocks(kind: &str) -> Vec<String> {
    let opening = format!("```{kind}\n");
    let rest = PAGE.split(&opening).skip(1);
    rest.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks("console") {
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
                None => steps.last_mut().unwrap().expected.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Splits a command as a shell does, as far as the page needs it.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Whether `line` is `pattern`, in which `…` stands for any text.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Whether `lines` are `patterns`; one that is `…` alone stands for any lines.
fn all_fit(patterns: &[String], lines: &[&str]) -> bool {
    let Some((first, rest)) = patterns.split_first() else { return lines.is_empty() };
    if first == "…" {
        return (0..=lines.len()).any(|skipped| all_fit(rest, &lines[skipped..]));
    }
    lines.split_first().is_some_and(|(line, others)| fits(first, line) && all_fit(rest, others))
}

/// `curl` with the options that the page uses.
async fn curl(arguments: &[String]) -> String {
    let mut request = Request::new("GET", "");
    let mut head = false;
    let mut arguments = arguments.iter();
    let mut address = String::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-s" => {}
            "-i" => head = true,
            "-X" => request.method.clone_from(arguments.next().unwrap()),
            "-d" => request = request.body(arguments.next().unwrap()),
            "-H" => {
                let (name, value) = arguments.next().unwrap().split_once(": ").unwrap();
                request = request.header(name, value);
            }
            url => {
                let (host, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
                request.target = format!("/{target}");
                request = request.header("host", host).header("user-agent", "curl/8.5.0");
                address = host.to_owned();
            }
        }
    }
    let answer = Http1::connect(address.parse().unwrap()).await.send(&request).await;
    if head { format!("{}{}\n", heads(&answer), answer.text()) } else { format!("{}\n", answer.text()) }
}

fn heads(answer: &Answer) -> String {
    let status = http::StatusCode::from_u16(answer.status).unwrap();
    let mut text = format!("HTTP/1.1 {status}\n");
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text + "\n"
}

/// The lines of the access log, once there are `number` of them.
async fn log(folder: &Path, number: usize) -> Vec<String> {
    let lines = || {
        let text = std::fs::read_to_string(folder.join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("the lines are written", || async { lines().len() >= number }).await;
    lines()
}

/// A shop that serves order 7 once, and then says no in three ways.
async fn backend() -> Peer {
    let retry = json!({
        "code": 8,
        "message": "three invoices a minute",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20s"}],
    });
    let peer = Peer::with("GetOrder", Script::ok(shop::order())).await;
    peer.on("CreateOrder", Script::fails(7, "only sellers may create orders"));
    let details = shop::details(retry);
    peer.on("Download", Script::new().status_with(8, "three invoices a minute", "grpc-status-details-bin", &details));
    peer
}

#[tokio::test]
async fn the_page_about_refusals_is_true() {
    let peer = backend().await;
    // Held together, so that no two are the same.
    let held = [(); 3].map(|()| TcpListener::bind((own_ip(), 0)).unwrap());
    let [main, reports, admin] = held.map(|port| port.local_addr().unwrap().to_string());
    let free = [main, peer.address().to_string(), reports, admin];
    let written = ["127.0.0.1:8080", "127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:9901"];
    let there = |text: &str| written.iter().zip(&free).fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let back = |text: &str| written.iter().zip(&free).fold(text.to_owned(), |text, (to, from)| text.replace(from, to));
    let folder = TempDir::new().unwrap();
    shop::write_files(folder.path());
    let [yaml] = blocks("yaml").try_into().unwrap();
    std::fs::write(folder.path().join("tidegate.yaml"), there(&yaml) + "\n").unwrap();
    let mut program = Program::run_in(BINARY, folder, "tidegate.yaml", &[]);
    program.listener("main").await;
    let folder = program.folder().to_owned();
    let (mut requests, mut ran) = (0, 0);
    for Step { command, expected } in steps() {
        let words = words(&there(&command));
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let printed = match words[0].as_str() {
            "tidegate" => output(BINARY, &folder, &arguments, "").await.stdout,
            "curl" => {
                let printed = curl(&words[1..]).await;
                requests += 1;
                log(&folder, requests).await;
                // From the second request on the shop wants to know who asks.
                peer.on("GetOrder", Script::fails(16, "the token has expired"));
                printed
            }
            "tail" if arguments == ["-n", "1", "access.log"] => log(&folder, requests).await.pop().unwrap() + "\n",
            "grep" if arguments[1] == "access.log" => {
                let lines = log(&folder, requests).await;
                lines.into_iter().filter(|line| line.contains(arguments[0])).map(|line| line + "\n").collect()
            }
            other => panic!("the page has the command {other}, which this test does not know"),
        };
        let printed = back(&printed);
        if std::env::var_os("SHOW_TUTORIAL").is_some() {
            println!("$ {command}\n{printed}");
        }
        let lines: Vec<&str> = printed.lines().collect();
        assert!(all_fit(&expected, &lines), "$ {command}\n{printed}\nexpected:\n{}", expected.join("\n"));
        ran += 1;
    }
    assert!(ran >= 15, "only {ran} commands");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[test]
fn a_gap_stands_for_any_text_and_nothing_else_does() {
    for (pattern, line, expected) in [
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("a…c", "abbc", true),
        ("a…c", "abb", false),
        ("…b…", "abc", true),
        ("a…b…a", "a b", false),
        ("…", "", true),
    ] {
        assert_eq!(fits(pattern, line), expected, "{pattern} {line}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(all_fit(&lines("a\n…\nz"), &["a", "b", "c", "z"]));
    assert!(!all_fit(&lines("a\n…\nz"), &["a"]));
    assert!(all_fit(&lines("…\nb\n…\nz"), &["a", "b", "z"]));
    assert!(!all_fit(&lines("…\nb\n…\nz"), &["a", "c", "z"]));
    assert!(!all_fit(&lines("a\nb"), &["a", "b", "c"]));
}
