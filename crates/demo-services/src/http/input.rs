//! What comes with a request: who is calling, parameters, a JSON body, conditions.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::Failure;
use crate::fault::Fault;
use crate::fields::is_name;
use crate::page::Window;

/// The account of requests without `x-user-id`.
const ANONYMOUS: &str = "demo";
const X_USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// Length of a user id.
const USER_ID_MAX_LEN: usize = 64;

/// The account of the caller.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let mut values = parts.headers.get_all(X_USER_ID).iter();
        let id = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(ANONYMOUS.to_owned())),
            (Some(id), None) => id.to_str().ok().filter(|id| is_name(id, USER_ID_MAX_LEN)),
            (Some(_), Some(_)) => None,
        };
        let problem = format!("must be one name of 1 to {USER_ID_MAX_LEN} letters, digits or any of -_.:@");
        id.map(|id| Self(id.to_owned())).ok_or_else(|| Fault::field("x-user-id", problem).into())
    }
}

/// The variable of the path.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(segment) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Fault::field("path", "must be UTF-8, percent-encoded"))?;
        Ok(Self(segment))
    }
}

/// The query: each name at most once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Fault::field("query", "must be name=value, joined by &"))?;
        Ok(Self(pairs))
    }
}

impl Parameters {
    /// # Errors
    /// A name that is not among `known`, or that comes twice.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Failure> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(Fault::field(name, "is not a parameter of this route").into());
            }
            if self.0.iter().take(at).any(|(other, _)| other == name) {
                return Err(Fault::field(name, "must come once").into());
            }
        }
        Ok(self)
    }

    /// A value, empty if it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// A value that is one of `words`; `None` if it is not there.
    ///
    /// # Errors
    /// Another word.
    pub(crate) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Failure> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wrong = || Failure::from(Fault::field(name, format!("must be one of {}", known.join(", "))));
        found.map(Some).ok_or_else(wrong)
    }

    /// The page that `limit` and `cursor` ask for.
    ///
    /// # Errors
    /// A limit out of range, a cursor that is none.
    pub(crate) fn window<K: std::str::FromStr>(&self) -> Result<Window<K>, Failure> {
        Ok(Window::parse("limit", self.text("limit"), "cursor", self.text("cursor"))?)
    }
}

/// A JSON document.
#[derive(Debug)]
pub(crate) struct Document<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            let message = "the body must be application/json";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        let bytes = body(request, state).await?;
        decode(&mut serde_json::Deserializer::from_slice(&bytes)).map(Self)
    }
}

/// A JSON document, or no body at all.
#[derive(Debug)]
pub(crate) struct OptionalDocument<T>(pub(crate) Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalDocument<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let is_json = is_json(request.headers());
        let bytes = body(request, state).await?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(None)),
            (false, true) => decode(&mut serde_json::Deserializer::from_slice(&bytes)).map(|value| Self(Some(value))),
            (false, false) => {
                let message = "the body must be application/json";
                Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
            }
        }
    }
}

/// A part of a document that has been read already.
///
/// # Errors
/// `field` and the path below it.
pub(crate) fn part<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        Fault::field(place, format!("is not acceptable: {}", error.inner())).into()
    })
}

/// Entity tags that the client knows.
///
/// Source: RFC 9110, section 13.1.
#[derive(Default, Debug)]
pub(crate) struct Conditions {
    none_match: Vec<String>,
    matches: Vec<String>,
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self {
            none_match: tags(&parts.headers, &header::IF_NONE_MATCH),
            matches: tags(&parts.headers, &header::IF_MATCH),
        })
    }
}

impl Conditions {
    /// Whether `If-None-Match` names the present tag. Weak and strong are the same here.
    pub(crate) fn has(&self, tag: &str) -> bool {
        self.none_match.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    }

    /// The version that `If-Match` names; `None` if every version will do. A tag that is none of ours is a version that
    /// never is.
    pub(crate) fn version(&self) -> Option<u64> {
        match self.matches.as_slice() {
            [] => None,
            tags if tags.iter().any(|tag| tag == "*") => None,
            tags => {
                let version = |tag: &String| tag.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok();
                Some(tags.iter().find_map(version).unwrap_or(0))
            }
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
        }
        _ => Failure::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body could not be read"),
    })
}

fn decode<'de, R: serde_json::de::Read<'de>, T: DeserializeOwned>(
    deserializer: &mut serde_json::Deserializer<R>,
) -> Result<T, Failure> {
    let malformed = |error: &serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the body is not JSON from line {line}, column {column} on");
        Failure::new(StatusCode::BAD_REQUEST, "malformed_json", message)
    };
    let decoded = serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if !error.is_data() {
            return malformed(&error);
        }
        let place = if path == "." { "body".to_owned() } else { path };
        Failure::from(Fault::field(place, format!("is not acceptable: {error}")))
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(decoded)
}
