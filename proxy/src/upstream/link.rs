//! One node's link: its connections, its places in flight, its circuit, and how they meet in one request.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderValue, Method, Response, Uri, Version};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use sonde_inventory::Node;
use sonde_listen::tier::{End, Guarded};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::circuit::{Circuit, Next};
use super::gathering::gathering;
use super::life::{Life, Listened};
use super::pool::{Line, Pool, STREAMS, Sent};
use super::reply::Replies;
use super::slots::Slots;
use super::target::{Target, TargetError};
use super::{CONNECT_DEADLINE, Fault, NodeTls, Question};

/// While a request is in flight, a silent agent is asked this often whether it is there, and given so long to say so: half of the shortest deadline
/// that scrapers usually have.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// A probe waits longer than a scrape: for a lost packet to be sent again, and for TLS as long as an agent gives a handshake itself. Of an agent that
/// stands still it makes so but one connection in that time.
const PROBE_CONNECT: Duration = Duration::from_secs(5);
const PROBE_HANDSHAKE: Duration = Duration::from_secs(10);
/// A node from which anything came so recently is not away, whatever becomes of a new connection: on a slow link that others share, what was sent to us
/// may wait for seconds behind what was sent to them.
const LIFE: Duration = Duration::from_secs(5);
/// What may be on its way in one body before it is read: an ordinary exposition, whole.
const WINDOW_BYTES: u32 = 256 << 10;
/// Of all bodies on one connection: as much as its streams may have together. With less, some that nobody reads would hold up all the others there.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS * WINDOW_BYTES;
/// Read at once: a record of TLS and its frame. By itself TLS reads a quarter of that, and asks the kernel four times as often.
const READ_BYTES: usize = (16 << 10) + 512;
/// Largest head of an answer.
const HEAD_BYTES: u32 = 32 << 10;

