//! HTTP/1.1 as the tests need it: a blocking client that shows every byte, and a server of fixed bodies.
//!
//! A client library would decode gzip, follow redirects and normalise headers; a test of content
//! negotiation needs to see what came over the wire. One request a connection, no TLS.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;

/// A hung answer fails a test within this time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request being built.
pub struct Request {
    method: &'static str,
    authority: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// An answer, its body as sent.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// From before the connection was opened to the last byte.
    pub elapsed: Duration,
}

/// GET without any header of ours; panics when no answer comes.
#[track_caller]
pub fn get(url: &str) -> Response {
    Request::get(url).send().unwrap_or_else(|e| panic!("GET {url}: {e}"))
}

impl Request {
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    pub fn post(url: &str) -> Self {
        Self::new("POST", url).header("Content-Length", "0")
    }

    fn new(method: &'static str, url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not a plain http URL"));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Self { method, authority: authority.to_owned(), path: path.to_owned(), headers: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends it and reads the whole answer. Errors are the socket's, or `InvalidData` where the answer is not HTTP.
    pub fn send(self) -> std::io::Result<Response> {
        let started = Instant::now();
        let mut stream = TcpStream::connect(&self.authority)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.path, self.authority);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader)?;
        let mut response = Response { status, headers, body: Vec::new(), elapsed: Duration::ZERO };
        response.body = read_body(&mut reader, &response)?;
        response.elapsed = started.elapsed();
        Ok(response)
    }
}

/// A connection that is kept from request to request, as a Prometheus keeps one to each target.
pub struct KeptConnection {
    authority: String,
    reader: BufReader<TcpStream>,
}

impl KeptConnection {
    /// Connects to where the URL points.
    pub fn open(url: &str) -> std::io::Result<Self> {
        let authority = Request::get(url).authority;
        let stream = TcpStream::connect(&authority)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { authority, reader: BufReader::new(stream) })
    }

    /// GET as a scraper whose patience is [`TIMEOUT`]; the connection comes back with the answer.
    pub fn get(mut self, url: &str) -> std::io::Result<(Self, Response)> {
        let started = Instant::now();
        let path = Request::get(url).path;
        let patience = TIMEOUT.as_secs();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nX-Prometheus-Scrape-Timeout-Seconds: {patience}\r\n\r\n",
            self.authority
        );
        self.reader.get_mut().write_all(head.as_bytes())?;
        let (status, headers) = read_head(&mut self.reader)?;
        let mut response = Response { status, headers, body: Vec::new(), elapsed: Duration::ZERO };
        response.body = read_body(&mut self.reader, &response)?;
        response.elapsed = started.elapsed();
        Ok((self, response))
    }
}

impl Response {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text, unpacked (gzip, zstd) where the answer says so.
    #[track_caller]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let read = match self.header("content-encoding") {
            Some("gzip") => GzDecoder::new(self.body.as_slice()).read_to_string(&mut text),
            Some("zstd") => {
                zstd::Decoder::new(self.body.as_slice()).and_then(|mut body| body.read_to_string(&mut text))
            }
            _ => self.body.as_slice().read_to_string(&mut text),
        };
        read.unwrap_or_else(|e| panic!("the body is not text: {e}"));
        text
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}"))
    }
}

fn bad(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one answer whole, off any connection. How long it took is for the caller to say.
pub fn read_response(reader: &mut impl BufRead) -> std::io::Result<Response> {
    let (status, headers) = read_head(reader)?;
    let mut response = Response { status, headers, body: Vec::new(), elapsed: Duration::ZERO };
    response.body = read_body(reader, &response)?;
    Ok(response)
}

fn read_head(reader: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status line"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_body(reader: &mut impl BufRead, head: &Response) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim_end(), 16).map_err(|_| bad("a chunk without a size"))?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match head.header("content-length").map(str::parse::<u64>) {
        Some(Ok(length)) => {
            reader.take(length).read_to_end(&mut body)?;
            if body.len() as u64 != length {
                return Err(bad("the body ended early"));
            }
        }
        Some(Err(_)) => return Err(bad("an unreadable Content-Length")),
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

/// Serves fixed bodies on a port of its own on loopback, until dropped.
pub struct StaticServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StaticServer {
    /// `pages`: path to content type and body. Any other path is 404.
    pub fn start(pages: HashMap<String, (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up early is its own business.
                let _ = answer(stream, &pages);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept; if it fails the thread has ended already.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(stream: TcpStream, pages: &HashMap<String, (String, Vec<u8>)>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, kind, body) = match pages.get(path) {
        Some((kind, body)) => ("200 OK", kind.as_str(), body.as_slice()),
        None => ("404 Not Found", "text/plain", [].as_slice()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
