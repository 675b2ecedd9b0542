//! Properties of the readers of HTTP/1.1: of clients' requests and of backends' answers.

use http::HeaderMap;
use tidegate::fuzzing::{answers, requests};

/// Fields of one head that the oracle has room for: more than the readers take.
const FIELDS: usize = 256;

const CUTS: [usize; 5] = [1, 2, 3, 7, 64];

/// Input: what a client sends. However it is cut the same comes of it, and another reader finds the same first head.
pub fn requests(input: &[u8]) {
    let whole = requests::read([input]);
    for cut in CUTS {
        assert_eq!(requests::read(input.chunks(cut)), whole, "in pieces of {cut}");
    }
    let Some(requests::Seen::Head(method, target, is_10, fields)) = whole.first() else { return };
    let mut room = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut room);
    assert!(head.parse(input).expect("the other reader takes it, too").is_complete());
    assert_eq!(head.method, Some(method.as_str()));
    assert_eq!(head.version, Some(u8::from(!is_10)));
    // Other forms than a path are written anew: schemes in lower case, and with a path.
    let sent = head.path.expect("a target");
    assert!(sent == target || !sent.starts_with('/'), "{sent} and {target}");
    assert_same(head.headers, fields);
}

/// Input: a byte that says whether the request was `HEAD`, and what a backend sends. As for requests.
pub fn answers(input: &[u8]) {
    let Some((first, input)) = input.split_first() else { return };
    let is_head = first & 1 == 1;
    let whole = answers::read([input], is_head);
    for cut in CUTS {
        assert_eq!(answers::read(input.chunks(cut), is_head), whole, "in pieces of {cut}");
    }
    let Some(answers::Seen::Head(status, fields)) = whole.first() else { return };
    let mut room = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut room);
    assert!(head.parse(input).expect("the other reader takes it, too").is_complete());
    assert_eq!(head.code, Some(*status));
    assert_same(head.headers, fields);
}

fn assert_same(theirs: &[httparse::Header<'_>], ours: &HeaderMap) {
    assert_eq!(theirs.len(), ours.len());
    let mut expected = HeaderMap::new();
    for field in theirs {
        let name = field.name.parse::<http::HeaderName>().expect("a name");
        expected.append(name, http::HeaderValue::from_bytes(field.value.trim_ascii()).expect("a value"));
    }
    assert_eq!(&expected, ours);
}
