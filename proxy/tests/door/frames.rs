//! HTTP/2 frame by frame (RFC 9113 §4, §6), with header fields as they are told: what no client library would say.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::{Version, connect};
use crate::house::{Credential, House};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Of `SETTINGS`: how much of a stream may be sent without being asked for.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// What became of a stream, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Answered(u16),
    Reset,
    /// The connection was ended, in words or without.
    Ended,
}

/// A connection on which nothing is said that was not told.
pub struct Frames {
    stream: TlsStream<TcpStream>,
}

impl Frames {
    pub async fn open(house: &House) -> Self {
        let mut stream = connect(house, &Credential::default(), None, Version::Two).await;
        stream.write_all(PREFACE).await.unwrap();
        let mut frames = Self { stream };
        assert!(frames.send(&frame(SETTINGS, 0, 0, &[])).await);
        frames
    }

    /// So that nothing of an answer's body may come.
    pub async fn close_windows(&mut self) {
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
        assert!(self.send(&frame(SETTINGS, 0, 0, &setting)).await);
    }

    /// Whether the other side still takes it.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// What becomes of a stream; `None` where nothing does in time.
    pub async fn became(&mut self, stream: u32, within: Duration) -> Option<Became> {
        timeout(within, async {
            loop {
                let Some((kind, flags, of, payload)) = self.next().await else { return Became::Ended };
                match kind {
                    SETTINGS if flags & ACK == 0 => drop(self.send(&frame(SETTINGS, ACK, 0, &[])).await),
                    HEADERS if of == stream => return Became::Answered(status(&payload)),
                    RST_STREAM if of == stream => return Became::Reset,
                    GOAWAY => return Became::Ended,
                    _ => {}
                }
            }
        })
        .await
        .ok()
    }

    /// Whether the connection is closed within the time; what comes until then is thrown away.
    pub async fn ends(&mut self, within: Duration) -> bool {
        timeout(within, async { while self.next().await.is_some() {} }).await.is_ok()
    }

    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request whole in one frame.
pub fn request(stream: u32, flags: u8, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// The fields of a plain GET, to which others may be added.
pub fn get<'a>(path: &'a str, authority: &'a str) -> Vec<(&'a [u8], &'a [u8])> {
    vec![
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", path.as_bytes()),
        (b":authority", authority.as_bytes()),
    ]
}

/// Fields as literals that nobody keeps (RFC 7541 §6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len(), 7), bytes.to_vec()].concat()
}

/// RFC 7541 §5.1, under a zeroed rest of the first byte.
fn number(mut value: usize, prefix: u32) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if value < most {
        return vec![value as u8];
    }
    let mut bytes = vec![most as u8];
    value -= most;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// The status, which is the first field: of the static table (RFC 7541 appendix A), or its three digits.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [indexed @ 0x88..=0x8e, ..] => KNOWN[usize::from(indexed - 0x88)],
        // A literal under that name, in Huffman's code (appendix B): `0` to `2` in five bits, `3` to `9` in six from 0x19 on.
        [0x08 | 0x48, length, digits @ ..] if length & 0x80 != 0 => {
            let bits =
                digits[..usize::from(length & 0x7f)].iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let (mut left, mut status) = (u32::from(length & 0x7f) * 8, 0);
            for _ in 0..3 {
                let five = bits >> (left - 5) & 0x1f;
                let (digit, used) = if five < 3 { (five, 5) } else { ((bits >> (left - 6) & 0x3f) - 0x19 + 3, 6) };
                (status, left) = (status * 10 + digit as u16, left - used);
            }
            status
        }
        [0x08 | 0x48, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        other => panic!("an answer begins with {:x?}", &other[..other.len().min(8)]),
    }
}
