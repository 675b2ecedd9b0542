//! What the configuration says of one listener, in the terms of those who serve it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::valid::{self, Network};

use super::{HeadLimits, Http2Limits, Timeouts};

/// Stands for no limit where a time has to stand: longer than any process runs, and no clock overflows with it.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One listener before it is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Unique; a metric label.
    pub name: Arc<str>,
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether and how connections are encrypted.
    pub tls: valid::Tls,
    /// Whether clients show certificates.
    pub clients: Option<valid::ClientCertificates>,
    /// What may be spoken, best first. Not empty.
    pub protocols: Vec<valid::Protocol>,
    /// Bounds of request heads.
    pub head: HeadLimits,
    /// Bounds of HTTP/2.
    pub http2: Http2Limits,
    /// Patience with clients.
    pub timeouts: Timeouts,
    /// Connections at once; more are answered with 503 and closed. Beside it, and usually before it, counts the limit of
    /// descriptors.
    pub max_connections: usize,
    /// The same for one client.
    pub max_connections_per_ip: Option<u32>,
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Who may send such a header, and whose connections, and requests over HTTP/2, are not those of one client.
    pub trusted_proxies: Vec<Network>,
}

impl Settings {
    /// The listener that `listener` describes. `client_ip` says which addresses are those of proxies.
    #[must_use]
    pub fn new(listener: &valid::Listener, client_ip: &valid::ClientIp) -> Self {
        let limits = &listener.limits;
        let speaks_http2 = listener.protocols.contains(&valid::Protocol::Http2);
        let asks = speaks_http2 || listener.proxy_protocol || limits.max_connections_per_ip.is_some();
        Self {
            name: listener.name.as_str().into(),
            address: listener.address,
            tls: listener.tls.clone(),
            clients: listener.clients.clone(),
            protocols: listener.protocols.clone(),
            head: head(&limits.head),
            http2: http2(&limits.http2),
            timeouts: timeouts(&limits.timeouts, &limits.http2),
            max_connections: limits.max_connections.map_or(usize::MAX, size),
            max_connections_per_ip: limits.max_connections_per_ip,
            proxy_protocol: listener.proxy_protocol,
            // Others must not be taken for changed because proxies are.
            trusted_proxies: if asks { client_ip.trusted_proxies.clone() } else { Vec::new() },
        }
    }

    /// All listeners of a configuration.
    #[must_use]
    pub fn all(valid: &tidegate_config::Valid) -> Vec<Self> {
        valid.listeners.iter().map(|listener| Self::new(listener, &valid.client_ip)).collect()
    }

    /// The files that a listener depends on beside the configuration: of its certificate and key.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.tls {
            valid::Tls::Files { cert, key } => vec![cert.clone(), key.clone()],
            valid::Tls::None | valid::Tls::Auto => Vec::new(),
        }
    }

    pub(super) fn speaks(&self, protocol: valid::Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// Whether a proxy may stand at `ip`. `::ffff:1.2.3.4` is `1.2.3.4`.
    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(ip))
    }
}

fn head(limits: &valid::HeadLimits) -> HeadLimits {
    HeadLimits { head_bytes: size(limits.head), fields: size(limits.fields), uri_bytes: size(limits.uri) }
}

fn http2(limits: &valid::Http2Limits) -> Http2Limits {
    Http2Limits {
        streams: limits.max_streams,
        stream_window_bytes: limits.stream_window,
        connection_window_bytes: limits.connection_window,
        header_list_bytes: limits.header_list,
        frames_per_second: limits.max_frames,
        ..Http2Limits::default()
    }
}

fn timeouts(times: &valid::Timeouts, http2: &valid::Http2Limits) -> Timeouts {
    Timeouts {
        handshake: times.handshake,
        head: times.head,
        body_idle: times.body_idle,
        // Without a rate all of a body is free of it.
        body_grace: if times.body_rate.is_some() { times.body_grace } else { NEVER },
        body_bytes_per_second: times.body_rate.unwrap_or(1),
        write: times.write,
        idle: times.idle,
        ping: http2.ping_timeout,
        ping_interval: http2.ping_interval,
        age: times.age.unwrap_or(NEVER),
        ..Timeouts::default()
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegate_config::source::Memory;

    use super::*;

    fn only(text: &str) -> Settings {
        let text = format!("version: 1\nroutes: [{{ name: a, path: /a, respond: {{ text: a }} }}]\n{text}");
        let source = Memory { files: [("a.yaml".into(), text.into_bytes())].into(), ..Memory::default() };
        Settings::all(&tidegate_config::load(&source, Path::new("a.yaml")).unwrap().valid).remove(0)
    }

    #[test]
    fn without_a_key_holds_what_the_reference_says() {
        let settings = only("listeners: [{ name: a, address: '127.0.0.1:0' }]");
        assert_eq!(settings.head, HeadLimits::default());
        assert_eq!(settings.http2, Http2Limits::default());
        assert_eq!(settings.timeouts, Timeouts::default());
        assert_eq!((settings.max_connections, settings.max_connections_per_ip), (250_000, None));
        assert!(!settings.proxy_protocol);
    }

    #[test]
    fn proxies_change_only_the_listeners_that_ask_for_them() {
        let with = |extra: &str, proxies: &str| {
            only(&format!(
                "client_ip: {{ trusted_proxies: [{proxies}] }}\nlisteners: [{{ name: a, address: '127.0.0.1:0'{extra} }}]"
            ))
        };
        let http1 = ", protocols: [http1]";
        assert_eq!(with(http1, "10.0.0.0/8"), with(http1, "11.0.0.0/8"));
        assert_ne!(with("", "10.0.0.0/8"), with("", "11.0.0.0/8"), "HTTP/2");
        for asks in [", proxy_protocol: true", ", max_connections_per_ip: 5"] {
            let asks = format!("{http1}{asks}");
            assert_ne!(with(&asks, "10.0.0.0/8"), with(&asks, "11.0.0.0/8"));
        }
        let settings = with(", proxy_protocol: true", "10.0.0.0/8");
        for (ip, trusted) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.1", false), ("::1", false)] {
            assert_eq!(settings.trusts(ip.parse().unwrap()), trusted, "{ip}");
        }
    }
}
