//! Policies: checked once where they stand, merged for each route.

use std::time::Duration;

use super::resilience::{budget_of, default_retry_on, merged, retry_on};
use super::{Names, Resolver, name_of};
use crate::decode::Table;
use crate::decode::{Count, Field, Item, Text, Time};
use crate::diag::{Code, Place};
use crate::raw::{RawBackoff, RawHeaders, RawJson, RawMetadata, RawPolicy, RawRetry};
use crate::valid::{
    EnumFormat, Envelope, ErrorFormat, EscapedSlashes, FieldNames, HeaderRules, Int64Format, JsonPolicy, Level,
    MetadataPolicy, MultiSegmentEscape, Origin, Policy, Retry, RetryBudget, Setting, StatusOverride, StreamFormat,
    UnknownPolicy,
};

/// Largest `max_body`: a body that is transcoded is in memory.
const MAX_BODY: u64 = 1 << 30;
const DEFAULT_MAX_BODY: u64 = 1 << 20;
/// Longest deadline: anything beyond is a mistake, and timers stay within their range.
const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const DEFAULT_STREAM_IDLE: Duration = Duration::from_secs(60);
/// First and longest wait before a retry.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// Names of requests that only the gateway may write.
const OWN_NAMES: [&str; 4] = ["x-request-id", "forwarded", "traceparent", "tracestate"];
const OWN_PREFIXES: [&str; 3] = ["x-forwarded-", "x-path-", "x-tidegate-"];

