//! `auth`: providers, roles, and what backends are told.

use std::time::Duration;

use super::endpoints::is_host;
use super::limits;
use super::policy::is_token;
use super::{File, Names, Resolver, place_of};
use crate::decode::{Field, Item, Name, Text};
use crate::diag::{Code, Place};
use crate::raw::{RawApiKey, RawAuth, RawProvider};
use crate::secret::Secret;
use crate::valid::{
    ApiKey, ApiKeys, Auth, Certificate, Check, CredentialSource, Forward, JwtRules, KeySource, Provider, ProviderType,
    Role, Url,
};

/// Shorter secrets of HMAC can be guessed (RFC 7518, section 3.2, for HS256).
const MIN_SECRET_BYTES: usize = 32;
/// A credential of days ago is not the fault of a clock.
const MAX_LEEWAY: Duration = Duration::from_secs(600);
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const HMAC: [&str; 3] = ["HS256", "HS384", "HS512"];
const SIGNATURES: [&str; 10] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

/// What the rest of the configuration refers to.
pub(super) struct KnownProviders {
    pub(super) names: Names,
    /// `auth.default`.
    pub(super) default: Vec<usize>,
    /// There is an `auth` block, so that a route without a decision may be an oversight.
    pub(super) is_set: bool,
}

impl Resolver<'_> {
    pub(super) fn auth(&mut self, main: &File) -> (Auth, KnownProviders) {
        let mut known = KnownProviders { names: Names::new(), default: Vec::new(), is_set: false };
        known.names.incomplete = main.raw.auth.is_invalid();
        let Some(raw) = main.raw.auth.value() else { return (Auth::default(), known) };
        known.is_set = true;
        let roles = self.roles(raw);
        let mut providers = Vec::new();
        for (name, field) in raw.providers.value().into_iter().flat_map(|table| &table.0) {
            let unique = self.claim("provider", name, &mut known.names);
            let provider = field.set().and_then(|item| self.provider(name, item));
            if let Some(provider) = provider.filter(|_| unique) {
                known.names.set_index(&name.value.0, providers.len());
                providers.push(provider);
            }
        }
        for item in raw.default.value().into_iter().flatten() {
            let index = self.refer("provider", item, &known.names);
            known.default.extend(index.filter(|index| !known.default.contains(index)));
        }
        let forward = self.forward(raw);
        (Auth { providers, forward, roles }, known)
    }

    /// Each role with all that it includes.
    fn roles(&mut self, raw: &RawAuth) -> Vec<Role> {
        let rows: Vec<(&Item<Name>, &[Item<Name>])> = raw
            .roles
            .value()
            .into_iter()
            .flat_map(|table| &table.0)
            .map(|(name, included)| (name, included.value().map_or(&[][..], Vec::as_slice)))
            .collect();
        let of = |role: &str| rows.iter().find(|(name, _)| name.value.0 == role);
        let mut roles = Vec::with_capacity(rows.len());
        for (name, included) in &rows {
            for item in *included {
                if of(&item.value.0).is_none() {
                    let help = format!("add \"{}: []\" to \"roles\"", item.value.0);
                    self.error_with(Code::UnknownName, &item.place, format!("no role {}", item.shown()), help);
                }
            }
            let mut includes: Vec<String> = Vec::new();
            let mut next: Vec<&str> = included.iter().map(|item| item.value.0.as_str()).collect();
            while let Some(role) = next.pop() {
                if includes.iter().any(|known| known == role) {
                    continue;
                }
                includes.push(role.to_owned());
                next.extend(of(role).into_iter().flat_map(|(_, more)| more.iter()).map(|item| item.value.0.as_str()));
            }
            if includes.contains(&name.value.0) {
                let message = format!("role {} includes itself", name.shown());
                self.error_with(Code::Conflict, &name.place, message, "roles that include each other are one role");
            }
            includes.sort_unstable();
            roles.push(Role { name: name.value.0.clone(), includes });
        }
        roles
    }

    fn forward(&mut self, raw: &RawAuth) -> Vec<Forward> {
        let mut forward: Vec<Forward> = Vec::new();
        for (name, field) in raw.forward.value().into_iter().flat_map(|table| &table.0) {
            let lower = name.value.0.to_ascii_lowercase();
            let Some(claim) = field.set() else { continue };
            if !is_token(&lower) || lower.ends_with("-bin") || lower.starts_with("grpc-") || !is_ours_to_send(&lower) {
                let message = format!("{} cannot be the name of forwarded identity", name.shown());
                self.error_with(Code::InvalidValue, &name.place, message, "as in x-user-id");
            } else if claim.value.0.is_empty() {
                self.error(Code::InvalidValue, &claim.place, "an empty claim");
            } else if forward.iter().any(|known| known.name == lower) {
                self.error(Code::Duplicate, &name.place, format!("{} is forwarded twice", name.shown()));
            } else {
                forward.push(Forward { name: lower, claim: claim.value.0.clone() });
            }
        }
        forward
    }

    fn provider(&mut self, name: &Item<Name>, item: &Item<RawProvider>) -> Option<Provider> {
        let raw = &item.value;
        let kind = *raw.type_.value()?;
        self.check_keys_of_kind(raw, kind);
        let from = self.credential_sources(raw, kind);
        let check = match kind {
            ProviderType::Jwt => Check::Jwt(Box::new(self.jwt(raw, &item.place)?)),
            ProviderType::ApiKey => Check::ApiKey(self.api_keys(raw, &item.place)),
            ProviderType::Mtls => Check::Mtls(self.certificates(raw)),
        };
        let forward_token = raw.forward_token.value().copied().unwrap_or(true);
        Some(Provider { name: name.value.0.clone(), place: item.place.clone(), from, forward_token, check })
    }

    /// Keys that say nothing for this kind of provider are a mistake.
    fn check_keys_of_kind(&mut self, raw: &RawProvider, kind: ProviderType) {
        let jwt = [
            ("issuer", place_of(&raw.issuer)),
            ("audience", place_of(&raw.audience)),
            ("algorithms", place_of(&raw.algorithms)),
            ("secret", place_of(&raw.secret)),
            ("weak_secret", place_of(&raw.weak_secret)),
            ("public_key", place_of(&raw.public_key)),
            ("jwks", place_of(&raw.jwks)),
            ("discovery", place_of(&raw.discovery)),
            ("ca", place_of(&raw.ca)),
            ("leeway", place_of(&raw.leeway)),
            ("typ", place_of(&raw.typ)),
            ("roles_claim", place_of(&raw.roles_claim)),
            ("scopes_claim", place_of(&raw.scopes_claim)),
            ("token_from", place_of(&raw.token_from)),
        ];
        let api_key = [
            ("header", place_of(&raw.header)),
            ("query", place_of(&raw.query)),
            ("keys", place_of(&raw.keys)),
            ("keys_file", place_of(&raw.keys_file)),
        ];
        let mtls = [("certificates", place_of(&raw.certificates))];
        let kinds: [(ProviderType, &str, &[_]); 3] = [
            (ProviderType::Jwt, "jwt", &jwt),
            (ProviderType::ApiKey, "api_key", &api_key),
            (ProviderType::Mtls, "mtls", &mtls),
        ];
        for (_, word, keys) in kinds.iter().filter(|(of, _, _)| *of != kind) {
            for (key, place) in *keys {
                if let Some(place) = place {
                    let message = format!("\"{key}\" is for providers of type \"{word}\"");
                    self.error(Code::Conflict, place, message);
                }
            }
        }
    }

    fn credential_sources(&mut self, raw: &RawProvider, kind: ProviderType) -> Vec<CredentialSource> {
        match kind {
            ProviderType::Mtls => Vec::new(),
            ProviderType::ApiKey => {
                if let (Some(_), Some(query)) = (raw.header.set(), raw.query.set()) {
                    let message = "\"header\" and \"query\" together";
                    self.error_with(Code::Conflict, &query.place, message, "keep one of them");
                }
                if let Some(query) = raw.query.set() {
                    return vec![CredentialSource::Query(query.value.0.clone())];
                }
                let header = raw.header.set();
                if let Some(item) = header.filter(|item| !is_token(&item.value.0)) {
                    self.error(Code::InvalidValue, &item.place, format!("{} is not a header name", item.shown()));
                }
                let header = header.map_or("x-api-key", |item| item.value.0.as_str());
                vec![CredentialSource::Header(header.to_ascii_lowercase())]
            }
            ProviderType::Jwt => {
                let Some(list) = raw.token_from.set() else { return vec![CredentialSource::Bearer] };
                if list.value.is_empty() {
                    self.error(Code::InvalidValue, &list.place, "\"token_from\" is empty");
                }
                list.value.iter().filter_map(|item| self.token_source(item)).collect()
            }
        }
    }

    pub(super) fn token_source(&mut self, item: &Item<Text>) -> Option<CredentialSource> {
        let (place, name) = item.value.0.split_once(':').unwrap_or((item.value.0.as_str(), ""));
        match (place, name) {
            ("header", "") => Some(CredentialSource::Bearer),
            ("header", name) if is_token(name) => match name.to_ascii_lowercase() {
                name if name == "authorization" => Some(CredentialSource::Bearer),
                name => Some(CredentialSource::Header(name)),
            },
            ("cookie", name) if is_token(name) => Some(CredentialSource::Cookie(name.to_owned())),
            ("query", name) if !name.is_empty() => Some(CredentialSource::Query(name.to_owned())),
            _ => {
                let message = format!("{} is no place for a token", item.shown());
                let help = "write \"header\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
                self.error_with(Code::InvalidValue, &item.place, message, help);
                None
            }
        }
    }

    fn jwt(&mut self, raw: &RawProvider, place: &Place) -> Option<JwtRules> {
        let issuer = raw.issuer.value().map(|issuer| issuer.0.clone());
        let keys = self.key_source(raw, place);
        let algorithms = self.algorithms(raw, keys.as_ref());
        let leeway = raw.leeway.set();
        if let Some(item) = leeway.filter(|item| item.value.0 > MAX_LEEWAY) {
            self.error(Code::InvalidValue, &item.place, "\"leeway\" is at most 10m");
        }
        let text = |field: &Field<Text>| field.value().map(|text| text.0.clone());
        Some(JwtRules {
            issuer,
            audience: raw.audience.value().into_iter().flatten().map(|item| item.value.0.clone()).collect(),
            algorithms,
            keys: keys?,
            ca: raw.ca.set().map(|ca| self.path(ca)),
            leeway: leeway.map_or(DEFAULT_LEEWAY, |item| item.value.0),
            typ: text(&raw.typ),
            roles_claim: text(&raw.roles_claim).unwrap_or_else(|| "roles".to_owned()),
            scopes_claim: text(&raw.scopes_claim),
        })
    }

    fn key_source(&mut self, raw: &RawProvider, place: &Place) -> Option<KeySource> {
        let discovers = raw.discovery.value().copied().unwrap_or(false);
        let given = [
            ("secret", place_of(&raw.secret)),
            ("public_key", place_of(&raw.public_key)),
            ("jwks", place_of(&raw.jwks)),
            ("discovery", place_of(&raw.discovery).filter(|_| discovers)),
        ];
        let mut given = given.iter().filter_map(|(key, place)| Some((*key, (*place)?)));
        if let (Some((first, _)), Some((second, place))) = (given.next(), given.next()) {
            let message = format!("\"{first}\" and \"{second}\" together");
            self.error_with(Code::Conflict, place, message, "keys come from one place; use two providers");
            return None;
        }
        if [&raw.secret, &raw.public_key, &raw.jwks].into_iter().any(Field::is_invalid) || raw.discovery.is_invalid() {
            return None;
        }
        if let Some(item) = raw.secret.set() {
            return self.secret(raw, item);
        }
        if let Some(item) = raw.public_key.set() {
            return Some(KeySource::Pem(self.path(item)));
        }
        if let Some(item) = raw.jwks.set() {
            if !item.value.0.contains("://") {
                return Some(KeySource::File(self.path(item)));
            }
            return self.url(item).map(KeySource::Url);
        }
        if discovers {
            let Some(issuer) = raw.issuer.set() else {
                let help = "it is asked for \"/.well-known/openid-configuration\"";
                self.error_with(Code::MissingKey, place, "\"discovery\" needs \"issuer\"", help);
                return None;
            };
            return self.url(issuer).map(KeySource::Discovery);
        }
        let help = "one of \"jwks\", \"public_key\", \"secret\" and \"discovery: true\"";
        self.error_with(Code::MissingKey, place, "nothing says where the keys come from", help);
        None
    }

    fn secret(&mut self, raw: &RawProvider, item: &Item<Text>) -> Option<KeySource> {
        let weak = raw.weak_secret.value().copied().unwrap_or(false);
        // Files end with a newline, which nobody means.
        let secret = item.value.0.trim_end_matches(['\n', '\r']);
        if secret.is_empty() || (secret.len() < MIN_SECRET_BYTES && !weak) {
            let message = format!("the secret has less than {MIN_SECRET_BYTES} bytes");
            let help = "make one with `openssl rand -hex 32`; for development say \"weak_secret: true\"";
            self.error_with(Code::InvalidValue, &item.place, message, help);
            return None;
        }
        if secret.len() < MIN_SECRET_BYTES {
            let message = "the secret can be guessed: whoever does can be anybody";
            self.warn(Code::WeakSecret, &item.place, message, "\"weak_secret\" is for development");
        }
        Some(KeySource::Secret { secret: Secret::new(secret.to_owned()), weak })
    }

    /// A shared secret never checks what a public key should, nor the other way round. A file of keys may hold both: each
    /// key fits its own algorithms alone.
    fn algorithms(&mut self, raw: &RawProvider, keys: Option<&KeySource>) -> Vec<String> {
        let symmetric = matches!(keys, Some(KeySource::Secret { .. }));
        let may_have_secrets = symmetric || matches!(keys, Some(KeySource::File(_)));
        let is_possible =
            |name: &str| (may_have_secrets && HMAC.contains(&name)) || (!symmetric && SIGNATURES.contains(&name));
        let Some(list) = raw.algorithms.set() else {
            let default: &[&str] = if symmetric { &["HS256"] } else { &["RS256", "ES256", "EdDSA"] };
            return default.iter().map(|name| (*name).to_owned()).collect();
        };
        if list.value.is_empty() {
            self.error(Code::InvalidValue, &list.place, "\"algorithms\" is empty");
        }
        let mut algorithms: Vec<String> = Vec::new();
        for item in &list.value {
            let name = item.value.0.as_str();
            let is_known = HMAC.contains(&name) || SIGNATURES.contains(&name);
            let help = match keys {
                _ if !is_known => "HS, RS, PS or ES with 256, 384 or 512, or EdDSA",
                None => "",
                Some(_) if symmetric => "a secret is for HS256, HS384 and HS512",
                Some(_) => "HS algorithms need \"secret\", or a file of keys",
            };
            if !is_known || (keys.is_some() && !is_possible(name)) {
                let message = format!("{} cannot be used here", item.shown());
                self.error_with(Code::InvalidValue, &item.place, message, help);
            } else if !algorithms.iter().any(|known| known == name) {
                algorithms.push(name.to_owned());
            }
        }
        algorithms
    }

    /// An `https://` URL; clear text is for this machine alone, or whoever is in between chooses the keys.
    fn url(&mut self, item: &Item<Text>) -> Option<Url> {
        let Some(url) = Url::parse(&item.value.0, is_host) else {
            let message = format!("{} is not a URL", item.shown());
            self.error_with(Code::InvalidValue, &item.place, message, "as in https://id.example.com/jwks.json");
            return None;
        };
        if !url.tls && !url.is_loopback() {
            let help = "use https://: whoever is in between could choose the keys";
            self.error_with(Code::InvalidValue, &item.place, "keys over clear text from another machine", help);
            return None;
        }
        Some(url)
    }

    fn api_keys(&mut self, raw: &RawProvider, place: &Place) -> ApiKeys {
        let mut keys: Vec<ApiKey> = Vec::new();
        for (digest, field) in raw.keys.value().into_iter().flat_map(|table| &table.0) {
            let Some(key) = field.value().and_then(|raw| self.api_key(digest, raw)) else { continue };
            if keys.iter().any(|known| known.digest == key.digest) {
                self.error(Code::Duplicate, &digest.place, "the same key twice");
            } else {
                keys.push(key);
            }
        }
        if raw.keys.is_missing() && raw.keys_file.is_missing() {
            let help = "make one with `tidegate api-key new`";
            self.error_with(Code::MissingKey, place, "neither \"keys\" nor \"keys_file\"", help);
        }
        ApiKeys {
            keys,
            file: raw.keys_file.set().map(|file| self.path(file)),
            file_place: place_of(&raw.keys_file).cloned(),
        }
    }

    fn api_key(&mut self, digest: &Item<Name>, raw: &RawApiKey) -> Option<ApiKey> {
        let Some(bytes) = ApiKey::digest_of_hex(&digest.value.0) else {
            let message = "a key of the table is not the SHA-256 of an API key";
            let help = "64 hexadecimal digits, as `tidegate api-key new` prints them";
            self.error_with(Code::InvalidValue, &digest.place, message, help);
            return None;
        };
        let mut report =
            |code, place: &Place, message: String, help: String| self.error_with(code, place, message, help);
        let rate = raw.rate.set().and_then(|item| limits::rate(item.value.0, &item.place, &mut report));
        Some(ApiKey {
            digest: bytes,
            id: raw.id.value()?.0.clone(),
            roles: names(&raw.roles),
            scopes: texts(&raw.scopes),
            rate,
        })
    }

    fn certificates(&mut self, raw: &RawProvider) -> Vec<Certificate> {
        let mut certificates: Vec<Certificate> = Vec::new();
        for item in raw.certificates.value().into_iter().flatten() {
            let Some(name) = item.value.name.set() else { continue };
            if let Some(earlier) = certificates.iter().find(|known| known.name == name.value.0) {
                let message = format!("{} stands here twice", name.shown());
                self.error_with(Code::Duplicate, &name.place, message, format!("both are {}", earlier.id));
                continue;
            }
            certificates.push(Certificate {
                name: name.value.0.clone(),
                id: item.value.id.value().map_or_else(|| name.value.0.clone(), |id| id.0.clone()),
                roles: names(&item.value.roles),
                scopes: texts(&item.value.scopes),
            });
        }
        certificates
    }
}

/// What the gateway says anyway, and what belongs to one connection, is no name for an identity.
fn is_ours_to_send(name: &str) -> bool {
    !["host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", "x-request-id"]
        .contains(&name)
        && !name.starts_with("x-forwarded-")
        && !name.starts_with("x-path-")
}

pub(super) fn names(field: &Field<Vec<Item<Name>>>) -> Vec<String> {
    field.value().into_iter().flatten().map(|item| item.value.0.clone()).collect()
}

pub(super) fn texts(field: &Field<Vec<Item<Text>>>) -> Vec<String> {
    field.value().into_iter().flatten().map(|item| item.value.0.clone()).collect()
}
