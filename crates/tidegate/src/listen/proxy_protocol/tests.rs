use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

/// A header of version 2 with `addresses` behind its head.
fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    bytes.extend(addresses);
    bytes
}

const INET: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];

fn inet6() -> Vec<u8> {
    let mut addresses = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
    addresses.extend([0; 16]);
    addresses.extend([0x1f, 0x90, 0x01, 0xbb]);
    addresses
}

/// Good headers with the client that they tell.
fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let with_parts = [&INET[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    let mut longest = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ".to_vec();
    longest.extend(b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
    assert_eq!(longest.len(), MAX_V1_LEN);
    vec![
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(), Some("192.0.2.1:56324")),
        (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n".to_vec(), Some("255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 443\r\n".to_vec(), Some("[2001:db8::7]:8080")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN whatever it is\r\n".to_vec(), None),
        (longest, None),
        (v2(0x21, 0x11, &INET), Some("192.0.2.1:56324")),
        (v2(0x21, 0x11, &with_parts), Some("192.0.2.1:56324")),
        (v2(0x21, 0x21, &inet6()), Some("[2001:db8::7]:8080")),
        (v2(0x21, 0x12, &INET), None),
        (v2(0x21, 0x31, &[b'/'; UNIX_LEN]), None),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &INET), None),
        (v2(0x20, 0xff, &[7; 30]), None),
        (v2(0x21, 0x11, &[1; MAX_V2_LEN - V2_HEAD_LEN]), Some("1.1.1.1:257")),
    ]
}

fn bad() -> Vec<Vec<u8>> {
    let mut bad: Vec<Vec<u8>> = [
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4\t1.2.3.4 1.2.3.4 1 2\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    bad.push(b"PROXY UNKNOWN \xff\r\n".to_vec());
    bad.push([b"PROXY UNKNOWN ".to_vec(), vec![b'x'; MAX_V1_LEN], b"\r\n".to_vec()].concat());
    bad.push(v2(0x22, 0x11, &INET));
    bad.push(v2(0x11, 0x11, &INET));
    for family in [0x01, 0x10, 0x13, 0x20, 0x41, 0xff] {
        bad.push(v2(0x21, family, &[0; UNIX_LEN]));
    }
    bad.push(v2(0x21, 0x11, &INET[..11]));
    bad.push(v2(0x21, 0x21, &[0; 35]));
    bad.push(v2(0x21, 0x31, &[0; 215]));
    bad.push(v2(0x21, 0x11, &[0; MAX_V2_LEN - V2_HEAD_LEN + 1]));
    bad.push(v2(0x20, 0x00, &[0; 5000]));
    let mut signature = v2(0x21, 0x11, &INET);
    signature[11] = b'\r';
    bad.push(signature);
    bad
}

#[test]
fn headers_tell_who_the_client_is() {
    for (header, source) in good() {
        let expected = Read::Complete { len: header.len(), source: source.map(|source| source.parse().unwrap()) };
        assert_eq!(read(&header), Ok(expected), "{}", header.escape_ascii());
        let mut followed = header.clone();
        followed.extend(b"\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(read(&followed), Ok(expected), "with something behind it: {}", header.escape_ascii());
    }
}

#[test]
fn what_is_no_header_is_refused() {
    for bytes in bad() {
        assert_eq!(read(&bytes), Err(Broken), "{}", bytes.escape_ascii());
    }
}

#[test]
fn each_part_of_a_header_is_incomplete() {
    for (header, _) in good() {
        for len in 0..header.len() {
            assert_eq!(read(&header[..len]), Ok(Read::Incomplete), "{len} of {}", header.escape_ascii());
        }
    }
}

/// What is refused or complete stays so whatever comes behind it, over every header with one byte changed.
#[test]
fn a_verdict_does_not_depend_on_what_comes_later() {
    for (header, _) in good() {
        for at in 0..header.len().min(80) {
            for byte in [0, b' ', b'\r', b'\n', b'0', b'9', 0x20, 0x21, 0xff] {
                let mut changed = header.clone();
                changed[at] = byte;
                changed.push(b'x');
                let verdicts: Vec<_> = (0..=changed.len()).map(|len| read(&changed[..len])).collect();
                let first = verdicts.iter().position(|verdict| *verdict != Ok(Read::Incomplete));
                let Some(first) = first else { continue };
                assert!(
                    verdicts[first..].iter().all(|verdict| *verdict == verdicts[first]),
                    "{}",
                    changed.escape_ascii()
                );
            }
        }
    }
}

#[tokio::test]
async fn the_reader_takes_the_header_and_nothing_else_however_it_comes() {
    for (header, source) in good() {
        for piece in [1, 7, 1000] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let bytes = [&header[..], b"behind"].concat();
            let writing = tokio::spawn(async move {
                for piece in bytes.chunks(piece) {
                    client.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let told = receive(&mut server).await.unwrap();
            assert_eq!(told, source.map(|source| source.parse().unwrap()), "{}", header.escape_ascii());
            writing.await.unwrap();
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"behind");
        }
    }
}

#[tokio::test]
async fn a_header_that_ends_too_soon_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for sent in [&b""[..], b"PROXY TCP4", b"\r\n\r\n"] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        drop(client);
        assert_eq!(receive(&mut server).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
