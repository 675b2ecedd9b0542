//! What two configurations differ in, in words for people.
//!
//! Names and a few harmless values are shown, never a text that may have come from `${…}`. Where something stands does
//! not matter: a route that moved to another line has not changed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tidegate_config::Valid;
use tidegate_config::secret::Secret;
use tidegate_config::valid::{
    Auth, Check, Descriptors, Envelope, KeySource, Listener, Provider, Redis, Required, Route, Service,
};

/// Most changes that are kept in words; a configuration that was replaced by another has more than anybody reads.
const MAX_CHANGES: usize = 500;

/// Most names in a summary.
const MAX_NAMES: usize = 5;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It was not there before.
    Added,
    /// It is there no more.
    Removed,
    /// It is another one.
    Changed,
}

impl Kind {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `listener`, `service`, `route`, `envelope`, `block` or `file`.
    pub what: &'static str,
    /// What happened to it.
    pub kind: Kind,
    /// Its name; of a file the path.
    pub name: String,
    /// Which of its keys, some with their values: `connect_timeout 2s → 5s`. May be empty.
    pub details: Vec<String>,
}

/// `route added: x`, `service changed: y (connect_timeout 2s → 5s)`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.what, self.kind.word(), self.name)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, " ({})", self.details.join(", ")) }
    }
}

/// What two configurations differ in. Empty if only comments, order or spelling do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Listeners, services, routes, envelopes, blocks, files; of each what was added, removed, changed.
    pub changes: Vec<Change>,
    /// Changes beyond those.
    pub more: usize,
}

impl Diff {
    /// From `before` to `after`; `files` are those beside the configuration whose content has changed.
    #[must_use]
    pub fn between(before: &Valid, after: &Valid, files: &[&Path]) -> Self {
        let mut diff = Self::default();
        diff.named("listener", before.listeners.iter().map(listener), after.listeners.iter().map(listener));
        diff.named("service", before.services.iter().map(service), after.services.iter().map(service));
        diff.named(
            "route",
            before.routes.iter().map(|one| route(before, one)),
            after.routes.iter().map(|one| route(after, one)),
        );
        diff.named("envelope", before.envelopes.iter().map(envelope), after.envelopes.iter().map(envelope));
        diff.named("block", blocks(before), blocks(after));
        for path in files {
            diff.push("file", Kind::Changed, path.display().to_string(), Vec::new());
        }
        diff
    }

