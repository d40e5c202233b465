//! Answers: status, headers, and a body that counts itself.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::api;
use crate::flight::{Lead, Shared};
use crate::limits::Scrape;
use crate::upstream::{Cut, ReplyBody};

/// Why there is no exposition.
pub(crate) const REASON: &str = "x-sonde-reason";

pub(crate) type Answer = Response<AnswerBody>;

/// Where the bytes come from.
enum Source {
    Chunks(VecDeque<Bytes>),
    Agent(Box<ReplyBody>),
}

/// What is done with a body while it goes, and when it has gone.
pub(crate) trait Watch: Send + Sync {
    /// The body has gone, whole or not.
    fn gone(&mut self, bytes: u64, is_whole: bool);
}

/// See the module.
pub(crate) struct AnswerBody {
    source: Source,
    lead: Option<Lead>,
    watch: Option<Box<dyn Watch>>,
    /// A place among the account's scrapes, for as long as there is a body.
    _place: Option<Scrape>,
    /// What a HEAD says of a body that does not come.
    hint: Option<SizeHint>,
    bytes: u64,
    is_whole: bool,
}

impl AnswerBody {
    fn of(source: Source) -> Self {
        Self { source, lead: None, watch: None, _place: None, hint: None, bytes: 0, is_whole: false }
    }

    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::of(Source::Chunks(if bytes.is_empty() { VecDeque::new() } else { [bytes].into() }))
    }

    pub(crate) fn shared(shared: &Arc<Shared>) -> Self {
        Self::of(Source::Chunks(shared.chunks.iter().cloned().collect()))
    }

    /// Passes an agent's on, and lets those know who wait for the same.
    pub(crate) fn agent(body: ReplyBody, lead: Option<Lead>) -> Self {
        let mut passing = Self::of(Source::Agent(Box::new(body)));
        passing.lead = lead;
        passing
    }

    pub(crate) fn watched(mut self, watch: Box<dyn Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// A body without bytes that says how many the other would have had.
    pub(crate) fn instead_of(mut self, other: &Self) -> Self {
        self.hint = Some(other.size_hint());
        self
    }

    pub(crate) fn holding(mut self, place: Scrape) -> Self {
        self._place = Some(place);
        self
    }

    fn end(&mut self) {
        self.is_whole = true;
        if let Some(lead) = self.lead.take() {
            lead.land();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let frame = match &mut self.source {
            Source::Chunks(chunks) => chunks.pop_front().map(|chunk| Ok(Frame::data(chunk))),
            Source::Agent(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
            if let Some(lead) = &mut self.lead {
                lead.pass(data);
            }
        }
        if frame.is_none() || self.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Chunks(chunks) => chunks.is_empty(),
            Source::Agent(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if let Some(hint) = &self.hint {
            return *hint;
        }
        match &self.source {
            Source::Chunks(chunks) => SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Source::Agent(body) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // One without bytes is never asked for any.
        let is_whole = self.is_whole || self.is_end_stream();
        if let Some(mut watch) = self.watch.take() {
            watch.gone(self.bytes, is_whole);
        }
    }
}

/// A sentence as plain text: never JSON, which discovery's clients would take for a list.
pub(crate) fn sentence(status: StatusCode, sentence: &str) -> Answer {
    typed(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

/// The same for all that a caller may not see, and for all that is not there.
pub(crate) fn not_found() -> Answer {
    sentence(StatusCode::NOT_FOUND, "there is no such thing here")
}

/// What a path is not asked with. One that is no route is said to be asked with GET: then it is not there.
pub(crate) fn asked_otherwise(path: &str) -> Answer {
    let allowed = api::allowed(path).unwrap_or_else(|| "GET, HEAD".to_owned());
    let mut answer = sentence(StatusCode::METHOD_NOT_ALLOWED, &format!("this route is asked with {allowed}"));
    answer.headers_mut().extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (ALLOW, allowed)));
    answer
}

/// A body of a given type, not to be kept by anybody on its way.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The reason, for a person with `curl` and for a test.
pub(crate) fn with_reason(mut answer: Answer, reason: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(reason) {
        answer.headers_mut().insert(REASON, value);
    }
    answer
}

/// When to come again: whole seconds, one at least.
pub(crate) fn with_retry(mut answer: Answer, after: Duration) -> Answer {
    let seconds = after.as_secs_f64().ceil().clamp(1.0, 3600.0) as u32;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}
