//! Rate limits, and the Redis that they may be counted in.

use std::time::Duration;

use super::policy::{Levels, is_token};
use super::{File, Resolver, name_of};
use crate::decode::{Field, Item, Text, did_you_mean};
use crate::diag::{Code, Place};
use crate::raw::{RawPolicy, RawRateLimit};
use crate::secret::Secret;
use crate::units::Rate;
use crate::valid::{Level, LimitKey, LimitStore, OnStoreError, Origin, Policy, RateLimit, Redis};

/// The shortest time of one place: the arithmetic stays exact, and no client is that fast.
const MIN_INTERVAL_NS: u128 = 1_000;
/// The longest time in which a bucket fills.
const MAX_FILL: Duration = Duration::from_secs(30 * 86_400);
/// Longest wait for Redis: requests wait with it.
const MAX_REDIS_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_REDIS_TIMEOUT: Duration = Duration::from_millis(50);
const DEFAULT_REDIS_PORT: u16 = 6379;

/// The words that stand for themselves.
const KEYS: [(&str, LimitKey); 6] = [
    ("global", LimitKey::Global),
    ("ip", LimitKey::Ip),
    ("user", LimitKey::User),
    ("api_key", LimitKey::ApiKey),
    ("route", LimitKey::Route),
    ("endpoint", LimitKey::Route),
];

/// What is wrong, where, and what to do.
type Report<'a> = dyn FnMut(Code, &Place, String, String) + 'a;

impl Resolver<'_> {
    /// Reports limits that are wrong wherever they are inherited to.
    pub(super) fn check_rate_limits(&mut self, raw: &RawPolicy) {
        let list = raw.rate_limits.value().map_or(&[][..], Vec::as_slice);
        for (index, item) in list.iter().enumerate() {
            let mut report =
                |code, place: &Place, message: String, help: String| self.error_with(code, place, message, help);
            let _checked = read(item, Level::Route, &mut report);
            if let Some(name) = item.value.name.set() {
                self.claim_limit(name, list.iter().take(index));
            }
            if let Some(store) = item.value.store.set().filter(|store| store.value == LimitStore::Redis)
                && !self.has_redis
            {
                let help = "add redis: { url: \"redis://127.0.0.1:6379\" } at the top of the file";
                self.error_with(Code::MissingKey, &store.place, "there is no Redis to count in", help);
            }
        }
    }

    /// Reports names of `near` that one of `far`, nearest first, has already: the limits add up.
    pub(super) fn check_limit_names<'a>(&mut self, near: &'a RawPolicy, far: impl IntoIterator<Item = &'a RawPolicy>) {
        let Some(own) = near.rate_limits.value() else { return };
        for policy in far {
            match &policy.rate_limits {
                Field::Absent | Field::Invalid => {}
                Field::Null(_) => return,
                Field::Set(inherited) => {
                    for name in own.iter().filter_map(|item| item.value.name.set()) {
                        self.claim_limit(name, &inherited.value);
                    }
                }
            }
        }
    }

    fn claim_limit<'a>(
        &mut self,
        name: &Item<crate::decode::Name>,
        others: impl IntoIterator<Item = &'a Item<RawRateLimit>>,
    ) {
        let mut names = others.into_iter().filter_map(|other| other.value.name.set());
        if let Some(earlier) = names.find(|earlier| earlier.value == name.value) {
            let message = format!("a second rate limit with the name {}", name.shown());
            let help = format!("first at {}; limits add up, so each has a name of its own", name_of(&earlier.place));
            self.error_with(Code::Duplicate, &name.place, message, help);
        }
    }

    pub(super) fn redis(&mut self, main: &File) -> Option<Redis> {
        let item = main.raw.redis.set()?;
        let timeout = self.positive(&item.value.timeout, DEFAULT_REDIS_TIMEOUT);
        if let Some(place) = item.value.timeout.set().map(|item| &item.place)
            && timeout.is_some_and(|timeout| timeout > MAX_REDIS_TIMEOUT)
        {
            let help = "requests wait for it";
            self.error_with(Code::InvalidValue, place, "this timeout is at most 10s", help);
        }
        let url = item.value.url.set()?;
        let Some(address) = redis_url(&url.value.0) else {
            let message = format!("{} is not the URL of a Redis", url.shown());
            let help = "as in redis://127.0.0.1:6379, rediss://user:password@redis.example.com/0";
            self.error_with(Code::InvalidValue, &url.place, message, help);
            return None;
        };
        Some(Redis { timeout: timeout?, place: url.place.clone(), ..address })
    }
}

