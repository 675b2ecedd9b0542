//! Cross-origin requests: preflights are answered here, and answers say which page may read them.
//!
//! An origin is compared byte by byte with what the configuration lists, in the one form that browsers write. Whatever
//! is not in that form (upper case, a trailing dot, a user, a second field) is no origin that was listed. Everything that
//! an answer says is a value made when the configuration was compiled; the origin is the one that the client sent.
//!
//! Source: the Fetch standard, section 3.2 (HTTP CORS protocol).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tidegate_config::valid::{self, AllowedOrigin};

use crate::body::ResponseBody;
use crate::reject::{Reason, Reject};

/// Never granted: a page of the internet has no business with a network that is not.
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What only the gateway says about origins, where it speaks of them at all.
const OURS: [HeaderName; 7] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
    ALLOW_PRIVATE_NETWORK,
];

/// Most header names that one preflight may ask for.
const MAX_ASKED: usize = 64;

const VARY_ANSWER: HeaderValue = HeaderValue::from_static("origin");
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Methods of a route for any method, as long as nobody lists others.
const COMMON_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// The compiled rules of a route.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    methods: Vec<Box<str>>,
    allow_methods: HeaderValue,
    /// In lower case; `None`: all.
    headers: Option<Vec<Box<str>>>,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

/// What of an origin's request decides about the headers of its answer.
#[derive(Debug)]
pub struct Asked<'a> {
    cors: &'a Cors,
    /// The value of `Access-Control-Allow-Origin`; `None`: not for this origin, or nobody asks.
    origin: Option<HeaderValue>,
    preflight: bool,
}

impl Cors {
    /// Compiles the rules of a route for `methods` (any if `None`); `None` if it has none.
    #[must_use]
    pub fn compile(cors: &valid::Cors, methods: Option<&[String]>) -> Option<Self> {
        if !cors.is_on() {
            return None;
        }
        let methods: Vec<Box<str>> = match (&cors.allow_methods.value, methods) {
            (Some(listed), _) => listed.iter().map(|method| method.as_str().into()).collect(),
            (None, Some(of_route)) => methods_of(of_route),
            (None, None) => COMMON_METHODS.map(Box::from).to_vec(),
        };
        let all = |list: &[String]| list.iter().any(|name| name == "*");
        let headers = &cors.allow_headers.value;
        Some(Self {
            origins: Origins::compile(&cors.allow_origins.value),
            allow_methods: list(&methods).unwrap_or(HeaderValue::from_static("GET")),
            methods,
            headers: (!all(headers)).then(|| headers.iter().map(|name| name.as_str().into()).collect()),
            allow_headers: if all(headers) { None } else { list(headers) },
            expose_headers: list(&cors.expose_headers.value),
            credentials: cors.allow_credentials.value,
            max_age: cors.max_age.value.map(|age| HeaderValue::from(age.as_secs())),
        })
    }

    /// Takes what an answer will need from the head of a request.
    #[must_use]
    pub fn asked(&self, method: &Method, headers: &HeaderMap) -> Asked<'_> {
        let origin = one(headers, &ORIGIN).filter(|origin| self.origins.allow(origin.as_bytes()));
        let origin = origin.map(|origin| if self.origins.any { ANY } else { origin.clone() });
        Asked { cors: self, origin, preflight: preflight_method(method, headers).is_some() }
    }

    /// The answer to a preflight; `None` if the request is none. Nothing else is asked about it: browsers send no
    /// credentials with it.
    ///
    /// # Errors
    /// `forbidden` for an origin, method or header that the route does not allow.
    pub fn preflight(&self, parts: &Parts) -> Option<Result<Response<ResponseBody>, Reject>> {
        let method = preflight_method(&parts.method, &parts.headers)?;
        Some(self.grant(method, &parts.headers))
    }

    /// What these rules mean for a request, for people; `None` if no page of another origin asks.
    #[must_use]
    pub fn note(&self, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let asked = headers.contains_key(ORIGIN).then(|| self.asked(method, headers))?;
        Some(match (preflight_method(method, headers), asked.origin) {
            (Some(method), _) if self.grant(method, headers).is_ok() => "a preflight, granted by the gateway: 204",
            (Some(_), _) => "a preflight, refused by the gateway",
            (None, Some(_)) => "pages of this origin may read the answer",
            (None, None) => "pages of this origin may not read the answer",
        })
    }

    fn grant(&self, method: &HeaderValue, headers: &HeaderMap) -> Result<Response<ResponseBody>, Reject> {
        let refuse = |detail: &'static str| Err(Reject::new(Reason::Forbidden).detail(detail));
        if !one(headers, &ORIGIN).is_some_and(|origin| self.origins.allow(origin.as_bytes())) {
            return refuse("this origin may not use this path");
        }
        if !self.methods.iter().any(|allowed| allowed.as_bytes() == method.as_bytes()) {
            return refuse("pages of other origins may not use this method");
        }
        let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS);
        if !self.allows_headers(asked.iter()) {
            return refuse("pages of other origins may not send this header");
        }
        let mut response = Response::new(ResponseBody::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone());
        match &self.allow_headers {
            Some(allowed) => {
                answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
            }
            // All are allowed: with credentials, "*" would be the name of a header.
            None if self.headers.is_none() => {
                for value in asked {
                    answer.append(ACCESS_CONTROL_ALLOW_HEADERS, value.clone());
                }
            }
            None => {}
        }
        if let Some(age) = &self.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        Ok(response)
    }

    fn allows_headers<'a>(&self, asked: impl Iterator<Item = &'a HeaderValue>) -> bool {
        let mut names = asked.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let allowed = |name: &[u8]| match &self.headers {
            None => HeaderName::from_bytes(name).is_ok(),
            Some(list) => list.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(name)),
        };
        names.by_ref().take(MAX_ASKED).map(<[u8]>::trim_ascii).all(|name| name.is_empty() || allowed(name))
            && names.next().is_none()
    }
}

