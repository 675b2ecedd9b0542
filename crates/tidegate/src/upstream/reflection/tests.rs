//! Conversations with a scripted reflection server.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Buf;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::upstream::tests::{Incoming, backend, cluster, grpc_head, listen, serve_on, soon, trailers, usual};

/// Name, imports.
type Script = &'static [(&'static str, &'static [&'static str])];

const WORKER: u16 = 0;

const SHOP: Script = &[
    ("shop/orders.proto", &["shop/money.proto", "google/api/annotations.proto", "google/protobuf/empty.proto"]),
    ("shop/money.proto", &["shop/base.proto"]),
    ("shop/base.proto", &[]),
    ("google/protobuf/empty.proto", &[]),
    ("other.proto", &[]),
];

fn file(script: Script, name: &str) -> Option<Bytes> {
    let (name, imports) = script.iter().find(|(known, _)| *known == name)?;
    let dependency = imports.iter().map(|import| (*import).to_owned()).collect();
    Some(wire::FileHeader { name: (*name).to_owned(), dependency }.encode_to_vec().into())
}

/// Answers one question. Services are `shop.v1.Orders` in the first file and `other.Service` in the last.
fn reply(script: Script, question: &wire::Request) -> wire::Response {
    let mut response = wire::Response::default();
    if question.list_services.is_some() {
        let names = ["shop.v1.Orders", "other.Service", "grpc.reflection.v1.ServerReflection"];
        let service = names.iter().map(|name| wire::ServiceName { name: (*name).to_owned() }).collect();
        response.services = Some(wire::Services { service });
        return response;
    }
    let name = match question.file_containing_symbol.as_deref() {
        Some("shop.v1.Orders") => script.first().map(|(name, _)| *name),
        Some("other.Service") => script.last().map(|(name, _)| *name),
        Some(_) => None,
        None => question.file_by_filename.as_deref(),
    };
    match name.and_then(|name| file(script, name)) {
        Some(file) => response.files = Some(wire::Files { encoded: vec![file] }),
        None => response.error = Some(wire::Error { code: 5, message: "not found".into() }),
    }
    response
}

/// Serves reflection by `script` under `version`; tells each question.
async fn serve(script: Script, version: &'static str, questions: mpsc::Sender<wire::Request>, incoming: Incoming) {
    let (request, mut respond) = incoming;
    if !request.uri().path().starts_with(&format!("/grpc.reflection.{version}.")) {
        let mut head = grpc_head();
        head.headers_mut().extend(trailers("12"));
        respond.send_response(head, true).unwrap();
        return;
    }
    let mut body = request.into_body();
    let mut answer = respond.send_response(grpc_head(), false).unwrap();
    while let Some(Ok(mut data)) = body.data().await {
        if data.is_empty() {
            continue;
        }
        data.advance(5);
        let question = wire::Request::decode(data).unwrap();
        let response = reply(script, &question).encode_to_vec();
        questions.try_send(question).unwrap();
        answer.send_data(crate::upstream::tests::framed(&response), false).unwrap();
    }
}

async fn server(script: Script, version: &'static str) -> (std::net::SocketAddr, mpsc::Receiver<wire::Request>) {
    let (questions, asked) = mpsc::channel(100);
    let (address, _) =
        backend(usual(), move |incoming: Incoming| serve(script, version, questions.clone(), incoming)).await;
    (address, asked)
}

fn names(set: &FileSet) -> Vec<String> {
    set.files().iter().map(|file| wire::FileHeader::decode(file.clone()).unwrap().name).collect()
}

async fn fetch_from(script: Script, version: &'static str, wanted: &[&str]) -> Result<FileSet, ReflectionError> {
    let (address, _asked) = server(script, version).await;
    let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
    soon(fetch(&cluster(&[address]), WorkerId::new(WORKER), &wanted)).await
}

