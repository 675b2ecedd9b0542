//! `rate_limits` and `redis`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Count, Cx, Decode, Item, Name, Rate, Text, Time, closed_enum, raw_struct};
use crate::node::{Node, Value};
use crate::valid::{LimitStore, OnStoreError};

raw_struct! {
    /// A limit on how often somebody may ask. Limits add up: a request must be admitted by those of `defaults`, of its
    /// service and of its route, and takes of all or of none.
    RawRateLimit {
        /// Shown in headers, logs and metrics; unique among the limits of a route.
        name: Name = required,
        /// Requests in a second, minute, hour or day: `100/s`, `10/m`. At most 1000000/s.
        limit: Rate = required,
        /// How many may come at once after a pause. Without the key: what the limit gives in one second, at least 1.
        burst: Count,
        /// Whom the limit counts: `global`, `ip` (IPv6 by /64), `user` (subject of the credential, else the address),
        /// `api_key`, `route` (also `endpoint`), `header:x-name`, `claim:path.to.claim`; a list for each combination.
        key: LimitKeyTexts = required,
        /// Where it is counted: in this process, or in the Redis of the key `redis` for all processes together.
        store: LimitStore = "local",
        /// What holds while Redis does not answer: the same limit in this process, no limit (`allow`), or 503 (`deny`).
        on_store_error: OnStoreError = "local",
        /// Counts and logs what it would refuse, and refuses nothing.
        shadow: bool = "false",
        /// How many places a request takes.
        cost: Count = "1",
    }
}

raw_struct! {
    /// The Redis that processes share.
    RawRedis {
        /// `redis://host:6379`, `rediss://` for TLS, with `user:password@` and `/database` where needed. A password
        /// belongs into a variable: `${REDIS_URL}`.
        url: Text = required,
        /// Longest wait for an answer.
        timeout: Time = "50ms",
    }
}

closed_enum! {
    LimitStore {
        "local" => Self::Local,
        "redis" => Self::Redis,
    }
    OnStoreError {
        "local" => Self::Local,
        "allow" => Self::Allow,
        "deny" => Self::Deny,
    }
}

/// One word, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitKeyTexts(pub(crate) Vec<Item<Text>>);

impl Decode for LimitKeyTexts {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::<Item<Text>>::decode(node, cx).map(Self),
            Value::Scalar(scalar) => {
                let value = Text(scalar.text().to_owned());
                Some(Self(vec![Item { value, place: cx.place(node.span), secret: scalar.is_secret() }]))
            }
            Value::Null | Value::Broken | Value::Map(_) => {
                cx.wrong_type(node, "a word or a list of words");
                None
            }
        }
    }

    fn type_name() -> String {
        "text or list of text".to_owned()
    }
}

impl JsonSchema for LimitKeyTexts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "limit_key".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^(global|ip|user|api_key|route|endpoint|header:.+|claim:.+|.*\$\{.*)$";
        let word = json_schema!({ "type": "string", "pattern": pattern });
        json_schema!({ "anyOf": [word, { "type": "array", "items": word, "minItems": 1 }] })
    }
}
