//! Whom a limit counts: from a request to the name of a bucket.
//!
//! A bucket belongs to a limit (its name, its owner, its rate, its words) and to the parts of the request that those words
//! name. Each part is written with a tag and its length, so that no two requests that differ look alike.

use std::hash::{BuildHasher as _, DefaultHasher, Hasher as _, RandomState};
use std::net::IpAddr;

use aws_lc_rs::digest;
use http::header::{HeaderMap, HeaderName};
use tidegate_config::valid::{self, LimitKey, LimitStore};
use tidegate_resilience::KeyHash;

use crate::identity::{CredentialKind, Identity};
use std::sync::Arc;

/// Bytes of a digest that make a key of Redis: as many as no accident needs.
const REMOTE_BYTES: usize = 16;

/// Who sends a request, as far as limits ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) ip: IpAddr,
    pub(super) identity: Option<&'a Arc<Identity>>,
    pub(super) headers: &'a HeaderMap,
}

/// Makes the names of one limit's buckets.
pub(super) struct KeyMaker {
    parts: Box<[Part]>,
    /// Have read what is the same for all requests. The seeds are random, so no client can tell where its bucket is, or
    /// meet another's.
    hashers: [DefaultHasher; 2],
    /// The same, for names that other processes must find too: not seeded, but of a hash that nobody can turn round.
    digest: digest::Context,
    /// What names in Redis begin with.
    prefix: Box<str>,
}

/// A part of the key that differs from request to request.
#[derive(Debug)]
enum Part {
    Ip,
    User,
    ApiKey,
    Header(HeaderName),
    Claim(Box<str>),
}

impl std::fmt::Debug for KeyMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyMaker").field("parts", &self.parts).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Where the bytes of a key go.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for [DefaultHasher; 2] {
    fn put(&mut self, bytes: &[u8]) {
        self.iter_mut().for_each(|hasher| hasher.write(bytes));
    }
}

impl Sink for digest::Context {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl KeyMaker {
    pub(super) fn compile(limit: &valid::RateLimit, route: &str, seeds: &[RandomState; 2]) -> Self {
        let words: Vec<String> = limit.key.iter().map(ToString::to_string).collect();
        let of_route = if limit.key.contains(&LimitKey::Route) { route } else { "" };
        let store = match limit.store {
            LimitStore::Local => "local",
            LimitStore::Redis => "redis",
        };
        // With the rate: a limit that was changed starts anew.
        let identity = [
            limit.name.as_str(),
            origin_word(limit),
            limit.owner.as_str(),
            &limit.rate.to_string(),
            &limit.burst.to_string(),
            &words.join("+"),
            of_route,
            store,
        ];
        let mut hashers = seeds.each_ref().map(RandomState::build_hasher);
        let mut digest = digest::Context::new(&digest::SHA256);
        for text in identity {
            field(&mut hashers, b'=', text.as_bytes());
            field(&mut digest, b'=', text.as_bytes());
        }
        let part = |key: &LimitKey| match key {
            LimitKey::Global | LimitKey::Route => None,
            LimitKey::Ip => Some(Part::Ip),
            LimitKey::User => Some(Part::User),
            LimitKey::ApiKey => Some(Part::ApiKey),
            // The configuration was checked: it is a name.
            LimitKey::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok().map(Part::Header),
            LimitKey::Claim(path) => Some(Part::Claim(path.as_str().into())),
        };
        let parts = limit.key.iter().filter_map(part).collect();
        Self { parts, hashers, digest, prefix: format!("tidegate:limit:{}:", limit.name).into() }
    }

    /// All requests have the same bucket.
    pub(super) fn is_fixed(&self) -> bool {
        self.parts.is_empty()
    }

    /// The name of that bucket.
    pub(super) fn fixed(&self) -> KeyHash {
        KeyHash::new(self.hashers.each_ref().map(DefaultHasher::finish))
    }

    /// The name of the asker's bucket in this process. No allocation, but for claims that are no texts.
    pub(super) fn local(&self, asker: &Asker<'_>) -> KeyHash {
        let mut hashers = self.hashers.clone();
        self.parts.iter().for_each(|part| part.write(asker, &mut hashers));
        KeyHash::new(hashers.map(|hasher| hasher.finish()))
    }

    /// The name of the asker's bucket in Redis. It tells nothing about them: what is in a header may be a credential.
    pub(super) fn remote(&self, asker: &Asker<'_>) -> String {
        let mut digest = self.digest.clone();
        self.parts.iter().for_each(|part| part.write(asker, &mut digest));
        let digest = digest.finish();
        let mut name = String::with_capacity(self.prefix.len() + 2 * REMOTE_BYTES);
        name.push_str(&self.prefix);
        for byte in digest.as_ref().iter().take(REMOTE_BYTES) {
            for half in [byte >> 4, byte & 15] {
                name.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
        name
    }
}

/// Under `defaults`, a service and a route may have the same name.
fn origin_word(limit: &valid::RateLimit) -> &'static str {
    match limit.origin.level {
        valid::Level::BuiltIn | valid::Level::Defaults => "defaults",
        valid::Level::Service => "service",
        valid::Level::Route => "route",
    }
}

impl Part {
    fn write(&self, asker: &Asker<'_>, sink: &mut impl Sink) {
        match self {
            Self::Ip => address(sink, asker.ip),
            Self::User => match asker.identity {
                Some(identity) => who(sink, identity),
                None => address(sink, asker.ip),
            },
            Self::ApiKey => match asker.identity.filter(|identity| identity.kind == CredentialKind::ApiKey) {
                Some(identity) => who(sink, identity),
                None => address(sink, asker.ip),
            },
            Self::Header(name) => {
                // All of them: which one a backend reads, nobody knows here.
                let mut values = 0;
                for value in asker.headers.get_all(name) {
                    field(sink, b'h', value.as_bytes());
                    values += 1;
                }
                field(sink, b'n', &u32::to_le_bytes(values));
            }
            Self::Claim(path) => match asker.identity.and_then(|identity| identity.claim(path)) {
                None => address(sink, asker.ip),
                Some(serde_json::Value::String(text)) => field(sink, b's', text.as_bytes()),
                Some(value) => field(sink, b'j', value.to_string().as_bytes()),
            },
        }
    }
}

fn who(sink: &mut impl Sink, identity: &Identity) {
    // Two providers may know different people by one name.
    field(sink, b'p', identity.provider.as_bytes());
    field(sink, b'u', identity.subject.as_bytes());
}

/// A network of IPv6 is one client: whoever has an address there has 2^64 of them.
fn address(sink: &mut impl Sink, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => field(sink, b'4', &ip.octets()),
        IpAddr::V6(ip) => field(sink, b'6', ip.octets().first_chunk::<8>().unwrap_or(&[0; 8])),
    }
}

fn field(sink: &mut impl Sink, tag: u8, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let [a, b, c, d] = length.to_le_bytes();
    sink.put(&[tag, a, b, c, d]);
    sink.put(bytes);
}
