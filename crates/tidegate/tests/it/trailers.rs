//! Trailers of answers on routes to HTTP services: who is asked for them, and who gets them.

use tidegate_testkit::web::bytes;
use tidegate_testkit::{Gateway, Heard, Request, Web, get, post};

/// A backend that sends trailers to who asks for them as HTTP/1.1 has it, and otherwise none.
fn answer(heard: &Heard) -> Vec<tidegate_testkit::Part> {
    let wants = heard.field("te") == "trailers" && heard.field("connection") == "te";
    let forced = heard.line().contains("/forced");
    let (announced, trailers) = if wants || forced { ("trailer: x-sum\r\n", "x-sum: 7\r\n") } else { ("", "") };
    vec![bytes(&format!(
        "HTTP/1.1 200 OK\r\n{announced}transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{trailers}\r\n"
    ))]
}

async fn start() -> (Web, Gateway) {
    let web = Web::start(answer).await;
    let config = format!(
        "services: {{ web: {{ address: \"http://{}\" }} }}
routes: [{{ name: all, path: \"/{{rest=**}}\", service: web, websocket: true }}]
",
        web.address()
    );
    (web, Gateway::start(&config))
}

#[tokio::test]
async fn a_backend_hears_that_trailers_are_wanted_and_the_client_gets_them() {
    let (web, gateway) = start().await;
    for request in [get("/").header("te", "trailers"), post("/", "abc").header("te", "trailers")] {
        for answer in gateway.send_both(&request).await {
            assert_eq!((answer.text(), answer.trailer("x-sum"), answer.header("trailer")), ("a", "7", "x-sum"));
        }
        assert_eq!((web.last().field("te"), web.last().field("connection")), ("trailers".into(), "te".into()));
    }
    // Of several codings only this one goes on, and of `Connection` nothing of the client's.
    let mut http1 = gateway.http1().await;
    let request = get("/").header("te", "gzip;q=0.5, Trailers").header("connection", "TE, x-hop").header("x-hop", "1");
    let answer = http1.send(&request).await;
    assert_eq!((answer.text(), answer.trailer("x-sum")), ("a", "7"));
    let heard = web.last();
    assert_eq!(
        (heard.field("te"), heard.field("connection"), heard.field("x-hop")),
        ("trailers".into(), "te".into(), String::new())
    );
    assert_eq!(http1.send(&request).await.trailer("x-sum"), "7", "the connection goes on");
    gateway.stop().await;
}

/// Trailers may be left out on the way (RFC 9110, section 6.5.1), and a client that takes the chunks apart without asking for
/// them may not know them. In HTTP/2 every client does.
#[tokio::test]
async fn who_does_not_ask_gets_none_over_http1() {
    let (web, gateway) = start().await;
    for request in [get("/"), get("/").header("te", "gzip"), get("/forced"), get("/forced").header("te", "gzip")] {
        let mut http1 = gateway.http1().await;
        for _ in 0..2 {
            let answer = http1.send(&request).await;
            assert_eq!((answer.text(), answer.trailer("x-sum"), answer.header("trailer")), ("a", "", ""));
            assert_eq!((web.last().field("te"), web.last().field("connection")), (String::new(), String::new()));
        }
    }
    let answer = gateway.http2().await.send(&get("/forced")).await;
    assert_eq!((answer.trailer("x-sum"), answer.header("trailer")), ("7", "x-sum"));
    assert_eq!(web.last().field("te"), "", "it did not ask");
    gateway.stop().await;
}

#[tokio::test]
async fn a_websocket_has_no_trailers_to_ask_for() {
    let (web, gateway) = start().await;
    let request = Request::new("GET", "/")
        .header("connection", "upgrade, te")
        .header("upgrade", "websocket")
        .header("te", "trailers")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(gateway.http1().await.send(&request).await.status, 200);
    assert_eq!(
        (web.last().field("te"), web.last().field("connection").to_lowercase()),
        (String::new(), "upgrade".into())
    );
    gateway.stop().await;
}