/// Headers of one connection or of a message's framing (RFC 9110, sections 7.2 and 7.6.1).
const HOP_BY_HOP: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Resolver<'_> {
    /// Reports values that are wrong wherever they are inherited to.
    pub(super) fn check_policy(&mut self, raw: &RawPolicy, envelopes: &Names) {
        for item in [raw.timeout.set(), raw.stream_idle_timeout.set()].into_iter().flatten() {
            if item.value.0.is_zero() || item.value.0 > MAX_TIMEOUT {
                let message = "a timeout is above zero and at most 7d";
                self.error_with(Code::InvalidValue, &item.place, message, "null means no timeout");
            }
        }
        if let Some(item) = raw.max_body.set()
            && item.value.0 > MAX_BODY
        {
            self.error(Code::InvalidValue, &item.place, "\"max_body\" is at most 1GiB");
        }
        if let Some(item) = raw.envelope.set() {
            self.refer("envelope", item, envelopes);
        }
        if let Some(list) = raw.stream.set() {
            self.distinct("stream", list);
        }
        for (_, status) in raw.status_map.value().into_iter().flat_map(|map| &map.0) {
            self.check_status(status);
        }
        if let Some(metadata) = raw.metadata.value() {
            self.check_metadata(metadata);
        }
        self.check_rate_limits(raw);
        if let Some(retry) = raw.retry.value() {
            self.check_retry(retry);
        }
        for headers in [raw.request_headers.value(), raw.response_headers.value()].into_iter().flatten() {
            self.check_headers(headers);
        }
        if let Some(cors) = raw.cors.value() {
            self.check_cors(cors);
        }
        if let Some(validate) = raw.validate.value() {
            self.check_validate(validate);
        }
        if let Some(headers) = raw.request_headers.value() {
            self.check_gateways_own(headers);
        }
        for item in raw.ignore_query.value().into_iter().flatten() {
            if item.value.0.is_empty() {
                self.error(Code::InvalidValue, &item.place, "an empty query key");
            }
        }
    }

    fn check_status(&mut self, field: &Field<Count>) {
        if let Some(item) = field.set()
            && !(200..=599).contains(&item.value.0)
        {
            self.error(Code::InvalidValue, &item.place, "an HTTP status is from 200 to 599");
        }
    }

    fn check_metadata(&mut self, raw: &RawMetadata) {
        for item in [raw.allow.value(), raw.deny.value()].into_iter().flatten().flatten() {
            let text = item.value.0.as_str();
            if !is_token(text.strip_suffix('*').unwrap_or(text)) && text != "*" {
                let message = format!("{} is not a header name", item.shown());
                self.error_with(Code::InvalidValue, &item.place, message, "as in x-tenant, or x-app-* for a prefix");
            }
        }
        if let Some(item) = raw.prefix.set()
            && !is_token(&item.value.0)
        {
            let message = format!("{} is not the beginning of a header name", item.shown());
            self.error(Code::InvalidValue, &item.place, message);
        }
    }

    fn check_headers(&mut self, raw: &RawHeaders) {
        for item in raw.remove.value().into_iter().flatten() {
            self.check_header_name(item);
        }
        for table in [raw.set.value(), raw.add.value()].into_iter().flatten() {
            for (name, value) in &table.0 {
                self.check_header_name(name);
                let Some(item) = value.set() else { continue };
                let text = item.value.0.as_str();
                if text.trim() != text || !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                    let message = format!("{} cannot be the value of a header", item.shown());
                    self.error_with(
                        Code::InvalidValue,
                        &item.place,
                        message,
                        "visible ASCII, with spaces inside alone",
                    );
                }
            }
        }
    }

    /// What backends take for the gateway's word cannot be changed by a rule: it is written after all rules.
    fn check_gateways_own(&mut self, raw: &RawHeaders) {
        let removed = raw.remove.value().into_iter().flatten().map(|item| (item.value.0.as_str(), &item.place));
        let put = [raw.set.value(), raw.add.value()].into_iter().flatten().flat_map(|table| &table.0);
        let put = put.map(|(name, _)| (name.value.0.as_str(), &name.place));
        for (name, place) in removed.chain(put) {
            let name = name.to_ascii_lowercase().replace('_', "-");
            if self.forwarded.contains(&name)
                || OWN_NAMES.contains(&name.as_str())
                || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                let message = "only the gateway writes this header to backends";
                let help = "it is taken from clients and written anew after the rules; use another name";
                self.error_with(Code::Conflict, place, message, help);
            }
        }
    }

    /// Of an answer to a call the gateway writes the body or passes its messages on, so what says how they are to be read
    /// is not for a rule. What `defaults` say is for other routes, too, and does nothing here.
    pub(super) fn keep_off_calls(&mut self, rules: &mut HeaderRules) {
        self.drop_of_calls(&mut rules.remove, String::as_str);
        self.drop_of_calls(&mut rules.set, |(name, _)| name);
        self.drop_of_calls(&mut rules.add, |(name, _)| name);
    }

    fn drop_of_calls<T>(&mut self, rules: &mut Setting<Vec<T>>, name: fn(&T) -> &str) {
        let named = rules.value.iter().map(name).find(|name| is_of_calls(name)).map(str::to_owned);
        let Some(named) = named else { return };
        rules.value.retain(|rule| !is_of_calls(name(rule)));
        if let (Level::Service | Level::Route, Some(place)) = (rules.origin.level, &rules.origin.place) {
            let message = format!("\"{named}\" of an answer to a gRPC call cannot be changed");
            let help = "it says how the answer is to be read, and the gateway or the service writes it";
            self.error_with(Code::Conflict, place, message, help);
        }
    }

    /// A name that a rule may touch: the framing of messages and what belongs to one connection are the gateway's.
    fn check_header_name(&mut self, item: &Item<impl AsRef<str>>) {
        let name = item.value.as_ref().to_ascii_lowercase();
        if !is_token(&name) {
            let message = format!("{} is not a header name", item.shown());
            self.error_with(Code::InvalidValue, &item.place, message, "as in x-tenant");
        } else if HOP_BY_HOP.contains(&name.as_str()) {
            let help = "the gateway writes it for each connection";
            self.error_with(Code::InvalidValue, &item.place, format!("{} cannot be changed", item.shown()), help);
        }
    }

    /// The values of a list that must be neither empty nor repetitive.
    pub(super) fn distinct<T: Copy + PartialEq>(&mut self, key: &str, list: &Item<Vec<Item<T>>>) -> Option<Vec<T>> {
        if list.value.is_empty() {
            self.error(Code::InvalidValue, &list.place, format!("\"{key}\" is empty"));
            return None;
        }
        let mut values: Vec<T> = Vec::with_capacity(list.value.len());
        for item in &list.value {
            if values.contains(&item.value) {
                self.error(Code::Duplicate, &item.place, format!("the same entry of \"{key}\" twice"));
            } else {
                values.push(item.value);
            }
        }
        Some(values)
    }

    /// Merges the levels; the nearest one wins, key by key. Values were checked by `check_policy`.
    pub(super) fn merge(
        &mut self,
        levels: &Levels<'_>,
        envelopes: &[Envelope],
        names: &Names,
        route: &Place,
    ) -> Policy {
        let mut policy = merge_values(levels, names);
        self.check_cors_credentials(&policy);
        self.place_schema(&mut policy);
        self.check_error_envelope(&policy, levels, envelopes, route);
        policy
    }

    fn check_error_envelope(&mut self, policy: &Policy, levels: &Levels<'_>, envelopes: &[Envelope], route: &Place) {
        if policy.error_format.value != ErrorFormat::Envelope {
            return;
        }
        let envelope = policy.envelope.value.and_then(|index| envelopes.get(index));
        let help = match envelope {
            Some(Envelope { error: Some(_), .. }) => return,
            Some(envelope) => {
                format!("envelope \"{}\" at {} has no \"error\"", envelope.name, name_of(&envelope.place))
            }
            // One that is named and not there was reported where it is named.
            None if matches!(levels.find(|p| Seen::of(&p.envelope)), Some((_, Seen::Set(_)))) => return,
            None => "add \"envelope: NAME\"".to_owned(),
        };
        let message = "\"errors.format\" is \"envelope\", but there is no envelope for failures";
        self.error_with(Code::Conflict, route, message, help);
    }
}

