//! A scraper: HTTP/1.1 over TLS from a namespace of its own, on a connection that it keeps, with the patience that it tells the proxy of.
//!
//! Not a library's client, because what is judged is what came back and when: no retries beyond that of a connection that had been closed under it,
//! as every client does, and no answer later than it is willing to wait is taken for one.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sonde_tests::{Response, read_response};

/// How long a scraper waits: what it tells the proxy, too.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What it is late by that is the machine's fault, which has two cores for all of this.
pub const GRACE: Duration = Duration::from_millis(700);
/// Until a proxy that is there has been connected to.
const CONNECT: Duration = Duration::from_secs(4);

type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// One connection to one proxy, as one account.
pub struct Scraper {
    address: SocketAddr,
    host: String,
    token: String,
    tls: Arc<ClientConfig>,
    open: Option<Stream>,
}

/// The authority that scrapers trust.
pub fn trust(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(ca).expect("it is written") {
        roots.add(authority.expect("it is PEM")).expect("it is an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = versions.expect("ring has both").with_root_certificates(roots).with_no_client_auth();
    Arc::new(tls)
}

impl Scraper {
    /// Asks the proxy at `address` for `host`. It connects when it is used, from the network that its thread is in then.
    pub fn new(tls: &Arc<ClientConfig>, address: SocketAddr, host: &str, token: &str) -> Self {
        Self { address, host: host.to_owned(), token: token.to_owned(), tls: tls.clone(), open: None }
    }

    /// One GET, from the first try to the last byte.
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        let until = Instant::now() + PATIENCE + GRACE;
        if let Some(open) = self.open.take() {
            match self.ask(open, path, until) {
                // It had been closed under us.
                Err(error) if is_closed(&error) => {}
                answer => return answer,
            }
        }
        let fresh = self.connect(until)?;
        self.ask(fresh, path, until)
    }

    fn connect(&self, until: Instant) -> io::Result<Stream> {
        let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
        stream.set_nodelay(true)?;
        wait_until(&stream, until)?;
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
        Ok(BufReader::new(StreamOwned::new(connection, stream)))
    }

    fn ask(&mut self, mut stream: Stream, path: &str, until: Instant) -> io::Result<Response> {
        let began = Instant::now();
        wait_until(&stream.get_ref().sock, until)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nX-Prometheus-Scrape-Timeout-Seconds: {}\r\n\r\n",
            self.host,
            self.token,
            PATIENCE.as_secs()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().flush()?;
        let mut response = read_response(&mut stream)?;
        response.elapsed = began.elapsed();
        if !response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.open = Some(stream);
        }
        Ok(response)
    }
}

/// Each read and write waits until then at most. A body that drips would take longer, and the whole is measured by whoever asks.
fn wait_until(stream: &TcpStream, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof];
    // The end of the connection where an answer would begin.
    kinds.contains(&error.kind()) || error.to_string() == "no status line"
}
