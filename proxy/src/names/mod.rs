//! Names: the authoritative server for the zone in which every instance has one, leading to the proxies that are alive.
//!
//! Packets are read and written with hickory-proto; the loops around it are ours, because answers come from memory and must cost a stranger nothing
//! (docs/decisions/0014). It answers for its own zone alone, tells nobody which instances there are, gives lists and transfers only to whom
//! the operator or a secret label allows, and never sends more to a made-up source than it would have to.

mod alive;
mod config;
mod counters;
mod labels;
mod lists;
mod message;
mod prefix;
mod rate;
mod serial;
mod tcp;
#[cfg(test)]
mod tests;
mod transfer;
mod udp;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::Name;
use sonde_inventory::Catalogue;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::alive::follow_proxies;
pub use self::config::{NamesConfig, RawNames};
pub use self::counters::Counters;
pub use self::lists::{ListKey, ListKeyError};
pub use self::prefix::{Prefix, PrefixError};
use self::zone::Zone;

/// Why names are not served.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    #[error("{address} cannot be listened on for DNS over {transport}")]
    Listen { address: SocketAddr, transport: &'static str, source: std::io::Error },
}

/// What the zone is, and who may have what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// UDP and TCP each. With several addresses on one machine, each of them: a reply leaves by the address that was asked.
    pub listen: Vec<SocketAddr>,
    /// What all names end in.
    pub apex: Name,
    pub name_servers: Vec<Name>,
    pub hostmaster: Name,
    /// 30 at most.
    pub ttl_seconds: u32,
    /// The port of tenants, in SRV records.
    pub port: u16,
    /// The proxies that are alive.
    pub proxies: watch::Receiver<Arc<[IpAddr]>>,
    /// Who may transfer the zone.
    pub secondaries: Vec<IpAddr>,
    /// Who may have lists by an account's name.
    pub lists_to: Vec<Prefix>,
    /// What the labels of lists are made with; without it there are none.
    pub list_key: Option<ListKey>,
    /// Over UDP, to one prefix.
    pub replies_per_second: u32,
}

/// What all sockets share.
#[derive(Debug)]
struct Shared {
    zone: Zone,
    secondaries: Vec<IpAddr>,
    replies_per_second: u32,
    counters: Arc<Counters>,
}

/// A server that has its sockets, and does not answer yet.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<(UdpSocket, TcpListener)>,
    shared: Arc<Shared>,
}

impl Server {
    /// Takes the sockets. With port 0 the kernel chooses one, the same for both.
    pub async fn bind(settings: &Settings, catalogue: Arc<Catalogue>) -> Result<Self, NamesError> {
        let mut sockets = Vec::new();
        for address in &settings.listen {
            let at = |transport| move |source| NamesError::Listen { address: *address, transport, source };
            let tcp = TcpListener::bind(address).await.map_err(at("TCP"))?;
            let same = tcp.local_addr().map_err(at("TCP"))?;
            sockets.push((UdpSocket::bind(same).await.map_err(at("UDP"))?, tcp));
        }
        let shared = Shared {
            zone: Zone::new(settings, catalogue),
            secondaries: settings.secondaries.clone(),
            replies_per_second: settings.replies_per_second,
            counters: Arc::default(),
        };
        Ok(Self { sockets, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(udp, _)| udp.local_addr().ok()).collect()
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Answers until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut loops = JoinSet::new();
        for (udp, tcp) in self.sockets {
            loops.spawn(udp::serve(udp, Arc::clone(&self.shared)));
            loops.spawn(tcp::serve(tcp, Arc::clone(&self.shared)));
        }
        // Whoever could say stop is gone: nobody wants it any more.
        let _ = stop.wait_for(|stop| *stop).await;
        loops.shutdown().await;
    }
}

/// Takes the sockets and answers until told to stop.
pub async fn serve(
    settings: &Settings,
    catalogue: Arc<Catalogue>,
    stop: watch::Receiver<bool>,
) -> Result<(), NamesError> {
    Server::bind(settings, catalogue).await?.run(stop).await;
    Ok(())
}

/// A zone without sockets, for fuzzing alone.
#[cfg(feature = "fuzzing")]
pub struct Fuzzed(Zone);

#[cfg(feature = "fuzzing")]
impl Fuzzed {
    pub fn new(settings: &Settings, catalogue: Arc<Catalogue>) -> Self {
        Self(Zone::new(settings, catalogue))
    }

    /// Asks with a packet, in each way, and holds the reply to what any reply is.
    pub fn ask(&self, packet: &[u8], source: IpAddr) {
        use self::message::{Reply, Transport, reply};
        for (transport, cut) in [(Transport::Udp, false), (Transport::Udp, true), (Transport::Tcp, false)] {
            match reply(&self.0, packet, source, transport, cut) {
                Reply::Silence => {}
                Reply::Message(bytes, _) => {
                    assert_eq!(bytes[..2], packet[..2], "another id");
                    assert!(hickory_proto::op::Message::from_vec(&bytes).is_ok(), "no message: {bytes:?}");
                    assert!(transport == Transport::Tcp || bytes.len() <= 1232, "{} bytes over UDP", bytes.len());
                }
                Reply::Transfer(question) => {
                    assert_eq!(transport, Transport::Tcp, "a transfer over UDP");
                    let messages = transfer::messages(&self.0, &question, source, &[]);
                    assert!(messages.iter().all(|message| message.answers.is_empty()), "a stranger's transfer");
                }
            }
        }
    }
}
