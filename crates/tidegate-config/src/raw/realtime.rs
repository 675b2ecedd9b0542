//! `realtime`: WebSockets that end at the gateway.

use super::{Json, PathText, RawAllow, RawErrors, RawJson, RawMetadata, RawRateLimit, RawRetry};
use crate::decode::{Bytes, Count, Item, Name, Rate, Text, Time, closed_enum, raw_struct};
use crate::valid::RealtimeProtocol;

raw_struct! {
    /// WebSockets that end at the gateway, and what clients can do on them.
    RawRealtime {
        /// Where clients open them, over HTTP/1.1 or HTTP/2.
        endpoints: Vec<Item<RawRealtimeEndpoint>> = "[]",
        /// Pages that may open one: `https://app.example.com`, `https://*.example.com` for one more label, `*` for all,
        /// `null` only if it is listed. Without the key: pages of the host that is asked. Whoever is no browser sends no
        /// origin, and passes unless its credential came in a cookie.
        allowed_origins: Vec<Item<Text>>,
        /// How much there may be.
        limits: RawRealtimeLimits,
        /// How silent clients are asked for a sign of life.
        ping: RawRealtimePing,
    }
    later {
        "compression" "flush_interval" "channels" "publish" "broker" "emulation_path" "history_budget"
    }
}

raw_struct! {
    /// A path where clients open WebSockets. In logs and metrics it is a route whose name is its path. What it does not
    /// say of policies is that of its service and of `defaults`.
    RawRealtimeEndpoint {
        /// Path template, as of a route.
        path: PathText = required,
        /// What is spoken: `plain` is one JSON object in each message.
        protocol: RealtimeProtocol = required,
        /// What an object without `type` asks for.
        request: RawRealtimeRequest,
        /// Whether a credential is needed: of `auth.default`, unless `auth` names other providers.
        auth_required: bool = "false",
        /// What is demanded of whoever opens it. It ends when its token does.
        auth: RawRealtimeAuth,
        /// How often clients may open one, as on routes. `inbound` is for what they send.
        rate_limits: Vec<Item<RawRateLimit>> = "[]",
        /// Name of the envelope that answers to requests are put in: then nothing else is sent. Its `success` is for
        /// messages, its `error` for failures.
        envelope: Name,
        /// How refusals before the WebSocket is open are written.
        errors: RawErrors,
        /// How JSON is written. Fields that a request's message does not have are passed over.
        json: RawJson,
        /// Which headers of the handshake become metadata of its calls.
        metadata: RawMetadata,
        /// Deadline of a request; for a stream, of its first message. `null`: none.
        timeout: Time = "15s",
        /// Longest silence between two messages of a stream. `null`: no limit.
        stream_idle_timeout: Time = "60s",
        /// When a request with one answer is sent to the backend once more.
        retry: RawRetry,
    }
    later {
        "allow_http1" "welcome"
    }
}

raw_struct! {
    /// What a client asks for with an object without `type`: one call for each. At most 32 run at once on a connection.
    RawRealtimeRequest {
        /// Field that the object must have.
        match_: Text,
        /// The RPC, which takes the object and gives one message or a stream of them: `pkg.Service/Method`, or
        /// `Service/Method` if the short name is unique.
        grpc: Text = required,
        /// Name of the backend.
        service: Name = required,
        /// Fields that an object has if it does not say otherwise, as in `{ source_id: simulator }`.
        defaults: Json,
    }
    later { "channels" }
}

raw_struct! {
    /// What is demanded of whoever opens a WebSocket. With this key a credential is needed.
    RawRealtimeAuth {
        /// Providers whose credentials are accepted; one is enough. Without the key: `auth.default`.
        providers: Vec<Item<Name>>,
        /// Who is let in. Without the key: everybody with a credential.
        allow: RawAllow,
        /// Where a token is looked for, in this order: `header` (`Authorization: Bearer`), `header:NAME`,
        /// `cookie:NAME`, `query:NAME`. Without the key: where its provider looks.
        token_from: Vec<Item<Text>>,
    }
}

raw_struct! {
    /// How much there may be of what.
    RawRealtimeLimits {
        /// Open WebSockets in the process; more get a 503.
        max_connections: Count = "120000",
        /// Open WebSockets of one client (IPv6 by /64); more get a 429.
        max_connections_per_ip: Count = "200",
        /// Largest message of a client, decided from what a frame announces: 1 KiB to 16 MiB.
        max_message: Bytes = "64KiB",
        /// Messages of a client, with a burst of one second's worth. What is above is answered with `rate_limited`.
        inbound: Rate = "100/s",
        /// How long data may wait for a client that takes none of it before the connection is closed.
        write_timeout: Time = "10s",
    }
    later { "channels_per_connection" "queue" "history_budget" }
}

raw_struct! {
    /// How silent clients are asked for a sign of life.
    RawRealtimePing {
        /// A ping is sent after this much silence.
        interval: Time = "25s",
        /// How long its answer may take. Any byte is one.
        timeout: Time = "8s",
    }
}

closed_enum! {
    RealtimeProtocol {
        "plain" => Self::Plain,
    }
}
