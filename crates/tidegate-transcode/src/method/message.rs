//! Puts one message together: what the path binds, the body, and what the query fills in.
//!
//! Path and query are encoded first ([`Values`]); then the body is read, and whatever is bound inside its message is
//! written or compared by its reader. For an upload the values are kept until the first message is complete.

use crate::bind::{self, Bindings, QueryTarget};
use crate::content_type;
use crate::error::{Fault, RequestError, Stage};
use crate::faults::Faults;
use crate::frame;
use crate::http_body;
use crate::json::{self, Ignored, Injection};
use crate::plan::MsgId;
use crate::rule::{self, Step};
use crate::wire;

use super::{BodyPlan, MethodPlan, RequestParts};

/// What path and query give to one message.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Fields that the body cannot reach.
    outside: Bindings,
    /// Fields inside the message of the body.
    inside: Injection,
    /// Keys that were passed over.
    ignored: Ignored,
}

impl Values {
    pub(crate) fn is_empty(&self) -> bool {
        self.outside.is_empty() && self.inside.is_empty()
    }
}

/// The body of one message.
#[derive(Clone, Copy)]
pub(crate) struct MessageBody<'a> {
    /// A JSON value, or raw data.
    pub(crate) text: &'a [u8],
    /// The value of `content-type`, for raw data.
    pub(crate) content_type: Option<&'a [u8]>,
}

impl MethodPlan {
    /// Refuses a body whose type is wrong, and one that the binding does not take.
    pub(super) fn check_body(&self, parts: &RequestParts<'_>) -> Result<(), RequestError> {
        let checked = match self.body {
            BodyPlan::None if !is_nothing(parts.body) => Err(Fault::UnexpectedBody),
            BodyPlan::None | BodyPlan::Raw { .. } => Ok(()),
            BodyPlan::Whole | BodyPlan::Field { .. } if parts.body.is_empty() => Ok(()),
            BodyPlan::Whole | BodyPlan::Field { .. } => content_type::check_json(parts.content_type),
        };
        checked.map_err(|fault| RequestError::new(Stage::Body, fault))
    }

    /// Encodes what path and query give.
    pub(crate) fn values(&self, parts: &RequestParts<'_>) -> Result<Values, RequestError> {
        let mut values = Values::default();
        let mut faults = Faults::default();
        for ((path, name), text) in self.variables.iter().zip(&self.names).zip(parts.captures) {
            match self.inside_body(path) {
                Some(path) => {
                    let Values { outside, inside, .. } = &mut values;
                    outside.inject(&self.schema, inside, path, (name, text), &mut faults);
                }
                None => values.outside.add_capture(&self.schema, path, name, text, &mut faults),
            }
        }
        if let Some(query) = parts.query {
            self.read_query(query, &mut values, &mut faults);
        }
        faults.into_result()?;
        Ok(values)
    }