/// Tells the limits of a route which service or route they belong to.
pub(super) fn name_owners(policy: &mut Policy, service: Option<&str>, route: &str) {
    for limit in &mut policy.rate_limits {
        let owner = match limit.origin.level {
            Level::BuiltIn | Level::Defaults => "",
            Level::Service => service.unwrap_or(""),
            Level::Route => route,
        };
        owner.clone_into(&mut limit.owner);
    }
}

impl Levels<'_> {
    /// All of them, those of `defaults` first; `null` removes what is further away.
    pub(super) fn rate_limits(&self) -> Vec<RateLimit> {
        let mut all = Vec::new();
        for (level, policy) in &self.0 {
            let list = match &policy.rate_limits {
                Field::Absent | Field::Invalid => continue,
                Field::Null(_) => break,
                Field::Set(list) => &list.value,
            };
            let own: Vec<RateLimit> = list.iter().filter_map(|item| read(item, *level, &mut |_, _, _, _| {})).collect();
            all.splice(0..0, own);
        }
        all
    }
}

/// The limit, if nothing is wrong with it.
fn read(item: &Item<RawRateLimit>, level: Level, report: &mut Report<'_>) -> Option<RateLimit> {
    let raw = &item.value;
    let rate = raw.limit.set().and_then(|item| rate(item.value.0, &item.place, report));
    let key = raw.key.set().and_then(|item| keys(&item.value.0, &item.place, report));
    let burst = rate.and_then(|rate| burst(raw, rate, report));
    let cost = raw.cost.set().map_or(1, |item| item.value.0);
    if let Some(place) = raw.cost.set().map(|item| &item.place)
        && burst.is_some_and(|burst| !(1..=burst).contains(&cost))
    {
        let help = "a request that takes more than the burst would never pass";
        report(Code::InvalidValue, place, "\"cost\" is from 1 to \"burst\"".to_owned(), help.to_owned());
        return None;
    }
    let store = raw.store.value().copied().unwrap_or(LimitStore::Local);
    if let Some(place) = raw.on_store_error.set().map(|item| &item.place)
        && store == LimitStore::Local
        && !raw.store.is_invalid()
    {
        let message = "\"on_store_error\" does nothing here".to_owned();
        report(Code::Conflict, place, message, "it belongs to store: redis".to_owned());
    }
    Some(RateLimit {
        name: raw.name.value()?.0.clone(),
        rate: rate?,
        burst: burst?,
        key: key?,
        store,
        on_store_error: raw.on_store_error.value().copied().unwrap_or(OnStoreError::Local),
        shadow: raw.shadow.value().copied().unwrap_or(false),
        cost,
        owner: String::new(),
        origin: Origin { level, place: Some(item.place.clone()) },
    })
}

/// A rate that a limit may have.
pub(super) fn rate(rate: Rate, place: &Place, report: &mut Report<'_>) -> Option<Rate> {
    let fits = rate.requests > 0 && rate.per.as_nanos() / u128::from(rate.requests) >= MIN_INTERVAL_NS;
    if !fits {
        let help = "without a limit, leave it out";
        report(Code::InvalidValue, place, "a limit is above zero and at most 1000000/s".to_owned(), help.to_owned());
    }
    fits.then_some(rate)
}

fn burst(raw: &RawRateLimit, rate: Rate, report: &mut Report<'_>) -> Option<u32> {
    let Some(item) = raw.burst.set() else {
        let in_a_second = u128::from(rate.requests) * 1_000_000_000 / rate.per.as_nanos().max(1);
        return (!raw.burst.is_invalid()).then(|| u32::try_from(in_a_second).unwrap_or(u32::MAX).max(1));
    };
    let fill = rate.per.as_nanos() * u128::from(item.value.0) / u128::from(rate.requests.max(1));
    let (message, help) = if item.value.0 == 0 {
        ("a burst of 0 lets nothing through", "the least is 1: no two requests at once")
    } else if fill > MAX_FILL.as_nanos() {
        ("at this rate, this burst takes longer than 30d to come back", "make the burst smaller or the limit larger")
    } else {
        return Some(item.value.0);
    };
    report(Code::InvalidValue, &item.place, message.to_owned(), help.to_owned());
    None
}

