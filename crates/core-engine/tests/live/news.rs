//! Feeds and NewsAPI.org: what is asked, what is new, and how it is found.

use protos::core_engine::v1 as pb;
use serde_json::json;
use tonic::Code;

use super::engine::{Engine, texts, told};
use super::fake::{Reply, Seen, Web, json as answer};

/// A variable that every test has, and whose value can be a header.
const KEY_ENV: &str = "CARGO_MANIFEST_DIR";

fn feed(items: &[(&str, &str)]) -> String {
    let published = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let items: String = items
        .iter()
        .map(|(title, link)| {
            format!(
                "<item><title>{title}</title><link>{link}</link><description>&lt;p&gt;About it.&lt;/p&gt;</description>\
                 <pubDate>{published}</pubDate></item>"
            )
        })
        .collect();
    format!("<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>Wire</title>{items}</channel></rss>")
}

fn speak(request: &Seen) -> Reply {
    match request.path() {
        "/feed" if request.header("if-none-match") == Some("\"one\"") => Reply::Answer(304, Vec::new(), Vec::new()),
        "/feed" => Reply::Answer(
            200,
            vec![("etag", "\"one\"".to_owned()), ("content-type", "application/rss+xml; charset=utf-8".to_owned())],
            feed(&[
                ("Central bank cuts rates, markets celebrate a great win", "https://news.example/a?utm_source=x"),
                ("Central bank cuts rates, markets celebrate a great win", "https://news.example/a"),
                ("Terrible storm destroys the harvest and kills hope", "https://news.example/b"),
            ])
            .into_bytes(),
        ),
        "/moved" => Reply::Answer(301, vec![("location", "/feed".to_owned())], Vec::new()),
        _ => Reply::Answer(500, Vec::new(), Vec::new()),
    }
}

fn settings(web: &Web) -> String {
    format!(
        "default_source: simulator\nsources:\n  simulator: {{ type: simulator, connect: true }}\n  wire: {{ type: rss, \
         connect: true, config: {{ feeds: \"{url}/moved {url}/broken\", poll: 100ms, requests_per_minute: 60000 }} }}\n  \
         newsapi: {{ type: news_api, connect: true, config: {{ url: \"{url}\", key_env: {KEY_ENV} }} }}\n",
        url = web.url()
    )
}

async fn fetch(engine: &Engine, keywords: &[&str], source: &str) -> Result<Vec<pb::NewsItem>, tonic::Status> {
    let request = pb::FetchNewsRequest {
        keywords: texts(keywords),
        source_id: source.to_owned(),
        hours_back: Some(48),
        limit: None,
    };
    Ok(engine.client.clone().fetch_news(request).await?.into_inner().news_items)
}

#[tokio::test]
async fn feeds_are_read_once_and_found_by_their_words() {
    let web = Web::start(speak).await;
    let engine = Engine::start(&settings(&web)).await;
    let source = engine.until("wire", |source| source.received == 2).await;
    assert_eq!(source.state(), pb::SourceState::Connected);
    let source = engine.until("wire", |source| source.errors_by_kind.contains_key("refused")).await;
    assert!(source.last_error.ends_with("/broken: the server answers with status 500"), "{}", source.last_error);
    assert_eq!(source.drops_by_kind["duplicate"], 1);

    let items = fetch(&engine, &["central bank"], "wire").await.unwrap();
    assert_eq!(items.len(), 1);
    let item = &items[0];
    assert_eq!((&*item.url, &*item.source, &*item.summary), ("https://news.example/a", "Wire", "About it."));
    assert!(item.sentiment_score > 0.0 && item.sentiment_score <= 1.0, "{item:?}");
    assert!(item.relevance_score > 0.0 && item.relevance_score <= 1.0, "{item:?}");

    let request = pb::GetNewsBufferRequest::default();
    let buffer = engine.client.clone().get_news_buffer(request).await.unwrap().into_inner();
    assert_eq!((buffer.items_count, buffer.buffered), (2, 2));
    let storm = buffer.news_items.iter().find(|item| item.title.contains("storm")).unwrap();
    assert!(storm.sentiment_score < 0.0, "{storm:?}");

    // The feed is asked whether it is newer than what is known.
    let conditional = |seen: &Seen| seen.header("if-none-match") == Some("\"one\"");
    super::engine::eventually("it asks for newer", || async { web.seen().iter().any(conditional) }).await;
    engine.stop().await;
}

