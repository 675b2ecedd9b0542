//! The PROXY protocol, versions 1 and 2: before anything else a proxy says which client it speaks for.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. [`read`] is pure. The reader takes exactly the
//! bytes of the header from the socket, so that TLS or HTTP find theirs where they expect them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 1, with its line end (section 2.1).
pub const MAX_V1_LEN: usize = 107;

/// The longest header of version 2 that is taken: what every TCP segment can carry (section 2.2), so one packet. Room
/// for the addresses and some 480 bytes of what proxies add.
pub const MAX_V2_LEN: usize = 536;

const V1_START: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_LEN: usize = 16;

/// Addresses and ports of TCP over IPv4, IPv6, and of a Unix socket (section 2.2).
const INET_LEN: usize = 12;
const INET6_LEN: usize = 36;
const UNIX_LEN: usize = 216;

/// These bytes do not begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a header of the PROXY protocol")]
pub struct Broken;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A part of a header, and nothing behind it.
    Incomplete,
    /// A header.
    Complete {
        /// Its bytes; what follows belongs to the client.
        len: usize,
        /// The client; `None`: the proxy speaks for itself, or for what has no IP address.
        source: Option<SocketAddr>,
    },
}

/// Reads a header at the beginning of `bytes`. However they are cut, the result for all of them is the same.
///
/// # Errors
/// No header begins like this.
pub fn read(bytes: &[u8]) -> Result<Read, Broken> {
    if bytes.first() == V1_START.first() { read_v1(bytes) } else { read_v2(bytes) }
}

/// Whether `bytes` begins as `start` does, as far as either goes.
fn agree(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(one, other)| one == other)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and a line end.
fn read_v1(bytes: &[u8]) -> Result<Read, Broken> {
    if !agree(bytes, V1_START) {
        return Err(Broken);
    }
    let line = bytes.get(..MAX_V1_LEN).unwrap_or(bytes);
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() < MAX_V1_LEN { Ok(Read::Incomplete) } else { Err(Broken) };
    };
    let (text, rest) = line.split_at_checked(end).ok_or(Broken)?;
    match rest {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if line.len() < MAX_V1_LEN => return Ok(Read::Incomplete),
        _ => return Err(Broken),
    }
    let text = std::str::from_utf8(text).map_err(|_| Broken)?;
    Ok(Read::Complete { len: end.saturating_add(2), source: v1_source(text)? })
}

fn v1_source(line: &str) -> Result<Option<SocketAddr>, Broken> {
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // What follows is to be ignored.
        return Ok(None);
    }
    let (Some(source), Some(target), Some(source_port), Some(target_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Broken);
    };
    let address = |text: &str| -> Result<IpAddr, Broken> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Broken),
            Some("TCP6") => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Broken),
            _ => Err(Broken),
        }
    };
    let (source, _) = (address(source)?, address(target)?);
    let (port, _) = (port(source_port)?, port(target_port)?);
    Ok(Some(SocketAddr::new(source, port)))
}

/// Digits without a sign or a zero in front.
fn port(text: &str) -> Result<u16, Broken> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| Broken) } else { Err(Broken) }
}

fn read_v2(bytes: &[u8]) -> Result<Read, Broken> {
    if !agree(bytes, V2_SIGNATURE) {
        return Err(Broken);
    }
    // Each byte is judged as soon as it is there, so that the verdict does not depend on what has come behind it.
    let byte = |index: usize| bytes.get(index).copied();
    let is_local = match byte(12) {
        None => return Ok(Read::Incomplete),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Broken),
    };
    let Some(family) = byte(13) else { return Ok(Read::Incomplete) };
    let least = if is_local { 0 } else { addresses_len(family)? };
    let (Some(high), Some(low)) = (byte(14), byte(15)) else { return Ok(Read::Incomplete) };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    let len = V2_HEAD_LEN.saturating_add(rest);
    if rest < least || len > MAX_V2_LEN {
        return Err(Broken);
    }
    let Some(addresses) = bytes.get(V2_HEAD_LEN..len) else { return Ok(Read::Incomplete) };
    let source = if is_local { None } else { v2_source(family, addresses) };
    Ok(Read::Complete { len, source })
}

/// Bytes that the addresses of a family and transport take.
fn addresses_len(family: u8) -> Result<usize, Broken> {
    match family {
        0x00 => Ok(0),
        0x11 | 0x12 => Ok(INET_LEN),
        0x21 | 0x22 => Ok(INET6_LEN),
        0x31 | 0x32 => Ok(UNIX_LEN),
        _ => Err(Broken),
    }
}

/// `None` for what is no TCP over IP: then the connection stands for itself (section 2.2).
fn v2_source(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes([*addresses.get(at)?, *addresses.get(at.checked_add(1)?)?]));
    match family {
        0x11 => {
            let ip: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8)?))
        }
        0x21 => {
            let ip: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32)?))
        }
        _ => None,
    }
}

/// Takes the header from `stream`, and no byte more. The client that it tells; `None`: the peer itself.
///
/// # Errors
/// Those of the socket; `InvalidData` if there is no header, `UnexpectedEof` if it ends too soon.
pub(super) async fn receive(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut bytes = [0; MAX_V2_LEN];
    let mut taken: usize = 0;
    loop {
        let Some(room) = bytes.get_mut(taken..).filter(|room| !room.is_empty()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // Looked at first: behind the header there may be bytes already that are not ours.
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = bytes.get(..taken.saturating_add(seen)).unwrap_or_default();
        let (len, done) = match read(known).map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))? {
            // All of it is header, and is taken, so that the next look waits for more.
            Read::Incomplete => (known.len(), None),
            Read::Complete { len, source } => (len, Some(source)),
        };
        stream.read_exact(bytes.get_mut(taken..len).unwrap_or_default()).await?;
        taken = len;
        if let Some(source) = done {
            return Ok(source);
        }
    }
}

#[cfg(test)]
mod tests;
