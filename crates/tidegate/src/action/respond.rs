//! A fixed answer from the configuration.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use tidegate_config::valid;

use crate::body::ResponseBody;
use crate::policy::headers::HeaderRules;

/// A compiled `respond`.
#[derive(Debug)]
pub struct Respond {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
    headers: HeaderRules,
}

impl Respond {
    /// Takes over what the configuration has checked.
    #[must_use]
    pub fn compile(respond: &valid::Respond, policy: &valid::Policy) -> Self {
        Self {
            status: StatusCode::from_u16(respond.status).unwrap_or(StatusCode::OK),
            content_type: respond.content_type.map(HeaderValue::from_static),
            body: Bytes::copy_from_slice(&respond.body),
            headers: HeaderRules::compile(&policy.response_headers),
        }
    }

    /// The answer; copies no bytes of the body.
    #[must_use]
    pub fn run(&self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::full(self.body.clone()));
        *response.status_mut() = self.status;
        if let Some(content_type) = &self.content_type {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        self.headers.apply(response.headers_mut());
        response
    }
}
