//! TCP to a port inside an instance's network namespace.
//!
//! A blocking thread finds out where the instance is; the namespace thread enters and makes sockets or lists listeners, no
//! more; the run itself connects, for a socket belongs to the namespace it was made in, wherever it is used after. Only local addresses are tried:
//! loopback first, because that is where a server that nobody published listens.
//! Where the namespace is the host's, or shared with another owner, a port counts as the instance's only if
//! its listening socket is held by one of the instance's processes, and only the address it listens on is tried.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use sonde_collect::leader::namespace as inode_of_namespace;
use sonde_collect::listeners::{Listener, inodes_of, listeners};
use sonde_collect::{Found, Leader, Roots};
use sonde_host::BrokerError;
use tokio::net::TcpSocket;

use super::InstanceBroker;
use super::local_addresses::local_addresses;
use super::owners::Owners;

/// Processes of an instance whose descriptors are looked through for a listening socket.
const MOST_PROCESSES: usize = 4096;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Where an instance is to be reached.
struct Way {
    namespace: File,
    /// Who leads it there, where nobody else is in the namespace.
    alone: Option<(Leader, PathBuf)>,
}

/// Sockets not yet connected, and where to.
type Prepared = Vec<(IpAddr, OwnedFd)>;

impl InstanceBroker {
    pub(crate) async fn tcp(&self, port: u16, deadline: Instant) -> Result<TcpStream, BrokerError> {
        let reached = tokio::time::timeout_at(deadline.into(), self.reach(port, deadline));
        reached.await.map_err(|_| BrokerError::Timeout)?
    }

    async fn reach(&self, port: u16, deadline: Instant) -> Result<TcpStream, BrokerError> {
        let (found, room, owner) = (self.found.clone(), self.room.clone(), self.owner.clone());
        let way = self.looking(deadline, move || look(&found, &room.roots, &room.owners, &owner)).await??;
        let namespace = Arc::new(way.namespace);
        let Some((leader, directory)) = way.alone else {
            let address = self.own_address(&namespace, port, deadline).await?;
            return self.connect(&namespace, vec![address], port).await;
        };
        match self.connect(&namespace, LOOPBACK.to_vec(), port).await {
            Err(BrokerError::Refused) => {}
            decided => return decided,
        }
        // Only now, for most servers listen on loopback, and these files are long in the making.
        let list = move || {
            let local = local_addresses(&directory);
            leader.is_alive().then_some(local)
        };
        let local = self.looking(deadline, list).await?.ok_or(BrokerError::Gone)?;
        if local.is_empty() {
            return Err(BrokerError::Refused);
        }
        self.connect(&namespace, local, port).await
    }

    /// The address at which one of the instance's own processes listens on the port. First who listens, then whose that is: the
    /// other way round, a server that began in between would pass for somebody else's.
    async fn own_address(&self, namespace: &Arc<File>, port: u16, deadline: Instant) -> Result<IpAddr, BrokerError> {
        let mut on_port = self.inside(namespace, listeners).await?.map_err(other)?;
        on_port.retain(|listener| listener.port == port);
        if on_port.is_empty() {
            return Err(BrokerError::Refused);
        }
        let (found, roots) = (self.found.clone(), self.room.roots.clone());
        let list = move || inodes_of(&roots.proc, &found.pids(&roots, MOST_PROCESSES));
        let own = self.looking(deadline, list).await?;
        choose_own(&on_port, &own).ok_or_else(|| {
            BrokerError::Denied(format!(
                "port {port} is held by a process that is not the instance's, in a network namespace that it shares"
            ))
        })
    }

    /// Connects to the first of the addresses, in the namespace, that does not refuse.
    async fn connect(
        &self,
        namespace: &Arc<File>,
        addresses: Vec<IpAddr>,
        port: u16,
    ) -> Result<TcpStream, BrokerError> {
        let prepared = self.inside(namespace, || sockets(addresses)).await??;
        connect_first(port, prepared).await
    }

    /// Runs `work` in the namespace; it must not block.
    async fn inside<T: Send + 'static>(
        &self,
        namespace: &Arc<File>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        let namespace = namespace.clone();
        self.room.namespace_thread.run(move |visitor| visitor.visit(&namespace, work)).await?.map_err(other)
    }
}

