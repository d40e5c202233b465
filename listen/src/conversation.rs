//! HTTP on one connection, request by request, within bounds.
//!
//! HTTP/2 is spoken only where TLS has agreed on it. What a caller may send, leave unread or throw away has a bound in either version, because nothing
//! of it is trusted; which bounds, each listener says. An error of a connection ends it and is nobody else's.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};

/// HTTP/2 streams that were reset before they were looked at, or for the caller's own fault (CVE-2023-44487).
const RESETS: usize = 20;
const FAULTS: usize = 64;
/// A peer that is asked whether it is there has so long to say so.
const ALIVE_WITHIN: Duration = Duration::from_secs(20);

/// The bounds of a listener's connections.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// From the end of a request to the end of the next head.
    pub head_deadline: Duration,
    /// Largest head of a request, and most headers in it.
    pub head_bytes: u32,
    pub headers: usize,
    /// None where it is not spoken.
    pub http2: Option<Http2>,
}

/// Those of one that speaks HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Http2 {
    /// Requests at once on one connection.
    pub streams: u32,
    /// What a caller may send that nobody has read yet.
    pub window_bytes: u32,
    /// Of an answer, what may wait in memory for a caller that does not read.
    pub send_bytes: usize,
    /// A silent peer is asked this often whether it is there.
    pub keep_alive: Duration,
}

impl Http {
    /// Answers for as long as the connection lasts, or until it is time to leave and what was asked is answered.
    pub async fn converse<F, B>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
        leaving: Watcher,
        answer: impl Fn(Request<Incoming>) -> F + Send + 'static,
    ) where
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let service = service_fn(move |request| {
            let answer = answer(request);
            // On the heap: HTTP/1.1 keeps the room for as long as the connection lives, and HTTP/2 moves it into a task of its own.
            Box::pin(async move { Ok::<_, Infallible>(answer.await) })
        });
        // The one that is spoken, and no room for the other.
        let ended = match &self.http2 {
            Some(bounds) if is_http2 => {
                Box::pin(leaving.watch(self.http2(bounds).serve_connection(stream, service))).await
            }
            _ => Box::pin(leaving.watch(self.http1().serve_connection(stream, service))).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended in an error");
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_deadline)
            .max_buf_size(self.head_bytes as usize)
            .max_headers(self.headers);
        builder
    }

    fn http2(&self, bounds: &Http2) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.streams)
            .max_header_list_size(self.head_bytes)
            .initial_stream_window_size(bounds.window_bytes)
            .initial_connection_window_size(bounds.window_bytes)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(FAULTS)
            .max_send_buf_size(bounds.send_bytes)
            .keep_alive_interval(Some(bounds.keep_alive))
            .keep_alive_timeout(ALIVE_WITHIN);
        builder
    }
}