    /// Appends one frame; without a body, its message or field stays unset. `out` is as it was in case of an error.
    pub(crate) fn write_frame(
        &self,
        values: Values,
        body: Option<MessageBody<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<Ignored, RequestError> {
        let at = frame::open(out);
        let written = self.write_message(values, body, out).and_then(|ignored| {
            frame::close(out, at).map_err(|_| RequestError::new(Stage::Encode, Fault::TooLarge))?;
            Ok(ignored)
        });
        if written.is_err() {
            out.truncate(at);
        }
        written
    }

    fn read_query(&self, query: &str, values: &mut Values, faults: &mut Faults) {
        let options = &self.options.query;
        let body = match &self.body {
            BodyPlan::Whole => {
                bind::refuse_query(options, query, &mut values.ignored, faults);
                return;
            }
            // The paths of a raw body end below its field.
            BodyPlan::Raw { data, .. } => data.split_last().map(|(_, field)| field),
            BodyPlan::Field { path, .. } => Some(&**path),
            BodyPlan::None => None,
        };
        let target = QueryTarget { input: self.method.input(), options, variables: &self.variables, body };
        values.outside.add_query(&self.schema, &target, query, &mut values.ignored, faults);
    }

    /// The rest of `path` below the message of the body, if it leads there.
    pub(super) fn inside_body<'a>(&self, path: &'a [Step]) -> Option<&'a [Step]> {
        match &self.body {
            BodyPlan::None | BodyPlan::Raw { .. } => None,
            BodyPlan::Whole => Some(path),
            BodyPlan::Field { path: body, .. } => path.strip_prefix(&**body),
        }
    }

    fn write_message(
        &self,
        mut values: Values,
        body: Option<MessageBody<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<Ignored, RequestError> {
        match &self.body {
            BodyPlan::None => values.outside.write(&self.schema, out, &mut |_| Ok(()))?,
            BodyPlan::Whole => self.write_whole(&mut values, body, out)?,
            BodyPlan::Field { path, outer, message } => {
                self.write_field(&mut values, (path, outer, *message), body, out)?;
            }
            BodyPlan::Raw { content_type, data } => self.write_raw(&mut values, (content_type, data), body, out)?,
        }
        Ok(values.ignored)
    }

    fn write_whole(
        &self,
        values: &mut Values,
        body: Option<MessageBody<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let input = self.method.input();
        let bound = values.inside.root();
        let Some(body) = body else {
            bound.write(&self.schema, input, out);
            return Ok(());
        };
        let found = json::parse_message(&self.schema, input, body.text, &self.options.read, Some(bound), out)
            .map_err(|error| RequestError::of_body(&error, ""))?;
        merge(&mut values.ignored, found);
        Ok(())
    }

    fn write_field(
        &self,
        values: &mut Values,
        (path, outer, message): (&[Step], &str, Option<MsgId>),
        body: Option<MessageBody<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let Values { outside, inside, ignored } = values;
        if body.is_some() || !inside.is_empty() {
            outside.add_body(path);
        }
        outside.write(&self.schema, out, &mut |out| {
            let Some(last) = path.last() else { return Ok(()) };
            if let Some(body) = body {
                let (options, bound) = (&self.options.read, Some(inside.root()));
                let found = json::parse_field(&self.schema, last.message, last.field, body.text, options, bound, out)
                    .map_err(|error| RequestError::of_body(&error, outer))?;
                merge(ignored, found);
                return Ok(());
            }
            if let (Some(field), Some(message)) = (rule::field_at(&self.schema, *last), message) {
                out.extend_from_slice(field.tag());
                let open = wire::open_len(out);
                inside.root().write(&self.schema, message, out);
                wire::close_len(out, open);
            }
            Ok(())
        })
    }

    fn write_raw(
        &self,
        values: &mut Values,
        (type_path, data_path): (&[Step], &[Step]),
        body: Option<MessageBody<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let outside = &mut values.outside;
        let Some(body) = body else {
            return outside.write(&self.schema, out, &mut |_| Ok(()));
        };
        // What the path binds wins over the header.
        if let Some(value) = body.content_type
            && !outside.binds(type_path)
        {
            let text = std::str::from_utf8(value).map_err(|_| RequestError::new(Stage::Body, Fault::ContentType))?;
            outside.add_string(type_path, text);
        }
        outside.add_body(data_path);
        outside.write(&self.schema, out, &mut |out| {
            http_body::write_data(body.text, out);
            Ok(())
        })
    }
}

/// Adds what one reader passed over to what others did.
pub(crate) fn merge(into: &mut Ignored, found: Ignored) {
    if into.count == 0 {
        *into = found;
        return;
    }
    let listed = found.paths.split(',').filter(|path| !path.is_empty());
    let mut unlisted = found.count;
    for path in listed {
        into.add(path);
        unlisted = unlisted.saturating_sub(1);
    }
    into.count = into.count.saturating_add(unlisted);
}

/// Whether a body says nothing: no bytes, white space, or an empty object.
pub(crate) fn is_nothing(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    match body {
        [] => true,
        [b'{', inner @ .., b'}'] => inner.trim_ascii().is_empty(),
        _ => false,
    }
}