fn keys(words: &[Item<Text>], place: &Place, report: &mut Report<'_>) -> Option<Vec<LimitKey>> {
    if words.is_empty() {
        let help = "\"global\" counts all requests together";
        report(Code::InvalidValue, place, "\"key\" is empty".to_owned(), help.to_owned());
        return None;
    }
    let mut keys = Vec::with_capacity(words.len());
    for item in words {
        let key = key(item, report)?;
        if keys.contains(&key) {
            report(
                Code::Duplicate,
                &item.place,
                "the same entry of \"key\" twice".to_owned(),
                "one is enough".to_owned(),
            );
            return None;
        }
        keys.push(key);
    }
    if keys.len() > 1 && keys.contains(&LimitKey::Global) {
        let message = "\"global\" beside other words does nothing".to_owned();
        report(Code::Conflict, place, message, "a combination counts each of its parts apart".to_owned());
        return None;
    }
    Some(keys)
}

fn key(item: &Item<Text>, report: &mut Report<'_>) -> Option<LimitKey> {
    let text = item.value.0.as_str();
    if let Some((_, key)) = KEYS.iter().find(|(word, _)| *word == text) {
        return Some(key.clone());
    }
    let help = match text.split_once(':') {
        Some(("header", name)) if is_token(name) => return Some(LimitKey::Header(name.to_ascii_lowercase())),
        Some(("claim", path)) if !path.trim().is_empty() => return Some(LimitKey::Claim(path.to_owned())),
        Some(("header", _)) => "write a header name, as in header:x-tenant".to_owned(),
        Some(("claim", _)) => "write the path of a claim, as in claim:tenant or claim:realm.name".to_owned(),
        _ => match did_you_mean(text, KEYS.iter().map(|(word, _)| *word).chain(["header:", "claim:"]))
            .filter(|_| !item.secret)
        {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "global, ip, user, api_key, route, header:x-name or claim:path.to.claim".to_owned(),
        },
    };
    report(Code::InvalidValue, &item.place, format!("{} is nothing that a limit can count by", item.shown()), help);
    None
}

/// `redis[s]://[user[:password]@]host[:port][/database]`; the place and the timeout are not in it.
fn redis_url(text: &str) -> Option<Redis> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return None,
    };
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credential, address) = match authority.rsplit_once('@') {
        Some((credential, address)) => (Some(credential), address),
        None => (None, authority),
    };
    let (user, password) = match credential.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        None => (None, None),
        Some((user, password)) => (Some(unescaped(user)?), Some(unescaped(password)?)),
    };
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => DEFAULT_REDIS_PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return None;
    }
    let hidden = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::new);
    Some(Redis {
        host: host.to_owned(),
        port,
        tls,
        user: hidden(user),
        password: hidden(password),
        database: if database.is_empty() { 0 } else { database.parse().ok()? },
        timeout: DEFAULT_REDIS_TIMEOUT,
        place: Place { file: "".into(), line: 0, column: 0, end_column: 0, path: "".into() },
    })
}

/// With `%XX` decoded.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_redis_are_read_in_parts() {
        type Parts = (&'static str, u16, bool, Option<&'static str>, Option<&'static str>, u32);
        let check = |text: &str, expected: Option<Parts>| {
            let found = redis_url(text);
            let found = found.as_ref().map(|redis| {
                let (user, password) = (redis.user.as_ref().map(Secret::expose), redis.password.as_ref());
                (redis.host.as_str(), redis.port, redis.tls, user, password.map(Secret::expose), redis.database)
            });
            assert_eq!(found, expected, "{text}");
        };
        check("redis://127.0.0.1", Some(("127.0.0.1", 6379, false, None, None, 0)));
        check("redis://localhost:7000/3", Some(("localhost", 7000, false, None, None, 3)));
        check("rediss://u:p%40ss@r.example.com/", Some(("r.example.com", 6379, true, Some("u"), Some("p@ss"), 0)));
        check("redis://:word@[::1]:6380", Some(("::1", 6380, false, None, Some("word"), 0)));
        for bad in [
            "127.0.0.1:6379",
            "http://a",
            "redis://",
            "redis://a:0",
            "redis://a:x",
            "redis://a/b",
            "redis://[::1]x",
            "redis://a b",
            "redis://u:%zz@a",
        ] {
            check(bad, None);
        }
    }
}