/// Finds out where the instance is. Reads `/proc`, for as long as that takes.
fn look(found: &Arc<Found>, roots: &Roots, owners: &Owners, owner: &str) -> Result<Way, BrokerError> {
    let leader = found.leader(roots).ok_or(BrokerError::Refused)?;
    let directory = leader.directory(roots);
    let namespace = File::open(directory.join("ns/net")).map_err(|_| BrokerError::Gone)?;
    // Of the file that will be entered, not of what the leader was in a moment ago.
    let inode = namespace.metadata().map_err(other)?.ino();
    let among = inode_of_namespace(&roots.proc.join("self"), "net").is_none_or(|host| host == inode)
        || owners.shared(inode, owner);
    if !leader.is_alive() {
        return Err(BrokerError::Gone);
    }
    Ok(Way { namespace, alone: (!among).then_some((leader, directory)) })
}

/// An address where whoever connects can only meet a socket of the instance's own: with `SO_REUSEPORT` another's can
/// listen at the same one.
fn choose_own(on_port: &[Listener], own: &[u64]) -> Option<IpAddr> {
    let (own, foreign): (Vec<&Listener>, Vec<&Listener>) =
        on_port.iter().partition(|listener| own.binary_search(&listener.inode).is_ok());
    own.into_iter().find_map(|listener| {
        // Whoever listens at `::ffff:a.b.c.d` is met at a.b.c.d.
        let address = match listener.address.to_canonical() {
            IpAddr::V4(any) if any.is_unspecified() => LOOPBACK[0],
            IpAddr::V6(any) if any.is_unspecified() => LOOPBACK[1],
            one => one,
        };
        let met = |other: &&Listener| {
            let met = other.address.to_canonical();
            met == listener.address.to_canonical() || met == address
        };
        (!foreign.iter().any(met)).then_some(address)
    })
}

/// In the namespace: a socket for each address.
fn sockets(addresses: Vec<IpAddr>) -> Result<Prepared, BrokerError> {
    let mut prepared = Vec::with_capacity(addresses.len());
    for address in addresses {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP)) {
            Ok(socket) => prepared.push((address, socket)),
            // A kernel or namespace without IPv6 has nothing listening there.
            Err(Errno::AFNOSUPPORT) => {}
            Err(error) => return Err(other(error)),
        }
    }
    Ok(prepared)
}

/// Connects to the first address that does not refuse.
async fn connect_first(port: u16, prepared: Prepared) -> Result<TcpStream, BrokerError> {
    for (address, socket) in prepared {
        let socket = TcpSocket::from_std_stream(TcpStream::from(socket));
        match socket.connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return stream.into_std().map_err(other),
            Err(error) => match connect_error(&error) {
                BrokerError::Refused => {}
                decided => return Err(decided),
            },
        }
    }
    Err(BrokerError::Refused)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_no_other_listens() {
        let listener = |address: &str, inode| Listener { address: address.parse().unwrap(), port: 80, inode };
        let all = [listener("0.0.0.0", 1), listener("::", 2), listener("10.0.0.7", 3), listener("10.0.0.8", 4)];
        assert_eq!(choose_own(&all, &[1]), Some(LOOPBACK[0]));
        assert_eq!(choose_own(&all, &[2, 4]), Some(LOOPBACK[1]));
        assert_eq!(choose_own(&all, &[3]), Some("10.0.0.7".parse().unwrap()));
        assert_eq!(choose_own(&all, &[9]), None);
        // Reused ports: the same address twice, and a loopback that would win over all addresses.
        assert_eq!(choose_own(&[listener("0.0.0.0", 1), listener("0.0.0.0", 2)], &[1]), None);
        assert_eq!(choose_own(&[listener("0.0.0.0", 1), listener("127.0.0.1", 2)], &[1]), None);
        // The same address in the other family's clothes.
        let clothed = listener("::ffff:127.0.0.1", 1);
        assert_eq!(choose_own(&[clothed], &[1]), Some(LOOPBACK[0]));
        assert_eq!(choose_own(&[clothed, listener("127.0.0.1", 2)], &[1]), None);
        assert_eq!(choose_own(&[listener("0.0.0.0", 1), listener("::ffff:127.0.0.1", 2)], &[1]), None);
    }
}
