//! `tidegate healthcheck`: one HTTP/1.1 request, judged by its status. Blocking and without a runtime, so it starts in
//! a millisecond.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{exit, print};

#[derive(Debug, Args)]
pub(super) struct Target {
    /// What to ask: a plain-text address of the gateway, such as a development or probe listener.
    #[arg(long, default_value = "http://127.0.0.1:8080/health/readiness")]
    url: http::Uri,
    /// How long connecting, and the answer, may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
}

pub(super) fn run(target: &Target) -> ExitCode {
    match ask(target) {
        Ok(status) if (200..300).contains(&status) => {
            print(&format!("healthy: {status}\n"));
            ExitCode::SUCCESS
        }
        Ok(status) => {
            print(&format!("unhealthy: {status}\n"));
            ExitCode::from(exit::FAILED)
        }
        Err(error) => {
            print(&format!("unreachable: {error:#}\n"));
            ExitCode::from(exit::FAILED)
        }
    }
}

/// The status of the answer.
fn ask(target: &Target) -> anyhow::Result<u16> {
    let scheme = target.url.scheme_str().unwrap_or("http");
    anyhow::ensure!(scheme == "http", "only http:// can be asked, not {scheme}://");
    let host = target.url.host().unwrap_or("127.0.0.1");
    let port = target.url.port_u16().unwrap_or(80);
    let timeout = Duration::from_millis(target.timeout_ms.max(1));
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs()?.next();
    let address = address.ok_or_else(|| anyhow::anyhow!("{host} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let path = target.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head)?;
    let status = std::str::from_utf8(&head)?.strip_prefix("HTTP/1.1 ");
    Ok(status.ok_or_else(|| anyhow::anyhow!("the answer is not HTTP/1.1"))?.parse()?)
}
