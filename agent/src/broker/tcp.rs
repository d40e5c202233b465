//! TCP to a port inside an instance's network namespace.
//!
//! The socket is made by a thread that has entered the namespace; a socket belongs to the namespace it was made in, wherever it
//! is used after. Only local addresses are tried: loopback first, because that is where a server that nobody published listens.
//! Where the namespace is the host's, or shared with another owner, a port counts as the instance's only if
//! its listening socket is held by one of the instance's processes, and only the address it listens on is tried.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with};
use sonde_collect::listeners::{inodes_of, listeners};
use sonde_collect::{Found, Roots};
use sonde_host::BrokerError;

use super::InstanceBroker;
use super::local_addresses::local_addresses;
use super::namespaces::Visitor;

/// Processes of an instance whose descriptors are looked through for a listening socket.
const MOST_PROCESSES: usize = 4096;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl InstanceBroker {
    pub(super) async fn tcp(&self, port: u16, deadline: Instant) -> Result<TcpStream, BrokerError> {
        let (found, roots) = (self.found.clone(), self.room.roots.clone());
        let (room, owner) = (self.room.clone(), self.owner.clone());
        let job = move |visitor: &Visitor| open(visitor, &found, &roots, port, |ns| room.owners.shared(ns, &owner));
        let opened = self.room.namespace_thread.run(job).await;
        let socket = opened.ok_or_else(|| BrokerError::Other("the node cannot enter namespaces".into()))??;
        let stream = tokio::net::TcpStream::from_std(TcpStream::from(socket)).map_err(other)?;
        let writable = tokio::time::timeout_at(deadline.into(), stream.writable());
        writable.await.map_err(|_| BrokerError::Timeout)?.map_err(other)?;
        match stream.take_error().map_err(other)? {
            None => stream.into_std().map_err(other),
            Some(error) => Err(connect_error(&error)),
        }
    }
}

fn other(error: impl Into<io::Error>) -> BrokerError {
    BrokerError::Other(error.into().to_string())
}

fn connect_error(error: &io::Error) -> BrokerError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL | Errno::CONNRESET) => {
            BrokerError::Refused
        }
        Some(Errno::TIMEDOUT) => BrokerError::Timeout,
        _ => BrokerError::Other(error.to_string()),
    }
}

/// On the namespace thread: a socket that is connected or connecting.
fn open(
    visitor: &Visitor,
    found: &Arc<Found>,
    roots: &Roots,
    port: u16,
    shared: impl FnOnce(u64) -> bool,
) -> Result<OwnedFd, BrokerError> {
    let leader = found.leader(roots).ok_or(BrokerError::Refused)?;
    let directory = leader.directory(roots);
    let namespace = File::open(directory.join("ns/net")).map_err(|_| BrokerError::Gone)?;
    if !leader.is_alive() {
        return Err(BrokerError::Gone);
    }
    let crowded = leader.shares_host_network(roots) || leader.net_namespace.is_none_or(shared);
    let visited = visitor.visit(&namespace, || {
        if crowded {
            let Some(address) = own_listener(found, roots, port)? else {
                return Err(BrokerError::Refused);
            };
            return connect_first(port, [address]);
        }
        match connect_first(port, LOOPBACK) {
            Err(BrokerError::Refused) => connect_first(port, local_addresses(&directory)),
            decided => decided,
        }
    });
    visited.map_err(other)?
}

/// The address at which one of the instance's own processes listens on the port.
fn own_listener(found: &Found, roots: &Roots, port: u16) -> Result<Option<IpAddr>, BrokerError> {
    let mut on_port = listeners().map_err(other)?;
    on_port.retain(|listener| listener.port == port);
    if on_port.is_empty() {
        return Ok(None);
    }
    let own = inodes_of(&roots.proc, &found.pids(roots, MOST_PROCESSES));
    match on_port.iter().find(|listener| own.contains(&listener.inode)) {
        Some(listener) if listener.address.is_unspecified() => Ok(Some(match listener.address {
            IpAddr::V4(_) => LOOPBACK[0],
            IpAddr::V6(_) => LOOPBACK[1],
        })),
        Some(listener) => Ok(Some(listener.address)),
        None => Err(BrokerError::Denied(format!(
            "port {port} is held by a process that is not the instance's, in a network namespace that it shares"
        ))),
    }
}

/// A non-blocking connect to the first address that does not refuse at once; local addresses answer at once.
fn connect_first(port: u16, addresses: impl IntoIterator<Item = IpAddr>) -> Result<OwnedFd, BrokerError> {
    let mut refusal = BrokerError::Refused;
    for address in addresses {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = match socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)) {
            Ok(socket) => socket,
            // A kernel or namespace without IPv6 has nothing listening there.
            Err(Errno::AFNOSUPPORT) => continue,
            Err(error) => return Err(other(error)),
        };
        match connect(&socket, &SocketAddr::new(address, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => return Ok(socket),
            Err(error) => refusal = connect_error(&error.into()),
        }
        if refusal != BrokerError::Refused {
            return Err(refusal);
        }
    }
    Err(refusal)
}