    /// Nothing that matters differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One short line: `2 routes added (a, b), 1 service changed (shop)`; `no differences` if there are none.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut groups: Vec<(&'static str, Kind, Vec<&str>)> = Vec::new();
        for change in &self.changes {
            match groups.iter_mut().find(|(what, kind, _)| (*what, *kind) == (change.what, change.kind)) {
                Some((_, _, names)) => names.push(&change.name),
                None => groups.push((change.what, change.kind, vec![&change.name])),
            }
        }
        let mut text = String::new();
        for (what, kind, names) in groups {
            let separator = if text.is_empty() { "" } else { ", " };
            let plural = if names.len() == 1 { "" } else { "s" };
            let shown: Vec<&str> = names.iter().take(MAX_NAMES).copied().collect();
            let rest = if names.len() > MAX_NAMES { ", …" } else { "" };
            let _ =
                write!(text, "{separator}{} {what}{plural} {} ({}{rest})", names.len(), kind.word(), shown.join(", "));
        }
        if self.more > 0 {
            let _ = write!(text, ", {} more", self.more);
        }
        if text.is_empty() { "no differences".to_owned() } else { text }
    }

    fn named(
        &mut self,
        what: &'static str,
        before: impl Iterator<Item = Described>,
        after: impl Iterator<Item = Described>,
    ) {
        let mut before: BTreeMap<String, Described> = before.map(|one| (one.name.clone(), one)).collect();
        let mut changed = Vec::new();
        for now in after {
            match before.remove(&now.name) {
                None => self.push(what, Kind::Added, now.name, Vec::new()),
                Some(then) if then.fields == now.fields => {}
                Some(then) => changed.push((then, now)),
            }
        }
        for name in before.into_keys() {
            self.push(what, Kind::Removed, name, Vec::new());
        }
        for (then, now) in changed {
            let details = then.fields.iter().zip(&now.fields).filter_map(|(then, now)| then.to(now));
            let details = details.filter(|detail| !detail.is_empty()).collect();
            self.push(what, Kind::Changed, now.name, details);
        }
    }

    fn push(&mut self, what: &'static str, kind: Kind, name: String, details: Vec<String>) {
        if self.changes.len() < MAX_CHANGES {
            self.changes.push(Change { what, kind, name, details });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// Something with a name, as fields that can be compared; the same fields for all of a kind.
struct Described {
    name: String,
    fields: Vec<Field>,
}

#[derive(PartialEq, Eq)]
struct Field {
    /// Empty for the whole, which stands for keys that have no field of their own.
    key: &'static str,
    /// Without places, see `Place`.
    text: String,
    /// For values that may be shown.
    shown: Option<String>,
}

impl Field {
    /// `key` or `key before → after` if they differ.
    fn to(&self, after: &Self) -> Option<String> {
        if self == after {
            return None;
        }
        Some(match (&self.shown, &after.shown) {
            (Some(before), Some(after)) if before != after => format!("{} {before} → {after}", self.key),
            _ => self.key.to_owned(),
        })
    }
}

fn hidden(key: &'static str, value: &impl fmt::Debug) -> Field {
    Field { key, text: format!("{value:-?}"), shown: None }
}

fn shown(key: &'static str, value: String) -> Field {
    Field { key, text: value.clone(), shown: Some(value) }
}

fn time(key: &'static str, value: Option<Duration>) -> Field {
    shown(key, value.map_or_else(|| "null".to_owned(), |value| format!("{value:?}")))
}

fn listener(listener: &Listener) -> Described {
    let fields = vec![
        shown("address", listener.address.to_string()),
        hidden("tls", &listener.tls),
        hidden("protocols", &listener.protocols),
        hidden("limits", &listener.limits),
        hidden("proxy_protocol", &listener.proxy_protocol),
        hidden("", &Listener { name: String::new(), ..listener.clone() }),
    ];
    Described { name: listener.name.clone(), fields }
}

fn service(service: &Service) -> Described {
    let endpoints: Vec<String> = service.endpoints.iter().map(ToString::to_string).collect();
    let descriptors = match &service.descriptors {
        Descriptors::None => "none",
        Descriptors::Reflection => "reflection",
        Descriptors::Set(_) => "set",
        Descriptors::Protos { .. } => "protos",
    };
    let fields = vec![
        shown("endpoints", endpoints.join(" ")),
        Field { text: format!("{:?}", service.descriptors), ..shown("descriptors", descriptors.to_owned()) },
        shown("max_message", service.max_message.to_string()),
        time("connect_timeout", Some(service.connect_timeout)),
        hidden("connections", &service.connections),
        hidden("tls", &service.tls),
        hidden("", service),
    ];
    Described { name: service.name.clone(), fields }
}

fn route(valid: &Valid, route: &Route) -> Described {
    // By name: an index means another service when one is added before it.
    let mut plain = route.clone();
    let index = plain.action.service_mut().map(std::mem::take);
    let service = index.and_then(|index| valid.services.get(index)).map(|service| service.name.clone());
    // Of several with one name each goes to another service.
    let name = match (&route.share, &service) {
        (Some(_), Some(service)) => format!("{}/{service}", route.name),
        _ => route.name.clone(),
    };
    let weight = route.share.as_ref().map_or_else(|| "none".to_owned(), |share| share.weight.to_string());
    let mirror = plain.mirror.as_mut().map(|mirror| std::mem::take(&mut mirror.service));
    let mirror = mirror.and_then(|index| valid.services.get(index)).map(|service| service.name.clone());
    let envelope = plain.policy.envelope.value.take().and_then(|index| valid.envelopes.get(index));
    let envelope = envelope.map(|envelope| envelope.name.clone());
    let path = plain.path.as_ref().map(|path| path.template.as_str().to_owned());
    let policy = &plain.policy;
    let fields = vec![
        shown("path", path.unwrap_or_else(|| "annotations".to_owned())),
        hidden("method", &plain.methods),
        hidden("hosts", &plain.hosts),
        shown("service", service.unwrap_or_else(|| "none".to_owned())),
        shown("weight", weight),
        shown("mirror", mirror.unwrap_or_else(|| "none".to_owned())),
        shown("envelope", envelope.unwrap_or_else(|| "none".to_owned())),
        hidden("auth", &named_access(valid, route)),
        hidden("action", &plain.action),
        time("timeout", policy.timeout.value),
        time("stream_idle_timeout", policy.stream_idle_timeout.value),
        shown("max_body", policy.max_body.value.to_string()),
        hidden("errors", &policy.error_format.value),
        hidden("json", &policy.json),
        hidden("status_map", &policy.status_map),
        hidden("metadata", &policy.metadata),
        hidden("stream", &policy.stream.value),
        hidden("rate_limits", &policy.rate_limits),
        hidden("", &plain),
    ];
    Described { name, fields }
}

fn envelope(envelope: &Envelope) -> Described {
    Described { name: envelope.name.clone(), fields: vec![hidden("", envelope)] }
}

fn credentials(redis: Option<&Redis>) -> String {
    let parts = redis.map(|redis| [redis.user.as_ref(), redis.password.as_ref()].map(|part| part.map(Secret::expose)));
    format!("{parts:?}")
}

/// The keys at the top that are no lists of named things.
/// Providers by name: an index means another one when one is added before it.
fn named_access(valid: &Valid, route: &Route) -> impl fmt::Debug {
    let access = &route.access;
    let name = |index: &usize| valid.auth.providers.get(*index).map(|provider| provider.name.clone());
    let providers: Vec<Option<String>> = access.providers.value.iter().map(name).collect();
    (
        access.required.value,
        providers,
        access.allow.value.clone(),
        access.methods.value.clone(),
        access.token_from.clone(),
    )
}

/// Secrets are compared, and never shown.
fn auth(valid: &Valid) -> Vec<Field> {
    let Auth { providers, forward, roles } = &valid.auth;
    let secret = |provider: &Provider| match &provider.check {
        Check::Jwt(rules) => match &rules.keys {
            KeySource::Secret { secret, .. } => secret.expose().to_owned(),
            KeySource::Pem(_) | KeySource::File(_) | KeySource::Url(_) | KeySource::Discovery(_) => String::new(),
        },
        Check::ApiKey(_) | Check::Mtls(_) => String::new(),
    };
    let secrets: Vec<String> = providers.iter().map(secret).collect();
    vec![
        hidden("providers", providers),
        Field { key: "secret", text: secrets.join("\n"), shown: None },
        hidden("forward", forward),
        hidden("roles", roles),
    ]
}

fn blocks(valid: &Valid) -> impl Iterator<Item = Described> {
    let Valid { observability, admin, readiness, redis, .. } = valid;
    let required: Vec<&str> = readiness
        .require
        .iter()
        .filter_map(|required| match required {
            Required::Service(index) => valid.services.get(*index).map(|service| service.name.as_str()),
        })
        .collect();
    let mut defaults = valid.defaults.clone();
    let envelope = defaults.envelope.value.take().and_then(|index| valid.envelopes.get(index));
    let token = admin.as_ref().and_then(|admin| admin.token.as_ref()).map(|token| token.expose().to_owned());
    [
        ("defaults", vec![hidden("envelope", &envelope.map(|envelope| &envelope.name)), hidden("policy", &defaults)]),
        ("client_ip", vec![hidden("trusted_proxies", &valid.client_ip.trusted_proxies)]),
        ("merge_slashes", vec![shown("", valid.merge_slashes.value.to_string())]),
        (
            "drain",
            vec![
                time("readiness_delay", Some(valid.drain.readiness_delay)),
                time("timeout", Some(valid.drain.timeout)),
            ],
        ),
        ("runtime", vec![hidden("workers", &valid.runtime.workers), hidden("model", &valid.runtime.model)]),
        (
            "observability",
            vec![
                hidden("logs", &observability.logs),
                hidden("metrics", &observability.metrics),
                hidden("tracing", &observability.tracing),
            ],
        ),
        (
            "admin",
            vec![
                hidden("address", &admin.as_ref().map(|admin| admin.address)),
                // Compared, and never shown.
                Field { key: "token", text: token.unwrap_or_default(), shown: None },
            ],
        ),
        ("auth", auth(valid)),
        (
            "redis",
            vec![
                hidden("url", &redis.as_ref().map(|redis| (&redis.host, redis.port, redis.tls, redis.database))),
                // Compared, and never shown.
                Field { key: "credentials", text: credentials(redis.as_ref()), shown: None },
                time("timeout", redis.as_ref().map(|redis| redis.timeout)),
            ],
        ),
        ("overload", vec![hidden("memory_limit", &valid.overload.memory_limit), hidden("lag", &valid.overload.lag)]),
        ("readiness", vec![hidden("require", &required)]),
        ("health", vec![hidden("detail", &valid.health_detail)]),
        ("system_routes", vec![hidden("paths", &valid.system_routes)]),
    ]
    .into_iter()
    .map(|(name, fields)| Described { name: name.to_owned(), fields })
}
