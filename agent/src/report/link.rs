//! The connection to one proxy: kept open, made anew when it fails, with TLS both ways.
//!
//! The proxy shows a certificate of the tiers' authority for its host *and* with the role of a proxy: another node has one of that authority too, and would
//! learn who runs what here. A connection ends when the proxy's certificate counts no more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use sonde_inventory::report::{PATH, Report, Taken};
use sonde_listen::tier::{End, Guarded};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::credentials::Credentials;
use crate::serve::is_proxy;

/// How long a connection, and an answer, may take: less than the beats of a lease that may be lost.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer: a refusal for each instance there may be.
const ANSWER_BYTES: usize = 2 << 20;
/// Of an error's text, for the log.
const SAID_CHARS: usize = 300;

/// What became of a report.
pub(super) enum Outcome {
    Taken(Taken),
    /// The proxy wants to hear everything.
    Again,
    /// It is well, and wants to hear it a little later.
    Later,
    Failed(String),
}

pub(super) struct Link {
    proxy: String,
    credentials: Option<Arc<Credentials>>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Link {
    pub(super) fn new(proxy: String, credentials: Option<Arc<Credentials>>) -> Self {
        Self { proxy, credentials, open: None }
    }

    pub(super) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Whether there is a connection, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.is_closed())
    }

    /// Sends a report, on the open connection or a new one.
    pub(super) async fn send(&mut self, report: &Report) -> Outcome {
        match self.try_send(report).await {
            Ok(outcome) => outcome,
            Err(why) => {
                self.open = None;
                Outcome::Failed(why)
            }
        }
    }

    async fn try_send(&mut self, report: &Report) -> Result<Outcome, String> {
        let body = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        let request = Request::post(PATH).header(header::CONTENT_TYPE, "application/json");
        let (status, body) = self.ask(request, body.into(), ANSWER_BYTES, ANSWER_WITHIN).await?;
        match status {
            StatusCode::OK => {
                let taken = serde_json::from_slice(&body);
                Ok(Outcome::Taken(taken.map_err(|error| format!("its answer is not understood: {error}"))?))
            }
            StatusCode::CONFLICT => Ok(Outcome::Again),
            StatusCode::TOO_MANY_REQUESTS => Ok(Outcome::Later),
            status => {
                let said: String = String::from_utf8_lossy(&body).trim().chars().take(SAID_CHARS).collect();
                Err(format!("it answered {status}: {said}"))
            }
        }
    }

    /// Status and body of one GET, on the open connection or a new one.
    pub(super) async fn get(
        &mut self,
        path: &str,
        most_bytes: usize,
        within: Duration,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let answered = self.ask(Request::get(path), Bytes::new(), most_bytes, within).await;
        if answered.is_err() {
            self.open = None;
        }
        answered.map(|(status, body)| (status, body.into()))
    }

    async fn ask(
        &mut self,
        request: http::request::Builder,
        body: Bytes,
        most_bytes: usize,
        within: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let uri: Uri = self.proxy.parse().map_err(|error| format!("its URL is not valid: {error}"))?;
        let authority = uri.authority().ok_or("its URL has no host")?.clone();
        if self.open.as_ref().is_none_or(SendRequest::is_closed) {
            let opening = tokio::time::timeout(CONNECT_WITHIN, self.connect(&uri));
            self.open = Some(opening.await.map_err(|_| format!("no connection within {CONNECT_WITHIN:?}"))??);
        }
        let Some(open) = self.open.as_mut() else { return Err("no connection".to_owned()) };
        let request = request.header(header::HOST, authority.as_str()).body(Full::new(body));
        let request = request.map_err(|error| error.to_string())?;
        let answering = async {
            let response = open.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), most_bytes).collect().await;
            Ok::<_, String>((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let answered = tokio::time::timeout(within, answering).await;
        answered.map_err(|_| format!("no answer within {within:?}"))?
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<Full<Bytes>>, String> {
        let authority = uri.authority().ok_or("its URL has no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().ok_or("its URL has no port")?;
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
        // Small reports are to leave at once.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        if uri.scheme_str() != Some("https") {
            return open(stream).await;
        }
        let credentials = self.credentials.as_ref().ok_or("[report] has no certificate")?;
        let authority = credentials.authority().await?;
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::new(credentials.configuration().await?));
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        if !shown.is_some_and(|certificate| is_proxy(certificate)) {
            return Err("its certificate does not say that it is a proxy (sonde:role:proxy)".to_owned());
        }
        let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let guarded = Guarded::new(stream, shown.as_deref(), End::Server, &authority);
        open(guarded.map_err(|error| crate::chain(&error))?).await
    }
}

async fn open<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // It ends with the sender, or says by closing that it has.
    tokio::spawn(connection);
    Ok(sender)
}
