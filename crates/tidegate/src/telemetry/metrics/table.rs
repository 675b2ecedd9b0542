//! The families: name, type, labels and help of each. Names are an interface; `docs/metrics.md` shows this table.

/// Upper bounds of buckets in nanoseconds, rising; the one without bound is left out.
pub type Bounds = [u64];

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// For requests, calls, connects and handshakes.
pub(super) const DURATIONS: &Bounds = &[
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    2_500 * MS,
    5_000 * MS,
    10_000 * MS,
];

/// For what the gateway itself spends on a request.
pub(super) const OVERHEADS: &Bounds =
    &[25 * US, 50 * US, 100 * US, 250 * US, 500 * US, MS, 2_500 * US, 5 * MS, 10 * MS, 50 * MS];

/// For how late the loop of a worker turns.
pub(super) const LAGS: &Bounds =
    &[100 * US, 250 * US, 500 * US, MS, 2_500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 500 * MS, 1_000 * MS];

/// What kind of number a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process or the series ends; its name ends in `_total`.
    Counter,
    /// Any number.
    Gauge,
    /// Counts of durations up to these bounds.
    Histogram(&'static Bounds),
}

/// One family.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Name as the text format writes it, with prefix and `_total`.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// One sentence without a full stop.
    pub help: &'static str,
}

impl Family {
    /// The base unit that the name ends in.
    #[must_use]
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
    }
}

