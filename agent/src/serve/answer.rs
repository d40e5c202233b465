//! Answers: status, type, compression.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sonde_expo::Encoding;

/// A smaller body is sent as it is: gzip would save less than its own head and the time it takes.
const SMALLEST_COMPRESSED: usize = 512;

pub(super) type Answer = Response<Full<Bytes>>;

/// A sentence as plain text.
pub(super) fn sentence(status: StatusCode, sentence: &str) -> Answer {
    plain(status, "text/plain; charset=utf-8", format!("{sentence}\n").into_bytes())
}

/// A body of a given type.
pub(super) fn plain(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// JSON; a list of rows, a line each, so that it can also be read.
pub(super) fn json<T: serde::Serialize>(rows: &[T]) -> Answer {
    let mut body = b"[".to_vec();
    for (place, row) in rows.iter().enumerate() {
        body.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        // Rows are structs of strings and numbers: they always serialise.
        let _ = serde_json::to_writer(&mut body, row);
    }
    body.extend_from_slice(b"\n]\n");
    plain(StatusCode::OK, "application/json", body)
}

/// An exposition, compressed as the scraper accepts it.
pub(super) fn exposition(status: StatusCode, content_type: &'static str, body: Vec<u8>, accepted: Encoding) -> Answer {
    let packed = if body.len() < SMALLEST_COMPRESSED { None } else { pack(&body, accepted) };
    let mut answer = match packed {
        Some((name, packed)) => {
            let mut answer = plain(status, content_type, packed);
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            answer
        }
        None => plain(status, content_type, body),
    };
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn pack(body: &[u8], accepted: Encoding) -> Option<(&'static str, Vec<u8>)> {
    match accepted {
        Encoding::Identity => None,
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
            encoder.write_all(body).ok()?;
            Some(("gzip", encoder.finish().ok()?))
        }
        Encoding::Zstd => Some(("zstd", zstd::bulk::compress(body, ZSTD_LEVEL).ok()?)),
    }
}

/// zstd's fastest ordinary level: better and cheaper than gzip's.
const ZSTD_LEVEL: i32 = 1;