impl Asked<'_> {
    /// Writes what the answer, be it good or a refusal, says about origins. What the backend said gives way.
    pub fn decorate(&self, response: &mut Response<ResponseBody>) {
        let granted = !self.preflight || response.status() == StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        if !self.preflight {
            for name in OURS {
                headers.remove(name);
            }
        }
        headers.append(VARY, if self.preflight { VARY_PREFLIGHT } else { VARY_ANSWER });
        let Some(origin) = self.origin.as_ref().filter(|_| granted) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.cors.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = self.cors.expose_headers.as_ref().filter(|_| !self.preflight) {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

/// The method that a preflight asks for; `None` for a request that is no preflight. One that comes twice is none that
/// could be allowed.
#[must_use]
pub fn preflight_method<'a>(method: &Method, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    if *method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    headers.get(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The value of a field that came exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Those of a route, and `HEAD` where there is `GET`: the router answers it, too.
fn methods_of(route: &[String]) -> Vec<Box<str>> {
    let mut methods: Vec<Box<str>> = route.iter().map(|method| method.as_str().into()).collect();
    let has = |methods: &[Box<str>], name: &str| methods.iter().any(|method| **method == *name);
    if has(&methods, "GET") && !has(&methods, "HEAD") {
        methods.push("HEAD".into());
    }
    methods
}

fn list<T: AsRef<str>>(names: &[T]) -> Option<HeaderValue> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    // Tokens, which all may stand in a field.
    (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok()).flatten()
}

/// Which origins are allowed.
#[derive(Debug, Default)]
struct Origins {
    any: bool,
    /// Sorted; `null` is one of them if it is listed.
    exact: Vec<Box<[u8]>>,
    below: Vec<Below>,
}

#[derive(Debug)]
struct Below {
    scheme: Box<[u8]>,
    suffix: Box<[u8]>,
}

impl Origins {
    fn compile(list: &[AllowedOrigin]) -> Self {
        let bytes = |text: &str| Box::from(text.as_bytes());
        let mut origins = Self::default();
        for origin in list {
            match origin {
                AllowedOrigin::Any => origins.any = true,
                AllowedOrigin::Null => origins.exact.push(bytes("null")),
                AllowedOrigin::Exact(text) => origins.exact.push(bytes(text)),
                AllowedOrigin::Below { scheme, suffix } => {
                    origins.below.push(Below { scheme: bytes(scheme), suffix: bytes(suffix) });
                }
            }
        }
        origins.exact.sort_unstable();
        origins
    }

    fn allow(&self, origin: &[u8]) -> bool {
        self.any
            || self.exact.binary_search_by(|listed| (**listed).cmp(origin)).is_ok()
            || self.below.iter().any(|below| below.covers(origin))
    }
}

impl Below {
    fn covers(&self, origin: &[u8]) -> bool {
        let rest = origin.strip_prefix(&*self.scheme);
        let labels = rest.and_then(|rest| rest.strip_suffix(&*self.suffix));
        labels.is_some_and(|labels| labels.split(|byte| *byte == b'.').all(is_label))
    }
}

/// A label as browsers write it: `:`, `@`, `/` and whatever else could end a host early are in none.
fn is_label(label: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.iter().all(allowed)
}

#[cfg(test)]
mod tests;
