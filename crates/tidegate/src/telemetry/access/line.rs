//! One line of the access log: which fields there are, in which order, and how each is written.
//!
//! Credentials, cookies, bodies and query strings have no field, so that no line can hold them.

use std::net::IpAddr;
use std::time::Duration;

use tidegate_config::valid::AccessLog;

use crate::exchange::write_address;
use crate::telemetry::escape;
use crate::time;

/// What is known of a finished request, in the order of the line. Fields without a value are left out.
///
/// Bytes may be anything a client has sent: they are escaped, and cut at 8 KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLine<'a> {
    /// Wall-clock time of the end, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// Raw; written as hexadecimal digits.
    pub trace_id: Option<&'a [u8; 16]>,
    /// Name of the listener.
    pub listener: Option<&'a str>,
    /// The client, behind trusted proxies if there are any.
    pub client_ip: Option<IpAddr>,
    /// The method as sent.
    pub method: Option<&'a [u8]>,
    /// The authority. What stands before an `@` is left out: it may be a password.
    pub host: Option<&'a [u8]>,
    /// The path as sent. What follows a `?` is left out: it may be a token.
    pub path: Option<&'a [u8]>,
    /// `1.0`, `1.1` or `2`.
    pub http_version: Option<&'a str>,
    /// Name of the route.
    pub route: Option<&'a str>,
    /// Name of the service.
    pub service: Option<&'a str>,
    /// The endpoint that was asked last, as the configuration writes it.
    pub endpoint: Option<&'a str>,
    /// `pkg.Svc/Method`.
    pub rpc_method: Option<&'a str>,
    /// Status of the answer; 499 if the client left before there was one.
    pub status: Option<u16>,
    /// Name of the gRPC status.
    pub grpc_status: Option<&'a str>,
    /// The word of a refusal or an error.
    pub reason: Option<&'a str>,
    /// Body of the request, on the wire.
    pub bytes_in: Option<u64>,
    /// Body of the answer, on the wire.
    pub bytes_out: Option<u64>,
    /// From the head to the last byte.
    pub duration: Option<Duration>,
    /// The gateway's own share of it.
    pub overhead: Option<Duration>,
    /// The backend's share of it.
    pub upstream: Option<Duration>,
    /// Calls to backends, the first one included.
    pub attempts: Option<u32>,
    /// What the cache did.
    pub cache: Option<&'a str>,
    /// The limit that said no, or was tightest.
    pub rate_limit_policy: Option<&'a str>,
    /// Who vouched for the client.
    pub auth_provider: Option<&'a str>,
    /// Subject or key id.
    pub subject: Option<&'a [u8]>,
    /// Of a WebSocket that ended here: the code it was closed with.
    pub close_code: Option<u16>,
    /// Its messages of the client.
    pub messages_in: Option<u64>,
    /// Its messages to the client.
    pub messages_out: Option<u64>,
    /// As sent.
    pub user_agent: Option<&'a [u8]>,
}

/// The beginning of a field behind another one.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

impl AccessLine<'_> {
    /// Whether the line is written: failures and slow requests always, of the others the share that `settings` ask for.
    ///
    /// `random` are 32 uniform bits.
    #[must_use]
    pub fn is_kept(&self, settings: &AccessLog, random: u32) -> bool {
        /// The number of values of `random`.
        const ALL: f64 = 4_294_967_296.0;
        let failed = self.reason.is_some()
            || self.status.is_none_or(|status| status >= 400)
            || self.grpc_status.is_some_and(|name| name != "OK");
        let slow = self.duration.is_none_or(|duration| duration > settings.slower_than);
        failed || slow || f64::from(random) < settings.sample_ok * ALL
    }

    /// Appends the line with its line feed: one flat JSON object. Allocates only if `out` has to grow.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        out.extend_from_slice(&time::rfc3339_ms(self.unix_ms));
        out.push(b'"');
        name(out, key!("request_id"), self.request_id);
        trace_id(out, self.trace_id);
        name(out, key!("listener"), self.listener);
        client_ip(out, self.client_ip);
        text(out, key!("method"), self.method);
        text(out, key!("host"), self.host.map(without_userinfo));
        text(out, key!("path"), self.path.map(without_query));
        name(out, key!("http_version"), self.http_version);
        name(out, key!("route"), self.route);
        name(out, key!("service"), self.service);
        name(out, key!("endpoint"), self.endpoint);
        name(out, key!("rpc_method"), self.rpc_method);
        number(out, key!("status"), self.status);
        name(out, key!("grpc_status"), self.grpc_status);
        name(out, key!("reason"), self.reason);
        number(out, key!("bytes_in"), self.bytes_in);
        number(out, key!("bytes_out"), self.bytes_out);
        milliseconds(out, key!("duration_ms"), self.duration);
        milliseconds(out, key!("overhead_ms"), self.overhead);
        milliseconds(out, key!("upstream_ms"), self.upstream);
        number(out, key!("attempts"), self.attempts);
        name(out, key!("cache"), self.cache);
        name(out, key!("rate_limit_policy"), self.rate_limit_policy);
        name(out, key!("auth_provider"), self.auth_provider);
        text(out, key!("subject"), self.subject);
        number(out, key!("close_code"), self.close_code);
        number(out, key!("messages_in"), self.messages_in);
        number(out, key!("messages_out"), self.messages_out);
        text(out, key!("user_agent"), self.user_agent);
        out.extend_from_slice(b"}\n");
    }
}

fn name(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    text(out, key, value.map(str::as_bytes));
}

fn text(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key);
    out.push(b'"');
    escape::push(out, value);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, key: &[u8], value: Option<impl itoa::Integer>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds with exactly three decimals. Cut, not rounded, so that parts never add up to more than their whole.
fn milliseconds(out: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    let Some(value) = value else { return };
    let microseconds = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    number(out, key, Some(microseconds / 1000));
    let decimals = microseconds % 1000;
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or(0);
    out.extend_from_slice(&[b'.', digit(decimals / 100), digit(decimals / 10), digit(decimals)]);
}

fn trace_id(out: &mut Vec<u8>, value: Option<&[u8; 16]>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key!("trace_id"));
    out.push(b'"');
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    for byte in value {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    out.push(b'"');
}

fn client_ip(out: &mut Vec<u8>, value: Option<IpAddr>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key!("client_ip"));
    out.push(b'"');
    write_address(value, out);
    out.push(b'"');
}

fn without_query(path: &[u8]) -> &[u8] {
    memchr::memchr2(b'?', b'#', path).and_then(|end| path.get(..end)).unwrap_or(path)
}

fn without_userinfo(host: &[u8]) -> &[u8] {
    memchr::memrchr(b'@', host).and_then(|at| host.get(at + 1..)).unwrap_or(host)
}

#[cfg(test)]
pub(super) mod tests;
