//! Fetches the keys that tokens are verified with, from where their issuers have them.
//!
//! One task for each key set in force, on the control thread; it ends with the set. A fetch follows redirects within its
//! host alone, and what is fetched is at most [`MAX_ANSWER`] bytes long.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::LOCATION;
use http::uri::PathAndQuery;
use serde_json::Value;
use tidegate_config::valid::Url;
use tokio::time::{sleep, timeout};

use crate::dial::TlsClient;
use crate::lifecycle::Lifecycle;
use crate::outbound::{self, Answer, Target};
use crate::policy::authn::Provider;
use crate::policy::authn::keys::{FETCH_TIME, Fetched, RemoteKeys};
use crate::snapshot::registry::Live;
use crate::tasks;
use crate::upstream::Resolver;

/// Largest document.
pub const MAX_ANSWER: usize = 1 << 20;

/// How often keys are fetched without anybody asking.
const EVERY: Duration = Duration::from_secs(600);

/// Waits between attempts while there are no keys at all, the last one again and again.
const FIRST_WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
];

/// Most redirects of one fetch.
const MAX_REDIRECTS: usize = 3;

/// What readiness calls the keys of a provider.
const PENDING: &str = "jwks:";

/// Readiness waits for the first keys of all providers. To be called before the first request can come.
pub fn expect(live: &Live, lifecycle: &Lifecycle) {
    for provider in live.providers.iter().filter(|provider| provider.remote_keys().is_some()) {
        lifecycle.wait_for(&format!("{PENDING}{}", provider.name));
    }
}

/// Fetches the keys of providers that are in force now and were not `before`.
pub fn follow(live: &Live, before: Option<&Live>, resolver: &Arc<Resolver>, lifecycle: &Arc<Lifecycle>) {
    let fetched = |provider: &Arc<Provider>| provider.remote_keys().cloned();
    let known: Vec<_> = before.iter().flat_map(|before| &before.providers).filter_map(fetched).collect();
    for keys in live.providers.iter().filter_map(fetched) {
        if !known.iter().any(|known| Arc::ptr_eq(known, &keys)) {
            let keep = keep_fresh(Arc::downgrade(&keys), Arc::clone(resolver), Arc::clone(lifecycle));
            drop(tasks::spawn("jwks", keep));
        }
    }
    // Only the start waits for keys: a reload must not take the process out of service.
    let is_there = |name: &str| live.providers.iter().any(|provider| *provider.name == *name);
    lifecycle.retain(|what| what.strip_prefix(PENDING).is_none_or(is_there));
}

/// Fetches at once, every ten minutes and on wishes, until nobody uses the keys any more.
async fn keep_fresh(keys: Weak<RemoteKeys>, resolver: Arc<Resolver>, lifecycle: Arc<Lifecycle>) {
    let mut failures = 0_usize;
    loop {
        let Some(held) = keys.upgrade() else { return };
        held.begin();
        let fetched = timeout(FETCH_TIME, fetch(&held, &resolver)).await;
        let fetched = fetched.unwrap_or_else(|_| Fetched::Failed(format!("not done within {FETCH_TIME:?}")));
        if held.told(fetched) {
            failures = 0;
            lifecycle.settle(&format!("{PENDING}{}", held.provider));
        } else {
            failures = failures.saturating_add(1);
        }
        let wait = match held.fetched() {
            Some(_) => EVERY,
            None => FIRST_WAITS.get(failures.saturating_sub(1)).copied().unwrap_or(Duration::from_secs(30)),
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = held.wished() => {}
            () = gone(&keys) => return,
        }
    }
}