/// Headers that say how the answer to a call is to be read, and what came of the call.
fn is_of_calls(name: &str) -> bool {
    matches!(name, "content-type" | "content-encoding") || name.starts_with("grpc-")
}

fn texts(list: &[Item<Text>]) -> Vec<String> {
    list.iter().map(|item| item.value.0.clone()).collect()
}

pub(super) fn lower(list: &[Item<Text>]) -> Vec<String> {
    list.iter().map(|item| item.value.0.to_ascii_lowercase()).collect()
}

fn pairs(table: &Table<Text>) -> Vec<(String, String)> {
    let rows = table.0.iter().filter_map(|(name, value)| Some((name, value.value()?)));
    rows.map(|(name, value)| (name.value.0.to_ascii_lowercase(), value.0.clone())).collect()
}

/// A token of RFC 9110, section 5.6.2: header names and methods.
pub(super) fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// What one level says about a key.
pub(super) enum Seen<'a, T> {
    /// Nothing: ask the next level.
    Absent,
    /// `null`: back to what the program does, without asking further.
    Removed(&'a Place),
    /// A value.
    Set(&'a Item<T>),
}

impl<'a, T> Seen<'a, T> {
    pub(super) fn of(field: &'a Field<T>) -> Self {
        match field {
            Field::Absent | Field::Invalid => Self::Absent,
            Field::Null(place) => Self::Removed(place),
            Field::Set(item) => Self::Set(item),
        }
    }
}

/// A key of a block: a removed block removes all its keys.
pub(super) fn nested<'a, B, T>(block: &'a Field<B>, key: impl FnOnce(&'a B) -> &'a Field<T>) -> Seen<'a, T> {
    match block {
        Field::Absent | Field::Invalid => Seen::Absent,
        Field::Null(place) => Seen::Removed(place),
        Field::Set(item) => Seen::of(key(&item.value)),
    }
}

