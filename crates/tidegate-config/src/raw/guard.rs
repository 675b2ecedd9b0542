//! What is demanded of a request: by which page it may be made, and of what form it must be.

use crate::decode::{Count, Item, Text, Time, raw_struct};

raw_struct! {
    /// Which pages of other origins may use a route (CORS). Preflights are answered by the gateway before anything asks
    /// for a credential, and headers of the backend about CORS give way to these.
    RawCors {
        /// Origins, as in `https://app.example.com`; `https://*.example.com` for all hosts below a name, at any depth;
        /// `*` for all; `null` only if it is listed. At most 256.
        allow_origins: Vec<Item<Text>> = "[]",
        /// Methods that may be asked for. Without the key: those of the route.
        allow_methods: Vec<Item<Text>>,
        /// Request headers that may be asked for; `["*"]` for all.
        allow_headers: Vec<Item<Text>> = "[accept, accept-language, authorization, content-language, content-type, if-match, if-none-match, x-request-id]",
        /// Headers of answers that pages may read; `["*"]` for all, which has no meaning with credentials.
        expose_headers: Vec<Item<Text>> = "[]",
        /// Lets browsers send cookies. Not together with the origin `*`.
        allow_credentials: bool = "false",
        /// How long a browser may remember a preflight, at most 24h. `null`: as long as it likes.
        max_age: Time = "10m",
    }
}

raw_struct! {
    /// What a request must be before anything is sent to the backend.
    RawValidate {
        /// Content types that a body may have, as in `[application/json]`; one that ends in `/*` is for all of a kind.
        /// Parameters do not count. Not for routes to an RPC. Without the key: any.
        content_types: Vec<Item<Text>>,
        /// Headers that must be there, once or more, and not be empty.
        required_headers: Vec<Item<Text>> = "[]",
        /// File with a JSON Schema that the body must follow, at most 1 MiB. The body must then be JSON without a
        /// content coding, and is read as a whole before anything is sent. Not for routes to an RPC.
        schema: Text,
        /// Deepest nesting of a body that is checked against a schema: 1 to 100.
        max_json_depth: Count = "100",
    }
}