macro_rules! families {
    ($($id:ident: $kind:expr, $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            pub(super) static $id: Family =
                Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };
        )*

        /// All families in the order of the page.
        pub static FAMILIES: &[&Family] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

families! {
    HTTP_REQUESTS: Counter, "tidegate_http_requests_total" ["listener" "route" "service" "method" "code" "reason"]
        "Requests answered; route is empty if none matched, reason is empty unless the gateway refused";
    HTTP_REQUEST_DURATION: Histogram(DURATIONS), "tidegate_http_request_duration_seconds" ["route" "method"]
        "Time from the head of a request to the end of its answer, what the client takes to send and to read included";
    OVERHEAD: Histogram(OVERHEADS), "tidegate_overhead_seconds" ["route" "phase"]
        "Time spent in the gateway itself, without waiting for backends or clients; phase is request or response";
    HTTP_REQUESTS_IN_FLIGHT: Gauge, "tidegate_http_requests_in_flight" ["listener"]
        "Requests whose answer has not ended";
    HTTP_REQUEST_BYTES: Counter, "tidegate_http_request_bytes_total" ["route"]
        "Bytes of request bodies, as on the wire";
    HTTP_RESPONSE_BYTES: Counter, "tidegate_http_response_bytes_total" ["route"]
        "Bytes of response bodies, as on the wire";
    CONNECTIONS: Gauge, "tidegate_connections" ["listener" "protocol"]
        "Open connections of clients by protocol, http1 or http2";
    CONNECTIONS_REJECTED: Counter, "tidegate_connections_rejected_total" ["listener" "reason"]
        "Connections of clients that were closed before they could send a request; reason is limit, limit_per_ip, proxy_header, proxy_untrusted, tls_failed, tls_timeout or protocol";
    HTTP2_FLOODS: Counter, "tidegate_http2_floods_total" ["listener" "rule"]
        "Connections of HTTP/2 clients that were closed for a flood; rule is frames (in a second), control (in a minute), resets (requests given up as soon as made) or library (what the HTTP/2 library bounds by itself)";
    TLS_HANDSHAKE_DURATION: Histogram(DURATIONS), "tidegate_tls_handshake_duration_seconds" ["listener"]
        "Time that completed TLS handshakes with clients took";
    WS_CONNECTIONS: Gauge, "tidegate_ws_connections" ["listener" "protocol"]
        "Open WebSockets that end at the gateway by the protocol that they came over, http1 or http2";
    WS_CONNECTIONS_CLOSED: Counter, "tidegate_ws_connections_closed_total" ["listener" "reason"]
        "WebSockets that ended at the gateway and were closed; reason is empty if the client said so";
    WS_MESSAGES: Counter, "tidegate_ws_messages_total" ["direction"]
        "Messages on WebSockets that end at the gateway; direction is in or out";
    WS_BYTES: Counter, "tidegate_ws_bytes_total" ["direction" "stage"]
        "Bytes of WebSockets that end at the gateway; direction is in or out; stage is raw (messages) or wire (with frames)";
    CERTIFICATE_NOT_AFTER: Gauge, "tidegate_tls_certificate_not_after_timestamp_seconds" ["certificate"]
        "When a certificate expires, in seconds since 1970";
    UPSTREAM_REQUESTS: Counter, "tidegate_upstream_requests_total" ["service" "code"]
        "Attempts at backends by their outcome: the name of a gRPC status, an HTTP status, or the reason why there was no HTTP answer";
    UPSTREAM_REQUEST_DURATION: Histogram(DURATIONS), "tidegate_upstream_request_duration_seconds" ["service"]
        "Time that attempts at backends took, from sending to the end of the answer";
    UPSTREAM_CONNECT_DURATION: Histogram(DURATIONS), "tidegate_upstream_connect_duration_seconds" ["service"]
        "Time that it took to connect to backends, TLS and HTTP/2 settings included";
    UPSTREAM_CONNECTIONS: Gauge, "tidegate_upstream_connections" ["service" "state"]
        "Connections to backends in the state ready; in the states idle, connecting and transient_failure, endpoints that have none; in the state shutdown, endpoints that get no more requests, until those that they have end";
    UPSTREAM_TUNNELS: Gauge, "tidegate_upstream_tunnels" ["service"]
        "WebSockets of clients that are joined with a connection to a backend of the service";
    UPSTREAM_ENDPOINT_UP: Gauge, "tidegate_upstream_endpoint_up" ["service" "endpoint"]
        "1 if an address behind the endpoint, as the configuration writes it, takes requests, 0 otherwise";
    UPSTREAM_ADDRESSES: Gauge, "tidegate_upstream_addresses" ["service" "state"]
        "Addresses of backends by state: healthy, unhealthy or ejected; a host name counts as one";
    UPSTREAM_EJECTIONS: Counter, "tidegate_upstream_ejections_total" ["service" "cause"]
        "Endpoints that were left out for a while; cause is consecutive_errors or health_check";
    RETRIES: Counter, "tidegate_retries_total" ["service" "outcome"]
        "Requests that were sent to backends more than once; outcome is recovered or failed";
    RETRY_BUDGET_EXHAUSTED: Counter, "tidegate_retry_budget_exhausted_total" ["service"]
        "Retries that were not made because the service had had enough of them";
    HEDGES: Counter, "tidegate_hedges_total" ["service" "outcome"]
        "Requests that were sent to another endpoint while the first one was still asked; outcome is won if the answer of a later attempt counted, lost otherwise";
    MIRRORED: Counter, "tidegate_mirrored_requests_total" ["route" "service" "outcome"]
        "Requests that were to be copied to the mirror of their route; outcome is answered, failed, full (too many copies at once, or too much in collection), not_repeatable (too large a body, or a stream) or unfinished (the request never came whole)";
    BREAKER_STATE: Gauge, "tidegate_circuit_breaker_state" ["service"]
        "What the circuit breaker of a service does: 0 closed, 1 half open, 2 open";
    BREAKER_TRANSITIONS: Counter, "tidegate_circuit_breaker_transitions_total" ["service" "to"]
        "Changes of circuit breakers; to is closed, half_open or open";
    RATE_LIMIT_DECISIONS: Counter, "tidegate_rate_limit_decisions_total" ["policy" "decision" "store"]
        "What rate limits decided; decision is allow, deny, or would_deny in shadow mode; store is where they counted, local or redis";
    RATE_LIMIT_STORE_ERRORS: Counter, "tidegate_rate_limit_store_errors_total" ["policy"]
        "Decisions that were made without Redis because it did not answer";
    RATE_LIMIT_KEYS: Gauge, "tidegate_rate_limit_keys" []
        "Clients, users and other keys that rate limits remember in this process";
    TRANSCODE_ERRORS: Counter, "tidegate_transcode_errors_total" ["route" "stage"]
        "Requests and answers that could not be converted; stage is path, query, body, encode or decode";
    TRANSCODE_DURATION: Histogram(OVERHEADS), "tidegate_transcode_duration_seconds" ["route" "direction"]
        "Time that conversions between JSON and protobuf took, measured on one request in 16; direction is request or response";
    SCHEMA_STALE: Gauge, "tidegate_schema_stale" ["service"]
        "1 if the descriptors of the service could not be refreshed or do not fit the routes, 0 otherwise";
    SCHEMA_DIGESTS: Gauge, "tidegate_schema_digests" ["service"]
        "Different descriptor sets that the backends of the service have answered with";
    SCHEMA_REFRESHES: Counter, "tidegate_schema_refreshes_total" ["service" "result"]
        "Times that descriptors were asked for; result is unchanged, applied, rejected or failed";
    AUTH_DECISIONS: Counter, "tidegate_auth_decisions_total" ["provider" "result" "reason"]
        "Requests on routes that need a credential; result is allow or deny, and those without any count at the first provider of their route";
    JWKS_REFRESHES: Counter, "tidegate_jwks_refreshes_total" ["provider" "result"]
        "Times that keys of tokens were fetched; result is success or failure";
    JWKS_LAST_SUCCESS: Gauge, "tidegate_jwks_last_success_timestamp_seconds" ["provider"]
        "When keys of tokens were last fetched, in seconds since 1970";
    CONFIG_RELOADS: Counter, "tidegate_config_reloads_total" ["result"]
        "Reloads of the configuration; result is unchanged, applied, rejected or needs_restart";
    CONFIG_LAST_RELOAD_SUCCESSFUL: Gauge, "tidegate_config_last_reload_successful" []
        "1 if the configuration that was read last is the one that serves, 0 otherwise";
    CONFIG_LAST_RELOAD_SUCCESS: Gauge, "tidegate_config_last_reload_success_timestamp_seconds" []
        "When the configuration was last read successfully, in seconds since 1970";
    CONFIG_INFO: Gauge, "tidegate_config_info" ["hash"]
        "Always 1; hash names the configuration that serves";
    DRAINING: Gauge, "tidegate_draining" []
        "1 if the process is about to stop, 0 otherwise";
    BUILD_INFO: Gauge, "tidegate_build_info" ["version" "revision" "rustc"]
        "Always 1; what the program was built from";
    LOGS_DROPPED: Counter, "tidegate_logs_dropped_total" []
        "Log lines that were dropped because their writer did not keep up or could not write";
    SPANS_DROPPED: Counter, "tidegate_spans_dropped_total" []
        "Spans that were dropped because the collector did not keep up, refused them, or was taken away";
    PANICS: Counter, "tidegate_panics_total" []
        "Requests and tasks that ended in a panic";
    SERIES_REFUSED: Counter, "tidegate_metrics_series_refused_total" []
        "Series that were refused because observability.metrics.max_series or the bound of one route was reached";
    LOOP_LAG: Histogram(LAGS), "tidegate_loop_lag_seconds" ["worker"]
        "How much later than asked for the loop of a worker woke up";
    OVERLOAD_REFUSALS: Counter, "tidegate_overload_refusals_total" ["cause"]
        "Requests that were refused because there was too much to do; cause is lag, memory or pending (a service had no place for them)";
    OVERLOAD: Gauge, "tidegate_overload" ["cause"]
        "Of lag the workers that refuse requests for it; of memory 1 above 80 % of the limit, 2 above 90 % (idle connections are closed, no WebSocket is opened), 3 above 95 % (new requests are refused)";
    MEMORY: Gauge, "tidegate_memory_bytes" ["kind"]
        "Memory of the process; kind is resident, or limit where a cgroup sets one";
    PROCESS_CPU: Counter, "process_cpu_seconds_total" []
        "Processor time of the process, user and system";
    PROCESS_RESIDENT: Gauge, "process_resident_memory_bytes" []
        "Resident memory of the process";
    PROCESS_VIRTUAL: Gauge, "process_virtual_memory_bytes" []
        "Virtual memory of the process";
    PROCESS_OPEN_FDS: Gauge, "process_open_fds" []
        "Open file descriptors";
    PROCESS_MAX_FDS: Gauge, "process_max_fds" []
        "File descriptors that the process may open";
    PROCESS_START_TIME: Gauge, "process_start_time_seconds" []
        "When the process started, in seconds since 1970";
    PROCESS_THREADS: Gauge, "process_threads" []
        "Threads of the process";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_follow_the_conventions_of_prometheus() {
        let mut seen = std::collections::BTreeSet::new();
        for family in FAMILIES {
            assert!(seen.insert(family.name), "{} stands twice", family.name);
            assert!(["tidegate_", "process_"].iter().any(|prefix| family.name.starts_with(prefix)), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Counter, "{}", family.name);
            assert!(!family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.name);
            if let Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted() && family.unit() == Some("seconds"), "{}", family.name);
            }
        }
    }
}
