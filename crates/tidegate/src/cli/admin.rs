//! A small client of the admin API: one HTTP/1.1 request, blocking and without a runtime.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;

/// For connecting, and for each wait for bytes. The other side answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is read; an explanation is a few kilobytes.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Longest head of an answer.
const MAX_HEAD: usize = 32 * 1024;

/// Longest part of an unexpected answer that is shown.
const MAX_SHOWN: usize = 300;

#[derive(Debug, Args)]
pub(super) struct Target {
    /// Admin address of a running gateway, such as `http://127.0.0.1:9901`.
    #[arg(long = "admin", value_name = "URL")]
    pub(super) admin: Option<http::Uri>,
    /// The gateway's `admin.token`.
    #[arg(long, env = "TIDEGATE_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

/// An answer with a status of 2xx.
#[derive(Debug)]
pub(super) struct Answer {
    headers: Vec<(String, String)>,
    /// The whole body.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends JSON to a path of the admin API.
pub(super) fn post(url: &http::Uri, token: Option<&str>, path: &str, json: &str) -> anyhow::Result<Answer> {
    let scheme = url.scheme_str().unwrap_or("http");
    ensure!(scheme == "http", "only http:// can be asked, not {scheme}://");
    let host = url.host().context("the URL has no host")?;
    let port = url.port_u16().unwrap_or(80);
    let mut stream = connect(host, port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token = match token {
        Some(token) => {
            ensure!(
                token.bytes().all(|byte| byte.is_ascii_graphic()),
                "the token holds characters that cannot be sent"
            );
            format!("authorization: Bearer {token}\r\n")
        }
        None => String::new(),
    };
    let length = json.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{token}\r\n{json}"
    );
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    read(&bytes)
}

/// Connects to the first address of `host` that answers: a name often has one of IPv6 that nobody listens on.
fn connect(host: &str, port: u16) -> anyhow::Result<TcpStream> {
    let mut failed = None;
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(anyhow!(error).context(format!("{address} does not answer"))),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow!("{host} has no address")))
}

/// Takes an answer apart.
fn read(bytes: &[u8]) -> anyhow::Result<Answer> {
    let searched = bytes.get(..MAX_HEAD).unwrap_or(bytes);
    let end = memchr::memmem::find(searched, b"\r\n\r\n").context("the answer is not HTTP/1.1")?;
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status: u16 = status.and_then(|line| line.get(..3)).context("the answer is not HTTP/1.1")?.parse()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes.get(end.saturating_add(4)..).unwrap_or_default();
    let answer = Answer { headers, body: body.to_vec() };
    let announced = answer.header("content-length").context("the answer has no length")?.parse::<usize>()?;
    ensure!(announced == body.len(), "the answer broke off");
    if !(200..300).contains(&status) {
        let text = String::from_utf8_lossy(body);
        let shown = text.get(..text.floor_char_boundary(MAX_SHOWN)).unwrap_or_default();
        bail!("the gateway answers {status}: {}", shown.escape_debug().to_string().replace("\\\"", "\""));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_a_whole_or_not_at_all() {
        let good = b"HTTP/1.1 200 OK\r\nX-Tidegate-Config-Hash: 9f2c\r\ncontent-length: 2\r\n\r\n{}";
        let answer = read(good).unwrap();
        assert_eq!((answer.header("x-tidegate-config-hash"), answer.body.as_slice()), (Some("9f2c"), &b"{}"[..]));
        for (bytes, part) in [
            (&b"SSH-2.0"[..], "not HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", "broke off"),
            (b"HTTP/1.1 200 OK\r\n\r\n{}", "no length"),
            (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nno\x1b!", "answers 401: no\\u{1b}!"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