/// Merges the levels without checking across keys.
pub(super) fn merge_values(levels: &Levels<'_>, names: &Names) -> Policy {
    let formats = [StreamFormat::Array, StreamFormat::Ndjson, StreamFormat::Sse];
    Policy {
        timeout: levels.option(|p| Seen::of(&p.timeout), |time| Some(time.0), Some(DEFAULT_TIMEOUT)),
        stream_idle_timeout: levels.option(
            |p| Seen::of(&p.stream_idle_timeout),
            |time| Some(time.0),
            Some(DEFAULT_STREAM_IDLE),
        ),
        max_body: levels.value(|p| Seen::of(&p.max_body), |bytes| bytes.0, DEFAULT_MAX_BODY),
        error_format: levels.value(
            |p| nested(&p.errors, |errors| &errors.format),
            |format| *format,
            ErrorFormat::Problem,
        ),
        envelope: levels.option(|p| Seen::of(&p.envelope), |name| names.index(&name.0), None),
        json: levels.json(),
        ignore_query: levels.value(|p| Seen::of(&p.ignore_query), |list| texts(list), Vec::new()),
        status_map: levels.status_map(),
        metadata: levels.metadata(),
        stream: levels.value(
            |p| Seen::of(&p.stream),
            |list| list.iter().map(|item| item.value).collect(),
            formats.to_vec(),
        ),
        multi_segment_escape: levels.value(
            |p| Seen::of(&p.multi_segment_escape),
            |escape| *escape,
            MultiSegmentEscape::KeepSlash,
        ),
        rate_limits: levels.rate_limits(),
        retry: levels.retry(),
        request_headers: levels.headers(|policy| &policy.request_headers),
        response_headers: levels.headers(|policy| &policy.response_headers),
        escaped_slashes: levels.value(|p| Seen::of(&p.escaped_slashes), |what| *what, EscapedSlashes::Reject),
        compress: levels.option(|p| Seen::of(&p.compress), |what| Some(*what), None),
        decompress: levels.value(|p| Seen::of(&p.decompress), |on| *on, false),
        inner_wildcard: levels.value(|p| Seen::of(&p.inner_wildcard), |on| *on, false),
        cors: levels.cors(),
        validate: levels.validate(),
    }
}

/// The levels that a route inherits from, nearest first.
pub(super) struct Levels<'a>(pub(super) Vec<(Level, &'a RawPolicy)>);

