//! Cross-origin requests: origins are brought into the form in which browsers write them, so that comparing bytes is
//! enough later.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Resolver;
use super::endpoints::is_host;
use super::policy::{Levels, Seen, is_token, lower, nested};
use crate::decode::{Field, Item, Text};
use crate::diag::Code;
use crate::raw::{RawCors, RawPolicy};
use crate::valid::{AllowedOrigin, Cors, Policy};

/// Most origins of one list.
const MAX_ORIGINS: usize = 256;
/// Most names of methods or headers in one list.
const MAX_NAMES: usize = 128;
/// Browsers take no more: Firefox one day, Chromium two hours.
const MAX_AGE: Duration = Duration::from_secs(86_400);
const DEFAULT_AGE: Duration = Duration::from_secs(600);
/// What scripts of an application that is trusted with its answers send every day.
const DEFAULT_HEADERS: [&str; 8] = [
    "accept",
    "accept-language",
    "authorization",
    "content-language",
    "content-type",
    "if-match",
    "if-none-match",
    "x-request-id",
];

impl Resolver<'_> {
    /// Reports values that are wrong wherever they are inherited to.
    pub(super) fn check_cors(&mut self, raw: &RawCors) {
        if let Some(list) = raw.allow_origins.set() {
            if list.value.len() > MAX_ORIGINS {
                let message = format!("more than {MAX_ORIGINS} origins");
                self.error_with(Code::InvalidValue, &list.place, message, "https://*.example.com covers many");
            }
            for item in &list.value {
                self.origin(item);
            }
        }
        for item in raw.allow_methods.value().into_iter().flatten() {
            self.check_cors_method(item);
        }
        for (key, field) in [("allow_headers", &raw.allow_headers), ("expose_headers", &raw.expose_headers)] {
            self.check_cors_headers(key, field);
        }
        let names = [raw.allow_methods.set(), raw.allow_headers.set(), raw.expose_headers.set()];
        for list in names.into_iter().flatten().filter(|list| list.value.len() > MAX_NAMES) {
            self.error(Code::InvalidValue, &list.place, format!("more than {MAX_NAMES} names"));
        }
        if let Some(item) = raw.max_age.set()
            && item.value.0 > MAX_AGE
        {
            let help = "no browser remembers a preflight for longer";
            self.error_with(Code::InvalidValue, &item.place, "\"max_age\" is at most 24h", help);
        }
    }

    /// An origin, in the form in which browsers write it; reports what is none.
    pub(super) fn origin(&mut self, item: &Item<Text>) -> Option<AllowedOrigin> {
        match parse(&item.value.0) {
            Ok(origin) => Some(origin),
            Err(fault) => {
                let message = format!("{} {}", item.shown(), fault.message);
                self.error_with(Code::InvalidValue, &item.place, message, fault.help);
                None
            }
        }
    }

    fn check_cors_method(&mut self, item: &Item<Text>) {
        let text = item.value.0.as_str();
        let help = if text == "*" {
            "leave the key out to allow the methods of the route"
        } else if !is_token(text) || matches!(text, "CONNECT" | "TRACE") {
            "as in GET or DELETE"
        } else if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            "methods have upper case"
        } else {
            return;
        };
        self.error_with(Code::InvalidValue, &item.place, format!("{} cannot be allowed", item.shown()), help);
    }

    fn check_cors_headers(&mut self, key: &str, field: &Field<Vec<Item<Text>>>) {
        let Some(list) = field.set() else { return };
        for item in &list.value {
            let text = item.value.0.as_str();
            if text == "*" {
                if list.value.len() > 1 {
                    let help = format!("write \"{key}: ['*']\"");
                    self.error_with(Code::Conflict, &item.place, "\"*\" beside names", help);
                }
            } else if !is_token(text) || text.contains('*') {
                let message = format!("{} is not a header name", item.shown());
                self.error_with(Code::InvalidValue, &item.place, message, "as in x-tenant");
            }
        }
    }

    /// What no level says alone: with `*`, any page could use the credentials of whoever looks at it.
    pub(super) fn check_cors_credentials(&mut self, policy: &Policy) {
        let cors = &policy.cors;
        if !cors.allow_credentials.value || !cors.allows_any() {
            return;
        }
        if let Some(place) = &cors.allow_credentials.origin.place {
            let message = "credentials for the origin \"*\"";
            let help = "list the origins that may send cookies, as in \"https://app.example.com\"";
            self.error_with(Code::Conflict, place, message, help);
        }
    }
}