#[tokio::test]
async fn only_what_is_wanted_and_its_imports_are_fetched_in_both_versions() {
    for version in ["v1", "v1alpha"] {
        for wanted in ["shop.v1.Orders", "Orders", "shop.v1.*", "shop.*"] {
            let set = fetch_from(SHOP, version, &[wanted]).await.unwrap();
            let expected = ["google/protobuf/empty.proto", "shop/base.proto", "shop/money.proto", "shop/orders.proto"];
            assert_eq!(names(&set), expected, "{version} {wanted}");
        }
    }
    assert_eq!(names(&fetch_from(SHOP, "v1", &["Orders", "Service"]).await.unwrap()).len(), 5);
    assert!(matches!(fetch_from(SHOP, "v1", &["rders"]).await, Err(ReflectionError::NoService)));
}

#[tokio::test]
async fn no_file_is_asked_for_twice() {
    let (address, mut asked) = server(SHOP, "v1").await;
    soon(fetch(&cluster(&[address]), WorkerId::new(WORKER), &["shop.v1.Orders".to_owned()])).await.unwrap();
    let mut files = Vec::new();
    while let Ok(question) = asked.try_recv() {
        files.extend(question.file_by_filename);
    }
    files.sort();
    let expected =
        ["google/api/annotations.proto", "google/protobuf/empty.proto", "shop/base.proto", "shop/money.proto"];
    assert_eq!(files, expected);
}

#[tokio::test]
async fn faulty_servers_are_errors() {
    const MISSING: Script = &[("shop.proto", &["gone.proto"])];
    const CIRCLE: Script = &[("a.proto", &["b.proto"]), ("b.proto", &["a.proto"])];
    let missing = fetch_from(MISSING, "v1", &["Orders"]).await;
    assert!(matches!(missing, Err(ReflectionError::Refused { asked, code: 5 }) if asked == "gone.proto"));
    assert!(matches!(fetch_from(CIRCLE, "v1", &["Orders"]).await, Err(ReflectionError::Circle(_))));
    assert!(
        matches!(fetch_from(SHOP, "v2", &["Orders"]).await, Err(ReflectionError::Call(error)) if is_unimplemented(&error))
    );
}

#[tokio::test]
async fn a_backend_that_comes_up_later_is_followed_and_its_changes_are_told() {
    const CHANGED: Script = &[("shop/orders.proto", &[])];
    let (listener, address) = listen().await;
    drop(listener);
    let cluster = cluster(&[address]);
    let (told, mut reports) = mpsc::channel(100);
    let nudge = Arc::new(Notify::new());
    let following = follow(
        Arc::downgrade(&cluster),
        WorkerId::new(WORKER),
        vec!["Orders".to_owned()],
        None,
        Arc::clone(&nudge),
        move |refresh| told.try_send(refresh).unwrap(),
    );
    let task = tokio::spawn(following);
    assert!(matches!(soon(reports.recv()).await, Some(Refresh::Failed(ReflectionError::Call(_)))));

    let newer = Arc::new(AtomicBool::new(false));
    let (sink, _asked) = mpsc::channel(100);
    let now_newer = Arc::clone(&newer);
    serve_on(TcpListener::bind(address).await.unwrap(), usual(), move |incoming: Incoming| {
        let script = if now_newer.load(Ordering::Relaxed) { CHANGED } else { SHOP };
        serve(script, "v1", sink.clone(), incoming)
    });
    let first = loop {
        match soon(reports.recv()).await.unwrap() {
            Refresh::Failed(_) => {}
            Refresh::Changed(set) => break set,
            Refresh::Unchanged => panic!("nothing was known before"),
        }
    };
    assert_eq!(names(&first).len(), 4);

    nudge.notify_one();
    assert!(matches!(soon(reports.recv()).await, Some(Refresh::Unchanged)));
    newer.store(true, Ordering::Relaxed);
    nudge.notify_one();
    let Some(Refresh::Changed(second)) = soon(reports.recv()).await else { panic!("the files have changed") };
    assert_ne!(first.digest(), second.digest());

    drop(cluster);
    nudge.notify_one();
    soon(task).await.unwrap();
}