impl<'a> Levels<'a> {
    /// The nearest level that says something.
    pub(super) fn find<T>(&self, key: impl Fn(&'a RawPolicy) -> Seen<'a, T>) -> Option<(Level, Seen<'a, T>)> {
        self.0.iter().map(|(level, policy)| (*level, key(policy))).find(|(_, seen)| !matches!(seen, Seen::Absent))
    }

    /// A key that `null` turns off; `default` holds if nobody says anything.
    pub(super) fn option<T: 'a, V>(
        &self,
        key: impl Fn(&'a RawPolicy) -> Seen<'a, T>,
        value: impl FnOnce(&T) -> Option<V>,
        default: Option<V>,
    ) -> Setting<Option<V>> {
        match self.find(key) {
            None | Some((_, Seen::Absent)) => Setting::built_in(default),
            Some((level, Seen::Removed(place))) => Setting::set(None, level, place.clone()),
            Some((level, Seen::Set(item))) => Setting::set(value(&item.value), level, item.place.clone()),
        }
    }

    /// A key that always has a value; `null` goes back to the default.
    pub(super) fn value<T: 'a, V>(
        &self,
        key: impl Fn(&'a RawPolicy) -> Seen<'a, T>,
        value: impl FnOnce(&T) -> V,
        default: V,
    ) -> Setting<V> {
        match self.find(key) {
            None | Some((_, Seen::Absent)) => Setting::built_in(default),
            Some((level, Seen::Removed(place))) => Setting::set(default, level, place.clone()),
            Some((level, Seen::Set(item))) => Setting::set(value(&item.value), level, item.place.clone()),
        }
    }

    fn json_key<T: Copy + 'a>(&self, key: impl Fn(&'a RawJson) -> &'a Field<T>, default: T) -> Setting<T> {
        self.value(|policy| nested(&policy.json, &key), |value| *value, default)
    }

    fn json(&self) -> JsonPolicy {
        JsonPolicy {
            field_names: self.json_key(|json| &json.field_names, FieldNames::Camel),
            enums: self.json_key(|json| &json.enums, EnumFormat::Name),
            emit_defaults: self.json_key(|json| &json.emit_defaults, false),
            int64: self.json_key(|json| &json.int64, Int64Format::String),
            unknown_fields: self.json_key(|json| &json.unknown_fields, UnknownPolicy::Reject),
            unknown_query: self.json_key(|json| &json.unknown_query, UnknownPolicy::Reject),
        }
    }

    fn retry(&self) -> Retry {
        fn key<'a, T>(policy: &'a RawPolicy, key: fn(&'a RawRetry) -> &'a Field<T>) -> Seen<'a, T> {
            nested(&policy.retry, key)
        }
        fn wait<'a>(policy: &'a RawPolicy, key: fn(&'a RawBackoff) -> &'a Field<Time>) -> Seen<'a, Time> {
            match &policy.retry {
                Field::Absent | Field::Invalid => Seen::Absent,
                Field::Null(place) => Seen::Removed(place),
                Field::Set(retry) => nested(&retry.value.backoff, key),
            }
        }
        let list = |list: &Vec<Item<Text>>| list.iter().filter_map(|item| retry_on(&item.value.0)).collect();
        // A block that is removed leaves nothing to do.
        let max_retries = self.option(|p| key(p, |retry| &retry.max_retries), |count| Some(count.0), Some(1));
        Retry {
            max_retries: Setting { value: max_retries.value.unwrap_or(0), origin: max_retries.origin },
            on: self.value(|p| key(p, |retry| &retry.retry_on), list, default_retry_on()),
            backoff_base: self.value(|p| wait(p, |backoff| &backoff.base), |time| time.0, BACKOFF.0),
            backoff_max: self.value(|p| wait(p, |backoff| &backoff.max), |time| time.0, BACKOFF.1),
            per_try_timeout: self.option(|p| key(p, |retry| &retry.per_try_timeout), |time| Some(time.0), None),
            non_idempotent: self.value(|p| key(p, |retry| &retry.non_idempotent), |on| *on, false),
            budget: self.own_budget(),
        }
    }

    /// The budget of a route that has one of its own.
    fn own_budget(&self) -> Option<RetryBudget> {
        let (level, nearest) = self.0.first()?;
        (*level == Level::Route && budget_of(nearest).is_some())
            .then(|| merged(self.0.iter().filter_map(|(_, policy)| budget_of(policy))))
    }

    fn headers(&self, block: fn(&'a RawPolicy) -> &'a Field<RawHeaders>) -> HeaderRules {
        HeaderRules {
            remove: self.value(|p| nested(block(p), |rules| &rules.remove), |list| lower(list), Vec::new()),
            set: self.value(|p| nested(block(p), |rules| &rules.set), pairs, Vec::new()),
            add: self.value(|p| nested(block(p), |rules| &rules.add), pairs, Vec::new()),
        }
    }

    fn metadata(&self) -> MetadataPolicy {
        fn key<'a, T>(policy: &'a RawPolicy, key: fn(&'a RawMetadata) -> &'a Field<T>) -> Seen<'a, T> {
            nested(&policy.metadata, key)
        }
        MetadataPolicy {
            allow: self.option(|p| key(p, |metadata| &metadata.allow), |list| Some(lower(list)), None),
            deny: self.value(|p| key(p, |metadata| &metadata.deny), |list| lower(list), Vec::new()),
            allow_binary: self.value(|p| key(p, |metadata| &metadata.allow_binary), |on| *on, false),
            prefix: self.option(
                |p| key(p, |metadata| &metadata.prefix),
                |prefix| Some(prefix.0.to_ascii_lowercase()),
                None,
            ),
        }
    }

    /// Code by code, so that a route can add one to what it inherits, or remove one with `null`.
    fn status_map(&self) -> Vec<StatusOverride> {
        let mut map: Vec<StatusOverride> = Vec::new();
        let mut settled = Vec::new();
        for (level, policy) in &self.0 {
            let codes = match &policy.status_map {
                Field::Absent | Field::Invalid => continue,
                // `status_map: null` removes everything that would be inherited from further away.
                Field::Null(_) => break,
                Field::Set(codes) => codes,
            };
            for (code, field) in &codes.value.0 {
                if settled.contains(code) {
                    continue;
                }
                settled.push(*code);
                let Some(item) = field.set() else { continue };
                let Ok(status) = u16::try_from(item.value.0) else { continue };
                let origin = Origin { level: *level, place: Some(item.place.clone()) };
                map.push(StatusOverride { code: *code, status, origin });
            }
        }
        map.sort_by_key(|entry| entry.code);
        map
    }
}
