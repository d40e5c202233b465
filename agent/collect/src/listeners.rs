//! Who listens on TCP here: a dump of sockets in state LISTEN over netlink (sock_diag(7)), and the
//! processes that hold them.
//!
//! `/proc/net/tcp` is never read: it walks the table of *all* connections of all network namespaces
//! (milliseconds), while the kernel keeps listeners in a small table of their own. The dump is of the network
//! namespace of the calling thread.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::mounts::Roots;
use crate::process::{self, Stat};
use crate::starvation;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address that it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The socket's inode, as in `/proc/<pid>/fd` (`socket:[inode]`).
    pub inode: u64,
}

// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_AND_DUMP: u16 = 0x301;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
/// `struct inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;
const IPPROTO_TCP: u8 = 6;
/// `1 << TCP_LISTEN`.
const STATE_LISTEN: u32 = 1 << 10;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The kernel fills at most this much into one datagram of a dump.
const DATAGRAM_BYTES: usize = 32 * 1024;

/// All TCP sockets that listen in this network namespace, both families.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        dump(&socket, family, &mut found)?;
    }
    Ok(found)
}

fn dump(socket: &OwnedFd, family: u8, found: &mut Vec<Listener>) -> io::Result<()> {
    let request = request(family);
    rustix::net::sendto(socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0u8; DATAGRAM_BYTES];
    loop {
        let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        if parse(&buffer[..length], found)? {
            return Ok(());
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`, in the machine's byte order.
fn request(family: u8) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_AND_DUMP.to_ne_bytes());
    request[HEADER_BYTES] = family;
    request[HEADER_BYTES + 1] = IPPROTO_TCP;
    request[HEADER_BYTES + 4..HEADER_BYTES + 8].copy_from_slice(&STATE_LISTEN.to_ne_bytes());
    request
}

/// Parses one datagram; true at the end of the dump.
fn parse(mut datagram: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    while datagram.len() >= HEADER_BYTES {
        let length = u32_at(datagram, 0) as usize;
        let message = datagram.get(HEADER_BYTES..length).ok_or_else(malformed)?;
        match u16::from_ne_bytes([datagram[4], datagram[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let errno = message.get(..4).map_or(0, |_| u32_at(message, 0).cast_signed());
                return Err(refusal(errno.saturating_neg()));
            }
            SOCK_DIAG_BY_FAMILY if message.len() >= MESSAGE_BYTES => found.extend(listener(message)),
            _ => {}
        }
        // Messages begin at multiples of four.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// What the kernel refuses a dump with. Where nothing answers for TCP, that is no file that is missing: it has the answer in a module, which
/// it loads by itself where it can.
fn refusal(errno: i32) -> io::Error {
    let plain = io::Error::from_raw_os_error(errno);
    match plain.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel cannot say who listens: it has no tcp_diag, and could not load it (modprobe tcp_diag)",
        ),
        _ => plain,
    }
}

/// `struct inet_diag_msg`: family, state, timer, retrans; then the id with ports and addresses in network byte order.
fn listener(message: &[u8]) -> Option<Listener> {
    let address = message.get(8..24)?;
    let address = match message[0] {
        AF_INET => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).ok()?)),
        AF_INET6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
        _ => return None,
    };
    Some(Listener {
        address,
        port: u16::from_be_bytes([message[4], message[5]]),
        inode: u64::from(u32_at(message, MESSAGE_BYTES - 4)),
    })
}

/// Four bytes at `at`, which the caller knows to be there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Whether a process has the socket of this inode open. False where it cannot be looked at.
pub fn pid_holds_inode(proc: &Path, pid: u32, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(entries) = starvation::noted(std::fs::read_dir(proc.join(pid.to_string()).join("fd"))) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()))
}

/// The inodes of all sockets that these processes have open, sorted and without repeats.
pub fn inodes_of(proc: &Path, pids: &[u32]) -> Vec<u64> {
    let mut inodes = Vec::new();
    for pid in pids {
        let Ok(entries) = starvation::noted(std::fs::read_dir(proc.join(pid.to_string()).join("fd"))) else {
            continue;
        };
        inodes.extend(entries.flatten().filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse::<u64>().ok()
        }));
    }
    inodes.sort_unstable();
    inodes.dedup();
    inodes
}

/// Where to look for who listens.
#[derive(Clone, Copy)]
pub(crate) struct Listening<'a> {
    /// All sockets that listen.
    pub(crate) sockets: &'a [Listener],
    /// Whether a process may be found: one of a container may not, however early it bound the port.
    pub(crate) is_free: &'a dyn Fn(u32) -> bool,
}

/// Who was found to listen on which port: looking through every process is dear, so that a look that
/// still holds is not repeated.
#[derive(Debug, Default)]
pub(crate) struct PortOwners(Vec<(u16, u64, Stat)>);

impl PortOwners {
    /// The oldest of the free processes that hold a socket listening on `port`.
    pub(crate) fn find(&mut self, roots: &Roots, port: u16, listening: Listening<'_>) -> Option<Stat> {
        let known = self.0.iter().position(|(known, ..)| *known == port);
        let known = known.map(|at| self.0.swap_remove(at));
        let inodes: Vec<u64> =
            listening.sockets.iter().filter(|listener| listener.port == port).map(|listener| listener.inode).collect();
        if inodes.is_empty() {
            return None;
        }
        if let Some((_, inode, before)) = known
            && inodes.contains(&inode)
            && let Ok(now) = process::stat(&roots.proc, before.pid)
            && now.start_ticks == before.start_ticks
            && process::is_live(now.state)
            && (listening.is_free)(now.pid)
        {
            self.0.push((port, inode, now.clone()));
            return Some(now);
        }
        let pids = process::all_pids(&roots.proc).ok()?;
        let (inode, owner) = pids
            .into_iter()
            .filter_map(|pid| {
                let held = inodes_of(&roots.proc, &[pid]);
                let inode = inodes.iter().find(|inode| held.binary_search(inode).is_ok())?;
                let stat = process::stat(&roots.proc, pid).ok()?;
                (process::is_live(stat.state) && (listening.is_free)(pid)).then_some((*inode, stat))
            })
            .min_by_key(|(_, stat)| (stat.start_ticks, stat.pid))?;
        self.0.push((port, inode, owner.clone()));
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_our_own_listeners_and_no_connections() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let found = listeners().unwrap();
        let mine: Vec<_> = found.iter().filter(|l| l.port == port).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].address, IpAddr::from(Ipv4Addr::LOCALHOST));
        let client_port = client.local_addr().unwrap().port();
        assert!(found.iter().all(|l| l.port != client_port));

        let (proc, pid) = (Path::new("/proc"), std::process::id());
        assert!(pid_holds_inode(proc, pid, mine[0].inode));
        assert!(!pid_holds_inode(proc, pid, u64::MAX));
        assert!(inodes_of(proc, &[pid]).contains(&mine[0].inode));
        assert!(inodes_of(proc, &[u32::MAX]).is_empty());

        let roots = Roots::of_this_machine().unwrap();
        let mut owners = PortOwners::default();
        let all = Listening { sockets: &found, is_free: &|_| true };
        let owner = owners.find(&roots, port, all).unwrap();
        assert_eq!(owner.pid, pid);
        assert_eq!(owners.find(&roots, port, all).map(|stat| stat.pid), Some(pid));
        assert_eq!(owners.find(&roots, port, Listening { is_free: &|_| false, ..all }), None, "also of one it knew");
        assert_eq!(owners.find(&roots, port, Listening { sockets: &[], ..all }), None);
    }

    #[test]
    fn broken_datagrams() {
        let mut found = Vec::new();
        assert!(!parse(&[], &mut found).unwrap());
        assert!(!parse(&[0; 8], &mut found).unwrap());
        assert!(parse(&[0; 16], &mut found).is_err());
        let mut long = [0u8; 20];
        long[..4].copy_from_slice(&99u32.to_ne_bytes());
        assert!(parse(&long, &mut found).is_err());
        let mut error = [0u8; 20];
        error[..4].copy_from_slice(&20u32.to_ne_bytes());
        error[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        error[16..].copy_from_slice(&(-13i32).to_ne_bytes());
        assert_eq!(parse(&error, &mut found).unwrap_err().raw_os_error(), Some(13));
        error[16..].copy_from_slice(&(-2i32).to_ne_bytes());
        assert!(parse(&error, &mut found).unwrap_err().to_string().contains("modprobe tcp_diag"), "no file is missing");
        assert!(found.is_empty());
    }
}