pub(super) struct Link {
    node: Arc<Node>,
    target: Target,
    tls: Option<NodeTls>,
    pub(super) slots: Arc<Slots>,
    circuit: Circuit,
    life: Arc<Life>,
    pub(super) pool: Pool,
    pub(super) replies: Replies,
    /// One connection is made at a time: those who come meanwhile share it, or its failure.
    opening: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn new(node: &Arc<Node>, tls: Option<NodeTls>, per_node: u32) -> Result<Self, TargetError> {
        Ok(Self {
            target: Target::of(node)?,
            node: node.clone(),
            tls,
            slots: Arc::new(Slots::new(per_node)),
            circuit: Circuit::default(),
            life: Arc::default(),
            pool: Pool::default(),
            replies: Replies::default(),
            opening: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn is_to(&self, node: &Node) -> bool {
        self.node.url == node.url && self.node.is_cmon == node.is_cmon
    }

    pub(super) fn connections(&self) -> usize {
        self.pool.count()
    }

    pub(super) fn sweep(&self) {
        self.pool.sweep();
    }

    /// What is known of a node that is not to be asked; asking for it keeps it probed.
    pub(super) fn verdict(self: &Arc<Self>) -> Option<Fault> {
        let verdict = self.circuit.verdict();
        if verdict.is_some() && self.circuit.wanted() {
            self.start_probing();
        }
        verdict
    }

    /// One request, on a connection that is there or a new one. What was closed under us is tried once more: a GET can be.
    pub(super) async fn ask(self: &Arc<Self>, question: &Question) -> Result<(Response<Incoming>, Line), Fault> {
        self.circuit.wanted();
        if let Some(mut line) = self.pool.take() {
            match line.send(self.request(question, &line)?).await {
                Ok(response) => return Ok((response, line)),
                Err(error) => tracing::debug!(node = %self.node.id, %error, "a connection to an agent had ended"),
            }
        }
        // Seldom, and large: apart, so that a scrape's own task is small.
        let mut line = Box::pin(self.open()).await?;
        let asked = Instant::now();
        match line.send(self.request(question, &line)?).await {
            Ok(response) => Ok((response, line)),
            Err(error) => {
                tracing::debug!(node = %self.node.id, %error, "an agent broke off");
                // It was we who gave up, because it did not even say that it is there.
                Err(if asked.elapsed() < ALIVE_EVERY { Fault::Unreachable } else { Fault::Slow })
            }
        }
    }

    fn request(&self, question: &Question, line: &Line) -> Result<Sent, Fault> {
        let mut request = Sent::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.headers_mut() = question.headers.clone();
        // Paths are ours, queries the scraper's: one that is no part of a URL is nobody's.
        if let Line::Shared(_) = line {
            let absolute = format!("https://{}{}", self.target.authority, question.path);
            *request.uri_mut() = Uri::try_from(absolute).map_err(|_| Fault::Unreachable)?;
            *request.version_mut() = Version::HTTP_2;
        } else {
            *request.uri_mut() = Uri::try_from(question.path.as_str()).map_err(|_| Fault::Unreachable)?;
            let host = HeaderValue::from_str(&self.target.authority).map_err(|_| Fault::Unreachable)?;
            request.headers_mut().insert(HOST, host);
        }
        Ok(request)
    }

    /// A connection of one's own or a part of a new one.
    async fn open(self: &Arc<Self>) -> Result<Line, Fault> {
        let _turn = self.opening.lock().await;
        if let Some(fault) = self.circuit.verdict() {
            return Err(fault);
        }
        if let Some(line) = self.pool.take().filter(|line| matches!(line, Line::Shared(_))) {
            return Ok(line);
        }
        match self.connect(CONNECT_DEADLINE, CONNECT_DEADLINE).await {
            Ok(line) => Ok(line),
            Err(failed) => {
                let fault = failed.fault;
                self.cut(&failed);
                Err(fault)
            }
        }
    }

    /// The node is asked no more: said once for each reason, and probed from now on.
    fn cut(self: &Arc<Self>, failed: &Failed) {
        self.pool.clear();
        let (before, begin) = self.circuit.open(failed.fault);
        if begin {
            self.start_probing();
        }
        if before != Some(failed.fault) {
            let (fault, error) = (failed.fault, &failed.error);
            tracing::warn!(node = %self.node.id, url = self.node.url, error, "a node is probed, since {fault}");
        }
    }

    /// A connection within one time, and TLS on it within another. Who takes the first and leaves us waiting for the second is there, and slow.
    async fn connect(&self, within: Duration, tls_within: Duration) -> Result<Line, Failed> {
        let stream = self.reach(within).await?;
        let _ = stream.set_nodelay(true);
        let speaking = tokio::time::timeout(tls_within, self.speak(Listened::new(stream, &self.life))).await;
        let late =
            || Failed { fault: Fault::Slow, error: format!("it takes connections, and no TLS within {tls_within:?}") };
        let away = |error| Failed { fault: Fault::Unreachable, error };
        speaking.map_err(|_| late())?.map_err(away)
    }

    /// The node's kernel says that somebody listens there.
    async fn reach(&self, within: Duration) -> Result<TcpStream, Failed> {
        let reached = TcpStream::connect((self.target.host.as_str(), self.target.port));
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Failed { fault: Fault::Unreachable, error: error.to_string() }),
            // Its packets come late, or only some come; a node that is cut off has been silent for longer.
            Err(_) if self.life.is_within(LIFE) => Err(Failed {
                fault: Fault::Slow,
                error: format!("it is heard, and takes no connection within {within:?}"),
            }),
            Err(_) => Err(Failed { fault: Fault::Unreachable, error: format!("no connection within {within:?}") }),
        }
    }

    async fn speak(&self, stream: Listened<TcpStream>) -> Result<Line, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        if !self.target.is_tls {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| say(&error))?;
            tokio::spawn(connection);
            return Ok(Line::Alone(Some(sender)));
        }
        let tls = self.tls.as_ref().ok_or("there is no certificate for agents: [tier] is missing")?;
        let (tls, authority) = tls(self.node.id)?;
        let connector = TlsConnector::from(tls);
        let name = ServerName::try_from(self.target.host.clone()).map_err(|error| say(&error))?;
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let stream = connector.connect(name, stream).await.map_err(|error| say(&error))?;
        let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let stream = Guarded::new(stream, shown.as_deref(), End::Server, &authority).map_err(|error| say(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| say(&error))?;
            tokio::spawn(connection);
            return Ok(Line::Alone(Some(sender)));
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES)
            .keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(ALIVE_WITHIN);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| say(&error))?;
        tokio::spawn(gathering(connection));
        Ok(self.pool.add_shared(sender))
    }

    /// A scrape had no answer in time: is the agent slow, or the node away? One connection more tells.
    pub(super) fn suspect(self: &Arc<Self>) {
        let link = Arc::downgrade(self);
        tokio::spawn(async move {
            let Some(link) = link.upgrade() else { return };
            // Where one is being opened, that one tells.
            let Ok(_turn) = link.opening.try_lock() else { return };
            if let Err(failed) = link.reach(CONNECT_DEADLINE).await {
                link.cut(&failed);
            }
        });
    }

    fn start_probing(self: &Arc<Self>) {
        tokio::spawn(probe(Arc::downgrade(self)));
    }
}

/// Why there is no connection, for the tenant and for the log.
struct Failed {
    fault: Fault,
    error: String,
}

/// Tries to reach a node until it has, or nobody wants it any more. What a try says of it is what is known from then on.
async fn probe(link: Weak<Link>) {
    let mut took = Duration::ZERO;
    for failures in 0.. {
        let wait = match link.upgrade().map(|link| link.circuit.after(failures, took, Instant::now())) {
            Some(Next::Wait(wait)) => wait,
            Some(Next::Stop) | None => return,
        };
        tokio::time::sleep(wait).await;
        let Some(link) = link.upgrade() else { return };
        let began = Instant::now();
        match link.connect(PROBE_CONNECT, PROBE_HANDSHAKE).await {
            Ok(line) => {
                link.circuit.close();
                tracing::info!(node = %link.node.id, "a node is reached again");
                if let Line::Alone(Some(sender)) = line {
                    link.pool.give_back(sender).await;
                }
                return;
            }
            Err(failed) => link.cut(&failed),
        }
        took = began.elapsed();
    }
}
