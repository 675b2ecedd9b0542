//! `drain`, `runtime` and `system_routes`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::decode::{Count, Cx, Decode, Text, Time, closed_enum, raw_struct};
use crate::node::{Node, Value};
use crate::valid::RuntimeModel;

raw_struct! {
    /// How the process stops.
    RawDrain {
        /// Time between failing readiness and closing the listeners.
        readiness_delay: Time = "5s",
        /// How long open requests may run after that.
        timeout: Time = "30s",
    }
}

raw_struct! {
    /// Threads.
    RawRuntime {
        /// Data-plane threads: a number up to 1024, or `auto` for the CPUs that the process may use.
        workers: RawWorkers = "auto",
        /// One runtime per core, or one shared by all.
        model: RuntimeModel = "per_core",
    }
}

raw_struct! {
    /// When requests are refused because the gateway has too much to do. Paths of the gateway itself are answered in any
    /// case.
    RawOverload {
        /// A worker that comes round later than this, in the mean of 100 ms, refuses some of the requests. From 1 ms.
        lag: Time = "20ms",
        /// From here on it refuses all of them; those with a credential only from half way on. At most 10 s.
        lag_max: Time = "100ms",
    }
}

raw_struct! {
    /// Paths that the gateway answers itself; `null` turns one off.
    RawSystemRoutes {
        /// State in detail.
        health: Text = "/health",
        /// Liveness probe.
        liveness: Text = "/health/liveness",
        /// Readiness probe.
        readiness: Text = "/health/readiness",
        /// Version.
        version: Text = "/version",
    }
}

closed_enum! {
    RuntimeModel {
        "per_core" => Self::PerCore,
        "shared" => Self::Shared,
    }
}

/// `auto` or a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RawWorkers {
    Auto,
    Count(Count),
}

impl Decode for RawWorkers {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text() == "auto" => Some(Self::Auto),
            Value::Scalar(_) => Count::decode(node, cx).map(Self::Count),
            Value::Null | Value::Broken | Value::List(_) | Value::Map(_) => {
                cx.wrong_type(node, "\"auto\" or a whole number");
                None
            }
        }
    }

    fn type_name() -> String {
        "`auto` or whole number".to_owned()
    }
}

impl JsonSchema for RawWorkers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "workers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] })
    }
}
