//! The tenants' side: connections, from the handshake to the last answer.
//!
//! Nothing of a connection is trusted, and everything of it is bounded: how many there are in all and from one address, the handshake (by `tls`), the size
//! and time of a head, the time in which an answer is read, streams and those that are thrown away. Who is let in, and what happens
//! at a stop, is `sonde_listen`'s.

mod answer;
mod assignments;
mod lists;
mod pace;
mod routes;
mod scrape;
mod sending;
mod sensor_logs;
mod sensors;
mod synthesis;
mod tier;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper::body::Incoming;
use hyper_util::server::graceful::Watcher;
use sonde_inventory::Catalogue;
use sonde_listen::{Connections, Entrance, Event, Guest, Http, Http2, Spare};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::about::About;
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::discovery;
use crate::flight::Flights;
use crate::limits::Accounts;
use crate::sensor_health::SensorHealth;
use crate::sensors::Sensors;
use crate::tls::{Peer, PublicTls};
use crate::upstream::Upstream;

pub(crate) use answer::{Answer, sentence, typed};
pub(crate) use pace::{Broken, Paces};
pub(crate) use scrape::{EXPECTED_OWNER, wait};
pub(crate) use synthesis::{STATES, exposition};
pub(crate) use tier::{Desk as TierDesk, serve as serve_tier};

use pace::{Pace, Paced};

/// How long requests in flight are waited for when the proxy stops: the longest ordinary scrape.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
const HTTP: Http = Http {
    // Longer than a Prometheus lets a connection idle. What is slower within is ended by [`pace`].
    head_deadline: Duration::from_secs(330),
    head_bytes: 32 << 10,
    headers: 64,
    http2: Some(Http2 {
        // One connection serves many targets.
        streams: 128,
        // What is sent is taken as fast as it is read, and few routes read a body.
        window_bytes: 64 << 10,
        send_bytes: 64 << 10,
        keep_alive: Duration::from_secs(60),
    }),
};

/// What the routes answer from.
pub struct Door {
    pub catalogue: Arc<Catalogue>,
    pub config: watch::Receiver<Arc<Config>>,
    pub accounts: Arc<Accounts>,
    pub flights: Flights,
    pub upstream: Upstream,
    pub discovery: discovery::Settings,
    pub about: Arc<About>,
    pub log: AccessLog,
    pub(crate) paces: Paces,
    pub(crate) sensor_health: SensorHealth,
    pub(crate) sensors: Sensors,
    pub connections: Arc<Connections>,
    pub spare: Arc<Spare>,
}

impl Door {
    /// Counts what happened at a listener, the tenants' or the nodes'.
    pub(crate) fn happened(&self, event: Event) {
        match event {
            Event::Admitted => {}
            Event::PutOut => self.about.displaced.add(1),
            Event::NoDescriptors => self.about.descriptors_out.add(1),
        }
    }
}

/// Serves until `stop` becomes true, then drains.
pub async fn serve(listener: TcpListener, tls: PublicTls, door: Arc<Door>, stop: watch::Receiver<bool>) {
    let entrance =
        Entrance { listener, connections: door.connections.clone(), spare: door.spare.clone(), drain: DRAIN_DEADLINE };
    let happened = |event| {
        door.about.connections.add(u64::from(event == Event::Admitted));
        door.happened(event);
    };
    let converse = |stream, guest: Guest, leaving| {
        let pace = KeptPace::of(&door, &guest);
        let connection =
            Connection { from: guest.from, guest, peer: None, pace: pace.pace.clone(), door: door.clone() };
        admitted(stream, tls.clone(), connection, pace, leaving)
    };
    entrance.serve(stop, happened, converse).await;
}

/// A connection's pace among all, for as long as the connection lasts, however it ends.
struct KeptPace {
    door: Arc<Door>,
    id: u64,
    pace: Arc<Pace>,
}

impl KeptPace {
    fn of(door: &Arc<Door>, guest: &Guest) -> Self {
        Self { door: door.clone(), id: guest.id, pace: door.paces.add(guest.id) }
    }
}

impl Drop for KeptPace {
    fn drop(&mut self) {
        self.door.paces.remove(self.id);
    }
}

/// One connection's life: until it ends or breaks its pace.
async fn admitted(stream: TcpStream, tls: PublicTls, connection: Connection, kept: KeptPace, leaving: Watcher) {
    tokio::select! {
        () = begin(stream, tls, connection, leaving) => {}
        () = kept.pace.ended() => {}
    }
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(crate) struct Connection {
    guest: Guest,
    pub(crate) from: IpAddr,
    pub(crate) peer: Option<Peer>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) door: Arc<Door>,
}

async fn begin(stream: TcpStream, tls: PublicTls, mut connection: Connection, leaving: Watcher) {
    // On the heap, and gone when it is done: a connection is idle nearly always, and there are thousands.
    let (stream, peer) = match Box::pin(tls.accept(stream)).await {
        Ok(shaken) => shaken,
        Err(error) => {
            tracing::debug!(%error, "a handshake failed");
            return;
        }
    };
    // HTTP/2 only where TLS has agreed on it.
    let is_http2 = peer.is_http2();
    if !is_http2 {
        connection.guest.speaks_http1();
    }
    connection.peer = Some(peer);
    let stream = Paced::new(stream, connection.pace.clone(), !is_http2);
    let answer = move |request: Request<Incoming>| {
        let connection = connection.clone();
        connection.guest.heard();
        // Counted from here, not from when the answer is first polled for.
        let asked = connection.pace.asked();
        let arrived = Instant::now();
        async move { routes::answer(&connection, asked, arrived, request).await }
    };
    Box::pin(HTTP.converse(stream, is_http2, leaving, answer)).await;
}
