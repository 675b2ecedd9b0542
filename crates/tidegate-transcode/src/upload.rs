//! Client streaming: one HTTP body becomes a stream of messages, each sent as soon as it is complete.
//!
//! What path and query give goes into the first message only. A body of JSON is one array or a sequence of values; the
//! body of an `HttpBody` method is cut into pieces.

mod split;

use std::sync::Arc;

use crate::content_type;
use crate::error::{Fault, RequestError, Stage};
use crate::json::Ignored;
use crate::method::{MessageBody, MethodPlan, RequestParts, Values, is_nothing, merge};
use split::{SplitError, SplitFault, ValueSplitter};

/// Largest `data` of one message when a raw body is uploaded, in bytes.
pub const MAX_PIECE: usize = 1024 * 1024;

/// The state of one upload between two chunks of its body.
#[derive(Debug)]
pub struct Upload {
    state: State,
    framing: Framing,
}

#[derive(Debug)]
struct State {
    plan: Arc<MethodPlan>,
    /// Values for the first message; `None` once it was written.
    first: Option<Values>,
    content_type: Option<Vec<u8>>,
    ignored: Ignored,
}

#[derive(Debug)]
enum Framing {
    /// The binding takes no body; what arrives is kept as long as it may still be an empty object.
    Nothing(Vec<u8>),
    Json(ValueSplitter),
    Raw,
}

/// White space and `{}`: a body that says nothing may be this long.
const MAX_NOTHING: usize = 1024;

impl MethodPlan {
    /// Begins an upload; `parts.body` is not read.
    ///
    /// # Errors
    /// [`RequestError`] for path, query and content type, before a byte of the body was seen. `application/x-ndjson`
    /// and `application/ndjson` are JSON here.
    pub fn upload(self: &Arc<Self>, parts: &RequestParts<'_>) -> Result<Upload, RequestError> {
        let first = Some(self.values(parts)?);
        let framing = if self.takes_raw_body() {
            Framing::Raw
        } else if self.takes_body() {
            content_type::check_json_sequence(parts.content_type)
                .map_err(|fault| RequestError::new(Stage::Body, fault))?;
            Framing::Json(ValueSplitter::new(self.max_body()))
        } else {
            Framing::Nothing(Vec::new())
        };
        let content_type = parts.content_type.map(<[u8]>::to_vec);
        Ok(Upload {
            state: State { plan: Arc::clone(self), first, content_type, ignored: Ignored::default() },
            framing,
        })
    }
}

impl Upload {
    /// Reads the next chunk of the body and appends the frames of all messages that are complete with it.
    ///
    /// # Errors
    /// [`RequestError`]; the upload cannot go on. Frames of messages before the fault were appended.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), RequestError> {
        let state = &mut self.state;
        match &mut self.framing {
            Framing::Json(splitter) => {
                splitter.push(chunk, &mut |value| state.message(Some(value), out)).map_err(request_error)
            }
            Framing::Raw => chunk.chunks(MAX_PIECE).try_for_each(|piece| state.message(Some(piece), out)),
            Framing::Nothing(held) => {
                if held.len().saturating_add(chunk.len()) > MAX_NOTHING {
                    return Err(RequestError::new(Stage::Body, Fault::UnexpectedBody));
                }
                held.extend_from_slice(chunk);
                Ok(())
            }
        }
    }

    /// Ends the body, and appends what could only be known now: a last bare value, or the message that consists of path
    /// and query alone when there was no body.
    ///
    /// # Errors
    /// [`RequestError`], for an array or a value that is not complete in particular.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), RequestError> {
        let state = &mut self.state;
        match &mut self.framing {
            Framing::Json(splitter) => {
                splitter.finish(&mut |value| state.message(Some(value), out)).map_err(request_error)?;
            }
            Framing::Nothing(held) if !is_nothing(held) => {
                return Err(RequestError::new(Stage::Body, Fault::UnexpectedBody));
            }
            Framing::Nothing(_) | Framing::Raw => {}
        }
        if state.first.as_ref().is_some_and(|values| !values.is_empty()) {
            return state.message(None, out);
        }
        Ok(())
    }

    /// Appends the frame of one message whose JSON stands alone, as in a WebSocket frame. Not to be mixed with
    /// [`push`](Self::push).
    ///
    /// # Errors
    /// [`RequestError`]; later messages may still be fine.
    pub fn message(&mut self, json: &[u8], out: &mut Vec<u8>) -> Result<(), RequestError> {
        self.state.message(Some(json), out)
    }

    /// Names of keys that were passed over so far, for the `report` policies.
    #[must_use]
    pub fn ignored(&self) -> &Ignored {
        &self.state.ignored
    }
}

impl State {
    fn message(&mut self, text: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), RequestError> {
        let content_type = self.content_type.take();
        let body = text.map(|text| MessageBody { text, content_type: content_type.as_deref() });
        let values = self.first.take().unwrap_or_default();
        merge(&mut self.ignored, self.plan.write_frame(values, body, out)?);
        Ok(())
    }
}

fn request_error(error: SplitError<RequestError>) -> RequestError {
    let fault = match error {
        SplitError::Value(error) => return error,
        SplitError::Split(SplitFault::Misplaced | SplitFault::Truncated) => Fault::BrokenSequence,
        SplitError::Split(SplitFault::ValueTooLarge) => Fault::TooLarge,
        SplitError::Split(SplitFault::TooDeep) => Fault::TooDeep,
    };
    RequestError::new(Stage::Body, fault)
}
