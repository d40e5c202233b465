//! `http`: one HTTP/1.1 exchange with a port of the instance.
//!
//! The client runs in the host, over a stream that the broker opened: a sensor in any language has HTTP without linking a client, and
//! the node bounds head, headers and body. The request line is built from checked parts (an origin-form path, no other authority), so
//! a path cannot address another host; redirects are returned as they are. Bytes are counted as the socket has them, heads and framing included:
//! what is sent before it is sent, what is received as it comes, whether or not the exchange succeeds.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, Join, ReadBuf, Take, join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::not_granted;
use super::streams::{CONNECT_MICROSECONDS, Door};
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
/// The most of a response's body that is kept; what is more is cut off and the sensor told. The largest exposition that a relay is for.
const MOST_BODY_BYTES: usize = 4 << 20;
/// Longest path and query.
const PATH_BYTES: usize = 4 << 10;
/// Longest host: a DNS name has at most 253 bytes, without the port.
const HOST_BYTES: usize = 255;
/// What HTTP/1.1 writes beside the parts: ` ` and ` HTTP/1.1\r\n` of the request line, the empty line at the head's end, `: ` and `\r\n` of a header.
const LINE_BYTES: usize = 1 + 11;
const END_BYTES: usize = 2;
const FIELD_BYTES: usize = 4;

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
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || broke_off(error) {
        HttpError::Closed
    } else {
        HttpError::Other(error.to_string())
    }
}

/// Whether the peer went away in the middle of a body: hyper has no word of its own for it.
fn broke_off(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe))
}

/// What a request weighs as it comes out of the guest, well formed or not.
fn lifted_bytes(request: &Request) -> usize {
    let headers = request.headers.iter().map(|header| size_of::<Header>() + header.name.len() + header.value.len());
    request.path.len() + request.host.len() + request.body.len() + headers.sum::<usize>()
}

/// The value of `Host`: a name or address with or without a port, never with a user.
fn host(request: &Request) -> Result<HeaderValue, String> {
    if request.host.is_empty() {
        return HeaderValue::try_from(format!("localhost:{}", request.port)).map_err(|error| error.to_string());
    }
    if request.host.len() > HOST_BYTES {
        return Err(format!("a host has at most {HOST_BYTES} bytes"));
    }
    if request.host.contains('@') || Authority::try_from(request.host.as_str()).is_err() {
        return Err(format!("{:?} is not HOST or HOST:PORT", request.host));
    }
    HeaderValue::try_from(&request.host).map_err(|error| format!("host: {error}"))
}

/// The request as hyper sends it, or the sentence that says what is wrong with it.
fn build(request: &mut Request) -> Result<hyper::Request<Full<Bytes>>, String> {
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
    let mut builder = hyper::Request::builder()
        .method(method)
        .uri(&request.path)
        .header(header::HOST, host(request)?)
        .header(header::CONNECTION, HeaderValue::from_static("close"));
    for given in &request.headers {
        let name = HeaderName::try_from(&given.name).map_err(|error| format!("header {:?}: {error}", given.name))?;
        if FORBIDDEN.contains(&name) {
            return Err(format!("the header {name} is the node's to write"));
        }
        let value = HeaderValue::try_from(&given.value).map_err(|error| format!("header {name}: {error}"))?;
        builder = builder.header(name, value);
    }
    if !request.body.is_empty() || request.method == Method::Post {
        builder = builder.header(header::CONTENT_LENGTH, request.body.len());
    }
    // Taken and not copied: a run's memory on the node's side is bounded by what crosses the boundary once.
    builder.body(Full::new(Bytes::from(std::mem::take(&mut request.body)))).map_err(|error| error.to_string())
}

/// What a request takes on the socket.
fn wire_bytes(request: &hyper::Request<Full<Bytes>>, body_bytes: usize) -> u64 {
    let line = request.method().as_str().len() + request.uri().path_and_query().map_or(1, |path| path.as_str().len());
    let fields: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum();
    (LINE_BYTES + line + fields + END_BYTES + body_bytes) as u64
}

/// The reading half of a run's socket: ends where the run's bytes do, and counts what came.
struct Metered {
    inner: Take<OwnedReadHalf>,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        self.received.fetch_add((into.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

type Socket = TokioIo<Join<Metered, OwnedWriteHalf>>;

/// What is left of the run's bytes received, and how many of them the exchange has had.
struct Allowance {
    limit_bytes: u64,
    left_bytes: u64,
    received: Arc<AtomicU64>,
}

impl Allowance {
    fn is_spent(&self) -> bool {
        self.received.load(Ordering::Relaxed) >= self.left_bytes
    }

    fn over(&self, stream: TcpStream) -> Socket {
        let (read, write) = stream.into_split();
        let metered = Metered { inner: read.take(self.left_bytes), received: self.received.clone() };
        TokioIo::new(join(metered, write))
    }

    /// hyper sees the end of the allowance as the end of the stream.
    fn explain(&self, error: &hyper::Error) -> HttpError {
        if self.is_spent() {
            return HttpError::Denied(format!("the limit of {} bytes received a run is used up", self.limit_bytes));
        }
        hyper_error(error)
    }
}

/// A connection that is polled in place, not spawned: when the run ends, nothing of it goes on.
struct Driven {
    connection: Option<Connection<Socket, Full<Bytes>>>,
}

impl Driven {
    /// Resolves with `work`, moving the connection meanwhile.
    async fn until<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let Some(connection) = &mut self.connection else { return work.await };
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = connection => self.connection = None,
            }
        }
    }
}

