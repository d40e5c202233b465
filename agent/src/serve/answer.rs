//! Answers: status, type, compression.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use sonde_expo::Encoding;
use tokio::runtime::RuntimeFlavor;

/// A smaller body is sent as it is: gzip would save less than its own head and the time it takes.
const SMALLEST_COMPRESSED: usize = 512;

/// From here on compressing takes milliseconds, and the answers of others must not wait for that.
const LARGE: usize = 256 << 10;

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
    let packed = match body.len() {
        ..SMALLEST_COMPRESSED => None,
        LARGE.. if has_other_threads() => tokio::task::block_in_place(|| pack(&body, accepted)),
        _ => pack(&body, accepted),
    };
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

/// The admin routes have one thread alone, and nothing to hand over to.
fn has_other_threads() -> bool {
    tokio::runtime::Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread)
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// The largest window that a browser or another client has to have memory for (RFC 9659), as a power of two.
    const WINDOW_LOG: u32 = 23;

    fn unpacked(name: &str, packed: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if name == "gzip" {
            flate2::read::GzDecoder::new(packed).read_to_end(&mut body).unwrap();
        } else {
            let mut decoder = zstd::Decoder::new(packed).unwrap();
            decoder.window_log_max(WINDOW_LOG).unwrap();
            decoder.read_to_end(&mut body).unwrap();
        }
        body
    }

    #[test]
    fn both_compressions_give_back_what_went_in() {
        // Under and over every buffer inside; the largest is more than all sensors of an instance may bring.
        for bytes in [0, 1, SMALLEST_COMPRESSED, 100_000, 32 << 20] {
            let body: Vec<u8> = (0..bytes).map(|at: usize| (at % 251) as u8 ^ (at >> 12) as u8).collect();
            for accepted in [Encoding::Gzip, Encoding::Zstd] {
                let (name, packed) = pack(&body, accepted).unwrap();
                assert!(unpacked(name, &packed) == body, "{bytes} bytes by {name}");
                assert!(packed.len() <= body.len() / 2 + 64, "{bytes} bytes became {} by {name}", packed.len());
            }
        }
    }

    #[test]
    fn what_is_small_or_wanted_as_it_is_is_not_compressed() {
        let encoding = |bytes: usize, accepted| {
            let answer = exposition(StatusCode::OK, "text/plain", vec![b'a'; bytes], accepted);
            assert_eq!(answer.headers()[VARY], "accept, accept-encoding");
            answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(encoding(SMALLEST_COMPRESSED - 1, Encoding::Zstd), None);
        assert_eq!(encoding(SMALLEST_COMPRESSED, Encoding::Zstd).as_deref(), Some("zstd"));
        assert_eq!(encoding(SMALLEST_COMPRESSED, Encoding::Gzip).as_deref(), Some("gzip"));
        assert_eq!(encoding(SMALLEST_COMPRESSED, Encoding::Identity), None);
    }
}