/// Resolves when the task is the only one that still has the keys.
async fn gone(keys: &Weak<RemoteKeys>) {
    while keys.strong_count() > 1 {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Fetches keys once without keeping them. Gives how many of them can be used.
///
/// # Errors
/// Why there are none, in words.
pub async fn probe(keys: &RemoteKeys, resolver: &Resolver) -> Result<usize, String> {
    let document = timeout(FETCH_TIME, document(keys, resolver)).await;
    keys.usable(&document.map_err(|_| format!("not done within {FETCH_TIME:?}"))??)
}

async fn fetch(keys: &RemoteKeys, resolver: &Resolver) -> Fetched {
    match document(keys, resolver).await {
        Ok(document) => Fetched::Document(document),
        Err(why) => Fetched::Failed(why),
    }
}

async fn document(keys: &RemoteKeys, resolver: &Resolver) -> Result<Vec<u8>, String> {
    let Some((url, discovers)) = keys.source.url() else { return Err("nothing to fetch".to_owned()) };
    let getter = Getter { resolver, ca: keys.source.rules().ca.as_deref() };
    if !discovers {
        return getter.get(url).await;
    }
    let mut configuration = url.clone();
    configuration.path = format!("{}/.well-known/openid-configuration", url.path.trim_end_matches('/'));
    let document = getter.get(&configuration).await?;
    getter.get(&jwks_uri(&document, &url.text)?).await
}

/// Where the keys are, by what the issuer says of itself (OpenID Connect Discovery 1.0, section 4.3).
fn jwks_uri(document: &[u8], issuer: &str) -> Result<Url, String> {
    let document: Value =
        serde_json::from_slice(document).map_err(|_| "the discovery document is not JSON".to_owned())?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("issuer") != Some(issuer) {
        return Err("the discovery document is of another issuer".to_owned());
    }
    let uri = text("jwks_uri").ok_or("the discovery document has no jwks_uri")?;
    let url = Url::parse(uri, |host| !host.is_empty()).ok_or("jwks_uri is not a URL")?;
    if !url.tls && !url.is_loopback() {
        return Err("jwks_uri is clear text from another machine".to_owned());
    }
    Ok(url)
}

struct Getter<'a> {
    resolver: &'a Resolver,
    /// The roots to trust; `None`: those of the system.
    ca: Option<&'a Path>,
}

impl Getter<'_> {
    async fn get(&self, url: &Url) -> Result<Vec<u8>, String> {
        let addresses = self.resolver.addresses(&url.host).await;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|ip| SocketAddr::new(ip, url.port)).collect();
        if addresses.is_empty() {
            return Err(format!("{} has no address", url.host));
        }
        // Read again each time: a certificate may have been renewed. It blocks the control thread for milliseconds.
        let load = || TlsClient::load_http1(self.ca, None).map_err(|error| error.to_string());
        let tls = url.tls.then(load).transpose()?;
        let target = Target::new(&url.host, url.port, tls).map_err(|error| error.to_string())?;
        let mut path: PathAndQuery = url.path.parse().map_err(|_| "not a path".to_owned())?;
        for _ in 0..=MAX_REDIRECTS {
            let answer = outbound::get_up_to(&target, &addresses, &path, MAX_ANSWER).await;
            let answer = answer.map_err(|error| error.to_string())?;
            match answer.status.as_u16() {
                200 => return Ok(answer.body.to_vec()),
                301 | 302 | 303 | 307 | 308 => path = redirected(&answer, url)?,
                status => return Err(format!("the answer has status {status}")),
            }
        }
        Err("too many redirects".to_owned())
    }
}

/// The new path, if it is on the same host.
fn redirected(answer: &Answer, url: &Url) -> Result<PathAndQuery, String> {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or("a redirect to nowhere")?;
    let path = if location.starts_with('/') && !location.starts_with("//") {
        location.to_owned()
    } else {
        let to = Url::parse(location, |host| !host.is_empty()).ok_or("a redirect to something that is no URL")?;
        if (&to.host, to.port, to.tls) != (&url.host, url.port, url.tls) {
            return Err("a redirect to another host".to_owned());
        }
        to.path
    };
    path.parse().map_err(|_| "a redirect to something that is no path".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_speaks_for_itself_alone() {
        let issuer = "https://id.example.com";
        let document = |issuer: &str, uri: &str| format!(r#"{{"issuer": "{issuer}", "jwks_uri": "{uri}"}}"#);
        for (text, found) in [
            (document(issuer, "https://keys.example.com/k"), Some("https://keys.example.com/k")),
            (document("https://other.example.com", "https://keys.example.com/k"), None),
            (document(issuer, "http://keys.example.com/k"), None),
            (document(issuer, "http://127.0.0.1:1/k"), Some("http://127.0.0.1:1/k")),
            (document(issuer, "/k"), None),
            ("[]".to_owned(), None),
            ("{".to_owned(), None),
        ] {
            assert_eq!(jwks_uri(text.as_bytes(), issuer).ok().map(|url| url.text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn redirects_stay_on_their_host() {
        let url = Url::parse("https://id.example.com/jwks", |_| true).unwrap();
        let to = |location: &str| {
            let mut answer =
                Answer { status: http::StatusCode::FOUND, headers: http::HeaderMap::new(), body: bytes::Bytes::new() };
            answer.headers.insert(LOCATION, location.parse().unwrap());
            redirected(&answer, &url).ok().map(|path| path.to_string())
        };
        assert_eq!(to("/other?a=b").as_deref(), Some("/other?a=b"));
        assert_eq!(to("https://id.example.com:443/x").as_deref(), Some("/x"));
        for elsewhere in [
            "http://id.example.com/x",
            "https://evil.example.com/x",
            "//evil.example.com/x",
            "https://id.example.com:8443/x",
            "x",
        ] {
            assert_eq!(to(elsewhere), None, "{elsewhere}");
        }
    }
}
