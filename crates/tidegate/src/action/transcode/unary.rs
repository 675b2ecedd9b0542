//! One message in, one message out.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use tidegate_transcode::plan::FieldIndex;
use tidegate_transcode::{AnswerKind, Code, ResponseError, json};

use super::{Asked, IGNORED, Transcode};
use crate::action::envelope::{self, Facts, RenderError, Shape};
use crate::action::failure::milliseconds;
use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::reject::{Reason, Reject};
use crate::telemetry::metrics::Direction;
use crate::time;
use crate::upstream::{CallDeadline, Caller, UnaryAnswer};

impl Transcode {
    pub(super) async fn unary(
        self: &Arc<Self>,
        exchange: &Exchange,
        asked: Asked,
        values: &[Cow<'_, str>],
        query: Option<&str>,
        request: RequestBody,
    ) -> Result<Response<ResponseBody>, Reject> {
        let request = self.collect(exchange, request, asked.deadline).await?;
        let (frame, ignored) = self.encode(exchange, &asked, values, query, &request)?;
        drop(request);
        if let Some(mirror) = &self.mirror {
            mirror.call(exchange, &asked.head, &frame);
        }
        let deadline = CallDeadline::total(asked.deadline);
        let idempotent = self.idempotent || exchange.method.is_idempotent();
        let caller = Caller::Exchange(exchange);
        let called = match self.hedge.as_deref().filter(|_| idempotent) {
            None => self.cluster.unary(caller, asked.head, frame, deadline, (&self.retry, idempotent)).await,
            // Boxed, so that the future of every call stays small.
            Some(hedge) => {
                let plan = (&self.retry, hedge);
                Box::pin(self.cluster.unary_hedged(caller, asked.head, frame, deadline, plan)).await
            }
        };
        let (answer, endpoint) = called.map_err(|(error, endpoint)| {
            if let Some(endpoint) = &endpoint {
                Self::asked_of(exchange, endpoint);
            }
            self.failed(exchange, error)
        })?;
        Self::asked_of(exchange, &endpoint);
        exchange.facts.answered(exchange.elapsed());
        exchange.facts.code_is(Code::Ok);
        self.answer(exchange, &answer, ignored, asked.measured)
    }

    /// The HTTP answer for one message.
    pub(super) fn answer(
        &self,
        exchange: &Exchange,
        answer: &UnaryAnswer,
        ignored: Option<HeaderValue>,
        measured: bool,
    ) -> Result<Response<ResponseBody>, Reject> {
        let print = || self.body(exchange, &answer.message);
        let (content_type, body) = self.timed(exchange, measured, Direction::Response, print)?;
        let mut response = Response::new(ResponseBody::full(body));
        let headers = response.headers_mut();
        self.tell(&answer.metadata, headers);
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some(ignored) = ignored {
            headers.insert(IGNORED, ignored);
        }
        Ok(response)
    }

    fn body(&self, exchange: &Exchange, message: &Bytes) -> Result<(HeaderValue, Bytes), Reject> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");
        if self.plan.answer_kind() == AnswerKind::HttpBody {
            let part = self.plan.http_body(message).map_err(|error| self.unprintable(exchange, error))?;
            let content_type = HeaderValue::from_str(part.content_type);
            let content_type = content_type.map_err(|_| self.unprintable(exchange, ResponseError::ContentType))?;
            // A slice of the frame.
            return Ok((content_type, message.slice(part.data)));
        }
        let mut out = Vec::with_capacity(message.len().saturating_mul(2).saturating_add(64));
        match &self.envelope {
            None => self.plan.print(message, &mut out).map_err(|error| self.unprintable(exchange, error))?,
            Some(shape) => self.wrap(shape, exchange, milliseconds(exchange), message, &mut out)?,
        }
        Ok((JSON, out.into()))
    }

    /// A message in its envelope; `duration_ms` is what it has taken.
    pub(super) fn wrap(
        &self,
        shape: &Shape,
        exchange: &Exchange,
        duration_ms: f64,
        message: &Bytes,
        out: &mut Vec<u8>,
    ) -> Result<(), Reject> {
        let facts = Facts {
            success: true,
            message: "OK",
            reason: "",
            code: "OK",
            status: 200,
            details: b"[]",
            request_id: exchange.request_id.as_str(),
            route: &self.route,
            timestamp: &time::rfc3339(time::unix_ms()),
            duration_ms,
        };
        shape.render(&facts, Some(&Printed { transcode: self, message }), out).map_err(|error| match error {
            RenderError::Response(error) => self.unprintable(exchange, error),
            RenderError::Template(text) => Reject::new(Reason::Internal).cause(text),
        })
    }
}

/// A response message for an envelope.
struct Printed<'a> {
    transcode: &'a Transcode,
    message: &'a [u8],
}

impl envelope::Response for Printed<'_> {
    type Error = ResponseError;

    fn print(&self, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        self.transcode.plan.print(self.message, out)
    }

    fn print_field(&self, field: FieldIndex, out: &mut Vec<u8>) -> Result<(), ResponseError> {
        let plan = &self.transcode.plan;
        let output = plan.method().output();
        json::print_field(plan.schema(), output, field, self.message, &self.transcode.write, out)?;
        Ok(())
    }
}
