use h2::Reason;
use h2::client::SendRequest;

use super::*;

async fn client(
    pipe: Pipe,
) -> (SendRequest<Bytes>, Arc<Scripted>, Arc<Control>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (send, connection) = h2::client::handshake(pipe.client).await.unwrap();
    (send, pipe.scripted, pipe.control, tokio::spawn(connection))
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://a.example{path}")).body(()).unwrap()
}

async fn read(body: &mut h2::RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok(all)
}

/// Sends `body` and reads the answer.
async fn call(send: &mut SendRequest<Bytes>, method: Method, path: &str, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let (response, mut out) = send.send_request(request(method, path), body.is_empty()).unwrap();
    if !body.is_empty() {
        out.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    let (parts, mut body) = response.await.unwrap().into_parts();
    (parts.status, read(&mut body).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn requests_and_answers_of_every_size_pass() {
    let (mut send, ..) = client(pipe()).await;
    assert_eq!(call(&mut send, Method::GET, "/", b"").await, (StatusCode::OK, b"hello".to_vec()));
    assert_eq!(call(&mut send, Method::HEAD, "/", b"").await, (StatusCode::OK, Vec::new()));
    assert_eq!(call(&mut send, Method::GET, "/empty", b"").await, (StatusCode::NO_CONTENT, Vec::new()));
    let large = vec![b'y'; 3_000_000];
    assert_eq!(call(&mut send, Method::POST, "/echo", &large).await, (StatusCode::OK, large));
    assert_eq!(call(&mut send, Method::GET, "/big", b"").await.1.len(), BIG);
    assert_eq!(call(&mut send, Method::GET, "/host", b"").await.1, b"a.example /host");
    assert_eq!(call(&mut send, Method::POST, "/ignore", b"abc").await.1, b"ignored");
}

#[tokio::test(start_paused = true)]
async fn answers_have_a_length_and_a_date() {
    let (mut send, ..) = client(pipe()).await;
    let (response, _) = send.send_request(request(Method::GET, "/"), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.headers()["content-length"], "5");
    assert!(response.headers()["date"].to_str().unwrap().ends_with(" GMT"));
}

#[tokio::test(start_paused = true)]
async fn many_streams_run_at_once() {
    let (send, ..) = client(pipe()).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut send = send.clone().ready().await.unwrap();
        let body = vec![b'z'; number * 997];
        calls.spawn(async move { assert_eq!(call(&mut send, Method::POST, "/echo", &body).await.1.len(), body.len()) });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_cost_the_stream_alone() {
    let (mut send, ..) = client(pipe()).await;
    let long = format!("/{}", "x".repeat(9000));
    assert_eq!(call(&mut send, Method::GET, &long, b"").await.0, StatusCode::URI_TOO_LONG);
    assert_eq!(call(&mut send, Method::TRACE, "/", b"").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(call(&mut send, Method::GET, "/panic", b"").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    let mut wide = request(Method::GET, "/");
    for number in 0..101 {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        wide.headers_mut().insert(name, "y".parse().unwrap());
    }
    let (response, _) = send.send_request(wide, true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(call(&mut send, Method::GET, "/", b"").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_reset_stream_ends_its_request() {
    let (mut send, scripted, ..) = client(pipe()).await;
    for path in ["/slow", "/echo"] {
        let (response, mut out) = send.send_request(request(Method::POST, path), false).unwrap();
        eventually(Duration::from_millis(100), || scripted.running() == 1).await;
        out.send_reset(Reason::CANCEL);
        drop(response);
        eventually(Duration::from_millis(100), || scripted.running() == 0).await;
    }
    assert_eq!(call(&mut send, Method::GET, "/", b"").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_its_requests() {
    let (mut send, scripted, control, connection) = client(pipe()).await;
    let streams: Vec<_> = (0..3).map(|_| send.send_request(request(Method::GET, "/slow"), true).unwrap()).collect();
    eventually(Duration::from_millis(100), || scripted.running() == 3).await;
    connection.abort();
    drop((streams, send));
    eventually(Duration::from_millis(100), || scripted.running() == 0 && control.open_requests() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_reset_after_its_data() {
    let (mut send, ..) = client(pipe()).await;
    let (response, _) = send.send_request(request(Method::GET, "/broken"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "part");
    let error = body.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up() {
    let (mut send, ..) = client(pipe()).await;
    let (response, _out) = send.send_request(request(Method::POST, "/echo"), false).unwrap();
    let begun = Instant::now();
    assert_eq!(response.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    let took = begun.elapsed().as_secs_f64();
    assert!((5.0..5.2).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_does_not_read_is_reset() {
    let (mut send, scripted, control, _) = client(pipe()).await;
    let (response, _) = send.send_request(request(Method::GET, "/big"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!((scripted.running(), control.open_requests()), (0, 1));
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(control.open_requests(), 0);
    let error = loop {
        match body.data().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
}

#[tokio::test(start_paused = true)]
async fn a_length_that_lies_is_no_complete_body() {
    let (mut send, scripted, ..) = client(pipe()).await;
    let mut short = request(Method::POST, "/echo");
    short.headers_mut().insert("content-length", "5".parse().unwrap());
    let (response, mut out) = send.send_request(short, false).unwrap();
    out.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let error = response.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    eventually(Duration::from_millis(100), || scripted.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_streams_and_takes_no_new_ones() {
    let (mut send, _, control, connection) = client(pipe()).await;
    let (response, mut out) = send.send_request(request(Method::POST, "/echo"), false).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    control.drain();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let late = match send.clone().ready().await {
        Ok(mut send) => send.send_request(request(Method::GET, "/"), true).map(drop),
        Err(error) => Err(error),
    };
    assert!(late.is_err());
    out.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(read(&mut body).await.unwrap(), b"abc");
    drop((body, send));
    connection.await.unwrap().unwrap();
    assert_eq!(control.open_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_to_go() {
    let (send, _, _, connection) = client(pipe()).await;
    let begun = Instant::now();
    connection.await.unwrap().unwrap();
    let took = begun.elapsed().as_secs();
    assert!((60..=61).contains(&took), "{took} s");
    drop(send);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Writes raw bytes after the preface and SETTINGS, and reads until the connection ends.
async fn raw(frames: &[u8]) -> (Vec<u8>, Duration) {
    raw_bytes(&[PREFACE, b"\0\0\0\x04\0\0\0\0\0", frames].concat()).await
}

async fn raw_bytes(bytes: &[u8]) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let (mut read, mut write) = tokio::io::split(pipe().client);
    let sending = async {
        let _closed = write.write_all(bytes).await;
    };
    let mut reply = Vec::new();
    let (_, _closed) = tokio::join!(sending, read.read_to_end(&mut reply));
    (reply, begun.elapsed())
}

/// Type and payload of each frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames.push((*kind, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn the_limits_are_announced() {
    let (reply, _) = raw(b"").await;
    let frames = frames(&reply);
    let (4, settings) = &frames[0] else { panic!("{frames:?}") };
    let mut announced: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes(entry[2..6].try_into().unwrap())))
        .collect();
    announced.sort_unstable();
    // Streams, window, list of headers, extended CONNECT; the window of the connection is raised by a frame of its own.
    assert_eq!(announced, [(3, 100), (4, 64 * 1024), (6, 32 * 1024), (8, 1)]);
    let raised = frames.iter().find(|(kind, _)| *kind == 8).unwrap();
    assert_eq!(raised.1, (1024 * 1024 - 65_535_u32).to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_for_a_sign_of_life_and_dropped() {
    let (reply, took) = raw(b"").await;
    assert!(frames(&reply).iter().any(|(kind, _)| *kind == 6), "a PING");
    // Its SETTINGS were a sign of life in the first interval. After the second it is told to go, and not waited for.
    assert!((62..=63).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_frames_is_told_to_calm_down() {
    let ping = b"\0\0\x08\x06\0\0\0\0\0pingping";
    let (reply, took) = raw(&ping.repeat(20_000)).await;
    let frames = frames(&reply);
    let goaway = frames.iter().find(|(kind, _)| *kind == 7).expect("GOAWAY");
    assert_eq!(goaway.1[4..8], u32::from(Reason::ENHANCE_YOUR_CALM).to_be_bytes());
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_header_block_must_end_in_time() {
    // HEADERS without END_HEADERS, and nothing more.
    let (_, took) = raw(b"\0\0\x01\x01\0\0\0\0\x01\x82").await;
    assert!((10..=11).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_preface_without_settings_is_not_waited_for() {
    for cut in [12, PREFACE.len()] {
        let (_, took) = raw_bytes(&PREFACE[..cut]).await;
        assert!((10..=11).contains(&took.as_secs()), "{cut}: {took:?}");
    }
}