/// A response's body as far as it is wanted.
struct Received {
    body: Vec<u8>,
    truncated: bool,
}

async fn receive(
    mut incoming: hyper::Response<Incoming>,
    most: usize,
    driven: &mut Driven,
    allowance: &Allowance,
) -> Result<Received, HttpError> {
    let ends_by_itself =
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().any(|h| incoming.headers().contains_key(h));
    let mut body = Vec::new();
    while let Some(frame) = driven.until(incoming.body_mut().frame()).await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(_) if allowance.is_spent() => return Ok(Received { body, truncated: true }),
            Err(error) => return Err(hyper_error(&error)),
        };
        let Some(data) = frame.data_ref() else { continue };
        let fits = data.len().min(most - body.len());
        body.extend_from_slice(&data[..fits]);
        if fits < data.len() {
            return Ok(Received { body, truncated: true });
        }
    }
    let truncated = !ends_by_itself && allowance.is_spent();
    Ok(Received { body, truncated })
}

impl Ctx {
    /// Takes what the request weighs out of the run's bytes sent.
    fn charge_request(&mut self, request: &hyper::Request<Full<Bytes>>, body_bytes: usize) -> Result<(), HttpError> {
        let left = self.meter.bytes_out.checked_sub(wire_bytes(request, body_bytes));
        self.meter.bytes_out = left.ok_or_else(|| {
            HttpError::Denied(format!("the limit of {} bytes sent a run is used up", self.grant.limits.bytes_out))
        })?;
        Ok(())
    }

    async fn exchange(
        &mut self,
        mut request: Request,
        allowance: &Allowance,
        deadline: Instant,
    ) -> Result<Response, HttpError> {
        let body_bytes = request.body.len();
        let outgoing = build(&mut request).map_err(HttpError::Invalid)?;
        self.charge_request(&outgoing, body_bytes)?;
        let began = Instant::now();
        let stream = self.open_port(Door::Http, request.port, deadline).await?;
        let connected = Instant::now();
        let socket = allowance.over(stream);
        let handshake =
            Builder::new().max_buf_size(RESPONSE_HEAD_BYTES).max_headers(RESPONSE_HEADERS).handshake(socket);
        let (mut sender, connection) = handshake.await.map_err(|error| allowance.explain(&error))?;
        let mut driven = Driven { connection: Some(connection) };
        let incoming = driven.until(sender.send_request(outgoing)).await.map_err(|error| allowance.explain(&error))?;
        let first_byte = Instant::now();
        let (status, headers) = (incoming.status().as_u16(), headers(incoming.headers()));
        let Received { body, truncated } =
            receive(incoming, (request.max_body_bytes as usize).min(MOST_BODY_BYTES), &mut driven, allowance).await?;
        Ok(Response {
            status,
            headers,
            body,
            truncated,
            phases: Phases {
                connect_milliseconds: millis(began, connected),
                first_byte_milliseconds: millis(connected, first_byte),
                transfer_milliseconds: millis(first_byte, Instant::now()),
            },
        })
    }
}

fn headers(map: &HeaderMap) -> Vec<Header> {
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
        self.charge_opening(CONNECT_MICROSECONDS)?;
        self.charge_bytes(lifted_bytes(&request))?;
        if !self.grant.http.contains(&request.port) {
            return Ok(Err(HttpError::Denied(not_granted(&format!("HTTP to port {}", request.port)))));
        }
        let deadline = self.until(request.timeout_milliseconds);
        let received = Arc::<AtomicU64>::default();
        self.meter.receiving = Some(received.clone());
        let allowance =
            Allowance { limit_bytes: self.grant.limits.bytes_in, left_bytes: self.meter.bytes_in, received };
        let exchanged = within(deadline, self.exchange(request, &allowance, deadline)).await;
        self.meter.receiving = None;
        let received = allowance.received.load(Ordering::Relaxed);
        self.meter.bytes_in = self.meter.bytes_in.saturating_sub(received);
        // Parsed, and copied more than once.
        self.charge(received)?;
        Ok(exchanged.unwrap_or(Err(HttpError::Timeout)))
    }
}
