//! A small name server over UDP, whose answers a test sets.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Type of an IPv4 address.
const A: u16 = 1;

#[derive(Default)]
struct Zone {
    names: HashMap<String, (Vec<Ipv4Addr>, u32)>,
    asked: HashMap<String, usize>,
    fails: bool,
}

/// See the module. It ends when it is dropped.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    serving: JoinHandle<()>,
}

impl Dns {
    /// A name server that knows no name.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = socket.local_addr().expect("a socket has an address");
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let serving = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self { address, zone, serving }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `name` has these addresses from now on, for `ttl` seconds each time; none: it does not exist. Each answer tells them
    /// in another order.
    pub fn set(&self, name: &str, addresses: &[Ipv4Addr], ttl: u32) {
        self.zone.lock().names.insert(name.to_owned(), (addresses.to_vec(), ttl));
    }

    /// From now on every question is answered with a failure, or none is.
    pub fn fails(&self, fails: bool) {
        self.zone.lock().fails = fails;
    }

    /// How often the IPv4 addresses of `name` were asked for.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        self.zone.lock().asked.get(name).copied().unwrap_or(0)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut packet = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        if let Some(answer) = packet.get(..length).and_then(|question| answer(question, &mut zone.lock())) {
            let _sent = socket.send_to(&answer, from).await;
        }
    }
}

/// RFC 1035, section 4.1.
fn answer(packet: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        let label = packet.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    let question = packet.get(12..at + 4)?;
    let turn = zone.asked.entry(name.clone()).or_default();
    *turn += usize::from(kind == A);
    let turn = *turn;
    let (mut addresses, ttl) = zone.names.get(&name).cloned().unwrap_or_default();
    let code: u8 = match addresses.is_empty() {
        _ if zone.fails => 2,
        true => 3,
        false => 0,
    };
    if code != 0 || kind != A {
        addresses.clear();
    } else {
        let places = addresses.len();
        addresses.rotate_left(turn % places);
    }
    let mut out = packet.get(..2)?.to_vec();
    // An answer, with recursion available; one question, no authority, nothing more.
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
    out.extend_from_slice(&u16::try_from(addresses.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(question);
    for address in addresses {
        // The name of the question, an address of the Internet.
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address.octets());
    }
    Some(out)
}
