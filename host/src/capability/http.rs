//! `http`: one HTTP/1.1 exchange with a port of the instance.
//!
//! The client runs in the host, over a stream that the broker opened: a sensor in any language has HTTP without linking a client, and
//! the node bounds head, headers and body. The request line is built from checked parts (an origin-form path, no other authority), so
//! a path cannot address another host; redirects are returned as they are.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper_util::rt::TokioIo;

use super::not_granted;
use crate::bindings::sonde::sensor::http;
use crate::bindings::sonde::sensor::streams::StreamError;
use crate::ctx::{Ctx, within};

use http::{Header, HttpError, Method, Phases, Request, Response};

/// Request headers a sensor may give, and what they may weigh.
const REQUEST_HEADERS: usize = 32;
const REQUEST_HEADER_BYTES: usize = 8 << 10;
/// The head of a response: more than this and it is not read.
const RESPONSE_HEAD_BYTES: usize = 64 << 10;
const RESPONSE_HEADERS: usize = 100;
/// Longest path and query.
const PATH_BYTES: usize = 4 << 10;

/// Headers that frame the message or name its target: the host writes these itself.
const FORBIDDEN: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

impl From<StreamError> for HttpError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Refused => Self::Refused,
            StreamError::Timeout => Self::Timeout,
            StreamError::Closed => Self::Closed,
            StreamError::Denied(why) => Self::Denied(why),
            StreamError::Other(why) => Self::Other(why),
        }
    }
}

fn hyper_error(error: &hyper::Error) -> HttpError {
    if error.is_parse() {
        HttpError::Protocol(error.to_string())
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        HttpError::Closed
    } else {
        HttpError::Other(error.to_string())
    }
}

/// The request as hyper sends it, or the sentence that says what is wrong with it.
fn build(request: &Request) -> Result<hyper::Request<Full<Bytes>>, String> {
    if !request.path.starts_with('/') || request.path.len() > PATH_BYTES {
        return Err(format!("a path begins with '/' and has at most {PATH_BYTES} bytes"));
    }
    if request.headers.len() > REQUEST_HEADERS {
        return Err(format!("a request has at most {REQUEST_HEADERS} headers"));
    }
    let head_bytes: usize = request.headers.iter().map(|h| h.name.len() + h.value.len()).sum();
    if head_bytes > REQUEST_HEADER_BYTES {
        return Err(format!("a request's headers have at most {REQUEST_HEADER_BYTES} bytes"));
    }
    let method = match request.method {
        Method::Get => hyper::Method::GET,
        Method::Head => hyper::Method::HEAD,
        Method::Post => hyper::Method::POST,
    };
    let host = if request.host.is_empty() { format!("localhost:{}", request.port) } else { request.host.clone() };
    let mut builder = hyper::Request::builder()
        .method(method)
        .uri(&request.path)
        .header(header::HOST, HeaderValue::try_from(host).map_err(|error| format!("host: {error}"))?)
        .header(header::CONNECTION, HeaderValue::from_static("close"));
    for given in &request.headers {
        let name = HeaderName::try_from(&given.name).map_err(|error| format!("header {:?}: {error}", given.name))?;
        if FORBIDDEN.contains(&name) {
            return Err(format!("the header {name} is the node's to write"));
        }
        let value = HeaderValue::try_from(&given.value).map_err(|error| format!("header {name}: {error}"))?;
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::copy_from_slice(&request.body))).map_err(|error| error.to_string())
}

impl Ctx {
    async fn exchange(&mut self, request: Request, deadline: Instant) -> Result<Response, HttpError> {
        let outgoing = build(&request).map_err(HttpError::Invalid)?;
        let sent_bytes = (request.path.len() + request.body.len() + REQUEST_HEADER_BYTES / 8) as u64;
        self.meter.bytes_out = self.meter.bytes_out.checked_sub(sent_bytes).ok_or_else(|| {
            HttpError::Denied(format!("the limit of {} bytes sent a run is used up", self.grant.limits.bytes_out))
        })?;

        let began = Instant::now();
        let stream = self.open_tcp(request.port, deadline).await?;
        let connected = Instant::now();
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD_BYTES)
            .max_headers(RESPONSE_HEADERS)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| hyper_error(&error))?;
        // Polled in place, not spawned: when the run ends, nothing of it goes on.
        let mut connection = std::pin::pin!(connection);
        let mut connection_done = false;
        let mut response = {
            let mut sending = std::pin::pin!(sender.send_request(outgoing));
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => break sent.map_err(|error| hyper_error(&error))?,
                    _ = &mut connection, if !connection_done => connection_done = true,
                }
            }
        };
        let first_byte = Instant::now();
        let most = (request.max_body_bytes as u64).min(self.meter.bytes_in) as usize;
        let mut body = Vec::new();
        let mut truncated = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = response.body_mut().frame() => frame,
                _ = &mut connection, if !connection_done => { connection_done = true; continue }
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| hyper_error(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            let fits = data.len().min(most - body.len());
            body.extend_from_slice(&data[..fits]);
            if fits < data.len() {
                truncated = true;
                break;
            }
        }
        let done = Instant::now();
        self.meter.bytes_in = self.meter.bytes_in.saturating_sub(body.len() as u64);
        Ok(Response {
            status: response.status().as_u16(),
            headers: headers(response.headers()),
            body,
            truncated,
            phases: Phases {
                connect_milliseconds: millis(began, connected),
                first_byte_milliseconds: millis(connected, first_byte),
                transfer_milliseconds: millis(first_byte, done),
            },
        })
    }
}

fn headers(map: &hyper::HeaderMap) -> Vec<Header> {
    map.iter()
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        })
        .collect()
}

fn millis(from: Instant, to: Instant) -> u32 {
    u32::try_from(to.duration_since(from).as_millis()).unwrap_or(u32::MAX)
}

impl http::Host for Ctx {
    async fn fetch(&mut self, request: Request) -> wasmtime::Result<Result<Response, HttpError>> {
        self.call()?;
        if !self.grant.http.contains(&request.port) {
            return Ok(Err(HttpError::Denied(not_granted(&format!("HTTP to port {}", request.port)))));
        }
        let deadline = self.until(request.timeout_milliseconds);
        let exchanged = within(deadline, self.exchange(request, deadline)).await;
        Ok(exchanged.unwrap_or(Err(HttpError::Timeout)))
    }
}