impl<'a> Levels<'a> {
    pub(super) fn cors(&self) -> Cors {
        fn key<'a, T>(policy: &'a RawPolicy, key: fn(&'a RawCors) -> &'a Field<T>) -> Seen<'a, T> {
            nested(&policy.cors, key)
        }
        let origins = |list: &Vec<Item<Text>>| list.iter().filter_map(|item| parse(&item.value.0).ok()).collect();
        let defaults = || DEFAULT_HEADERS.map(str::to_owned).to_vec();
        let methods = |list: &Vec<Item<Text>>| Some(list.iter().map(|item| item.value.0.clone()).collect());
        Cors {
            allow_origins: self.value(|p| key(p, |cors| &cors.allow_origins), origins, Vec::new()),
            allow_methods: self.option(|p| key(p, |cors| &cors.allow_methods), methods, None),
            allow_headers: self.value(|p| key(p, |cors| &cors.allow_headers), |list| lower(list), defaults()),
            expose_headers: self.value(|p| key(p, |cors| &cors.expose_headers), |list| lower(list), Vec::new()),
            allow_credentials: self.value(|p| key(p, |cors| &cors.allow_credentials), |on| *on, false),
            max_age: self.option(|p| key(p, |cors| &cors.max_age), |time| Some(time.0), Some(DEFAULT_AGE)),
        }
    }
}

/// What is wrong with an origin, and what to do about it.
#[derive(PartialEq, Debug)]
struct Fault {
    message: &'static str,
    help: String,
}

fn fault<T>(message: &'static str, help: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { message, help: help.into() })
}

/// Reads an entry of `allow_origins`.
fn parse(text: &str) -> Result<AllowedOrigin, Fault> {
    const AS_IN: &str = "as in https://app.example.com or https://*.example.com";
    match text {
        "*" => return Ok(AllowedOrigin::Any),
        "null" => return Ok(AllowedOrigin::Null),
        _ => {}
    }
    let Some((scheme, rest)) = text.split_once("://") else { return fault("has no scheme", AS_IN) };
    if let Some(end) = rest.find(['/', '?', '#']) {
        let host = rest.get(..end).unwrap_or_default();
        return fault("is more than an origin", format!("without a path: {scheme}://{host}"));
    }
    if rest.contains('@') {
        return fault("is not an origin", "an origin has no user");
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return fault("has upper case", format!("browsers write {}", text.to_ascii_lowercase()));
    }
    let is_scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme || !scheme.starts_with(|first: char| first.is_ascii_lowercase()) {
        return fault("has no scheme", AS_IN);
    }
    let (host, port) = split_port(rest);
    let port = match port.map(|port| (port, port.parse::<u16>())) {
        None => String::new(),
        Some((_, Ok(443))) if scheme == "https" => String::new(),
        Some((_, Ok(80))) if scheme == "http" => String::new(),
        Some((text, Ok(port))) if port > 0 && port.to_string() == *text => format!(":{port}"),
        Some(_) => return fault("has no port that exists", "1 to 65535, without zeros in front"),
    };
    let scheme = format!("{scheme}://");
    let Some(below) = host.strip_prefix("*.") else {
        check_host(host)?;
        return Ok(AllowedOrigin::Exact(format!("{scheme}{host}{port}")));
    };
    check_host(below)?;
    if (!below.contains('.') && below != "localhost") || below.parse::<Ipv4Addr>().is_ok() {
        return fault("covers a whole top-level domain", AS_IN);
    }
    Ok(AllowedOrigin::Below { scheme, suffix: format!(".{below}{port}") })
}

/// Host and port; a bracketed address has colons of its own.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn check_host(host: &str) -> Result<(), Fault> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(parsed) if parsed.to_string() == address => Ok(()),
            Ok(parsed) => fault("is not how browsers write this address", format!("they write [{parsed}]")),
            Err(_) => fault("has no host", "an IPv6 address stands in brackets, as in http://[::1]:3000"),
        };
    }
    if host.contains('*') {
        return fault("has a \"*\" where none may be", "one \"*.\" in front of a name, as in https://*.example.com");
    }
    if host.contains(':') {
        return fault("has no host", "an IPv6 address stands in brackets, as in http://[::1]:3000");
    }
    if !host.is_ascii() {
        return fault("is not ASCII", "browsers write such names as xn--…");
    }
    if host.ends_with('.') {
        return fault("ends with a dot", "browsers keep that dot, and pages are not reached by such names");
    }
    if is_host(host) { Ok(()) } else { fault("has no host", "as in https://app.example.com") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_out_as_browsers_write_them() {
        for (text, expected) in [
            ("*", "*"),
            ("null", "null"),
            ("https://app.example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("http://app.example.com:443", "http://app.example.com:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("https://*.example.com", "https://*.example.com"),
            ("https://*.example.com:443", "https://*.example.com"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("http://*.localhost:3000", "http://*.localhost:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(parse(text).map(|origin| origin.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_no_browser_would_send_is_refused() {
        for text in [
            "",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/a",
            "https://app.example.com?a",
            "HTTPS://app.example.com",
            "https://App.example.com",
            "https://a@app.example.com",
            "https://app.example.com:0",
            "https://app.example.com:065",
            "https://app.example.com:65536",
            "https://app.example.com:",
            "https://app.example.com.",
            "https://a..b",
            "https://*.com",
            "https://*",
            "https://*example.com",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://*.10.0.0.1",
            "https://*.[::1]",
            "http://::1",
            "http://[::01]",
            "http://[::1",
            "http://[a]",
            "https://b\u{fc}cher.example",
            "://a.example",
            "1s://a.example",
            "https://a b",
        ] {
            assert!(parse(text).is_err(), "{text} is taken as {:?}", parse(text));
        }
    }
}