#[tokio::test]
async fn news_api_is_asked_with_its_key_in_a_header() {
    let web = Web::start(|request| match request.path() {
        "/v2/everything" => answer(&json!({"status": "ok", "totalResults": 2, "articles": [
            {"source": {"id": null, "name": "Paper"}, "author": null, "title": "Inflation falls again in November",
             "description": "Prices rose less than expected.", "url": "https://paper.example/1", "urlToImage": null,
             "publishedAt": jiff::Timestamp::now().to_string(), "content": null, "unheardOf": {}},
            {"source": {"id": null, "name": null}, "title": "[Removed]", "url": "https://removed.com"},
        ]})),
        _ => speak(request),
    })
    .await;
    let engine = Engine::start(&settings(&web)).await;
    let items = fetch(&engine, &["inflation", "rate cut"], "newsapi").await.unwrap();
    assert_eq!((items.len(), &*items[0].source, &*items[0].source_id), (1, "Paper", "newsapi"));
    let seen = web.seen().into_iter().find(|seen| seen.path() == "/v2/everything").unwrap();
    let key = std::env::var(KEY_ENV).unwrap();
    assert_eq!(seen.header("x-api-key"), Some(key.as_str()));
    assert!(seen.target.contains("q=%22inflation%22+OR+%22rate+cut%22&from="), "{}", seen.target);
    assert!(!seen.target.contains(&key), "{}", seen.target);
    engine.stop().await;
}

#[tokio::test]
async fn what_news_api_refuses_is_told() {
    let web = Web::start(|request| match request.path() {
        "/v2/everything" => {
            let body = r#"{"status":"error","code":"apiKeyInvalid","message":"Your API key is invalid."}"#;
            Reply::Answer(401, Vec::new(), body.as_bytes().to_vec())
        }
        _ => speak(request),
    })
    .await;
    let engine = Engine::start(&settings(&web)).await;
    let (code, message, _) = told(&fetch(&engine, &["x"], "newsapi").await.unwrap_err());
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains("apiKeyInvalid"), "{message}");
    engine.until("wire", |source| source.received == 2).await;
    // One source of news that works is enough if none is named.
    assert_eq!(fetch(&engine, &["harvest"], "").await.unwrap().len(), 1);

    for (request, field) in [
        (pb::FetchNewsRequest::default(), "keywords"),
        (pb::FetchNewsRequest { keywords: texts(&["!"]), ..Default::default() }, "keywords"),
        (pb::FetchNewsRequest { keywords: texts(&["x"]), hours_back: Some(0), ..Default::default() }, "hours_back"),
        (pb::FetchNewsRequest { keywords: texts(&["x"]), limit: Some(101), ..Default::default() }, "limit"),
        (
            pb::FetchNewsRequest { keywords: texts(&["x"]), source_id: "simulator".to_owned(), ..Default::default() },
            "source_id",
        ),
    ] {
        let (code, _, details) = told(&engine.client.clone().fetch_news(request).await.unwrap_err());
        assert_eq!((code, details), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    let (code, message, _) = told(&fetch(&engine, &["x"], "nobody").await.unwrap_err());
    assert_eq!((code, &*message), (Code::NotFound, "source nobody is unknown; known are newsapi, simulator, wire"));
    engine.stop().await;
}

#[tokio::test]
async fn new_articles_are_streamed() {
    let web = Web::start(|_| Reply::Answer(200, Vec::new(), feed(&[]).into_bytes())).await;
    let engine = Engine::start(&settings(&web)).await;
    let request = pb::StreamNewsRequest { keywords: texts(&["harvest"]), source_id: "wire".to_owned() };
    let mut stream = engine.client.clone().stream_news(request).await.unwrap().into_inner();
    web.now(|request| match request.path() {
        "/moved" => Reply::Answer(
            200,
            Vec::new(),
            match speak(&Seen { target: "/feed".to_owned(), headers: vec![] }) {
                Reply::Answer(_, _, body) => body,
                other => panic!("{other:?}"),
            },
        ),
        _ => speak(request),
    });
    let items = stream.message().await.unwrap().unwrap().news_items;
    assert_eq!((items.len(), &*items[0].url), (1, "https://news.example/b"));
    assert_eq!(engine.stats().await.news.unwrap().streams, 1);
    engine.stop().await;
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
}
