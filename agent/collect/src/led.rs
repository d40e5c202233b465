//! What is kept open of the process that leads an instance: its `stat`, and through it the files of the network namespace.
//!
//! Who holds an open network file keeps the whole namespace alive, also when all its processes have ended. So these are
//! closed as soon as the leader is seen to be gone, before another is looked for. Those of the host's namespace are never opened: what
//! they tell is the node's. Of each a bounded part is read, because who configures his own network decides how long they are; what of it was
//! read is exact, and that there is more is a problem that is counted.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};

use crate::cgroup_reader::nanoseconds_since;
use crate::found::Found;
use crate::leader::Leader;
use crate::mounts::Roots;
use crate::reader::Scratch;
use crate::reading::{Interface, LeaderState, Reading};
use crate::source::{Buffer, Fault, FdBudget, Kept, Permit};
use crate::state::{ProblemReason, ReadProblem};
use crate::{netdev, process, starvation, transport};

/// The leader and what is kept open of it.
#[derive(Debug)]
pub(crate) struct Led {
    pub(crate) leader: Leader,
    stat: Option<Kept>,
    /// A handle on its folder of descriptors, whose size is their number. It keeps no more alive than a process id does.
    descriptors: Option<(OwnedFd, Permit)>,
    /// None in the host's network namespace.
    network: Vec<(NetFile, Kept)>,
    /// Some of these could not be opened, for want of descriptors.
    pub(crate) lacks_a_file: bool,
}

/// A file of a network namespace.
#[derive(Clone, Copy, Debug)]
enum NetFile {
    Igmp,
    Dev,
    Snmp,
    Netstat,
    Sockstat,
    Sockstat6,
}

/// Which are up before which there are: one that is deleted meanwhile must not seem to be there and down.
const NET_FILES: [(NetFile, &str); 6] = [
    (NetFile::Igmp, "net/igmp"),
    (NetFile::Dev, "net/dev"),
    (NetFile::Snmp, "net/snmp"),
    (NetFile::Netstat, "net/netstat"),
    (NetFile::Sockstat, "net/sockstat"),
    (NetFile::Sockstat6, "net/sockstat6"),
];

impl Led {
    /// Finds the leader and opens its files. None where there is none, or where it has ended meanwhile: what was opened by number may
    /// then be another process's.
    pub(crate) fn find(found: &Found, roots: &Roots, budget: &FdBudget) -> Option<Self> {
        let leader = found.leader(roots)?;
        let directory = leader.directory(roots);
        starvation::forget();
        let stat = Kept::new_at_once(directory.join("stat"), budget).ok();
        let descriptors = budget.take().and_then(|permit| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some((rustix::fs::open(directory.join("fd"), flags, Mode::empty()).ok()?, permit))
        });
        let own_network = leader.net_namespace.is_some() && !leader.shares_host_network(roots);
        let kept = |(file, name)| {
            let path = directory.join(name);
            let opened = if is_made_at_once(file) { Kept::new_at_once(path, budget) } else { Kept::new(path, budget) };
            Some((file, opened.ok()?))
        };
        let network = if own_network { NET_FILES.into_iter().filter_map(kept).collect() } else { Vec::new() };
        leader.is_alive().then(|| Self { leader, stat, descriptors, network, lacks_a_file: starvation::was_noted() })
    }

    /// Its pid, and a handle on its folder of descriptors.
    pub(crate) fn descriptors(&self) -> Option<(u32, &OwnedFd)> {
        self.descriptors.as_ref().map(|(folder, _)| (self.leader.pid, folder))
    }

    /// Its state; none where it is gone.
    pub(crate) fn state(&self, buffer: &mut Buffer) -> Option<LeaderState> {
        let text = self.stat.as_ref()?.read(buffer).ok()?;
        let stat = process::parse_stat(text)?;
        (stat.start_ticks == self.leader.start_ticks).then_some(LeaderState { pid: stat.pid, state: stat.state })
    }

    /// What its network namespace tells.
    pub(crate) fn read_network(&self, scratch: &mut Scratch, reading: &mut Reading) {
        let mut up = netdev::Up::default();
        for (file, kept) in &self.network {
            let began = Instant::now();
            let mut failed = |reason| {
                let file = NET_FILES[*file as usize].1;
                reading.problems.push(ReadProblem { file, reason });
            };
            let (text, whole) = match kept.read_part(&mut scratch.buffer, netdev::READ_MOST_BYTES) {
                Ok(read) => read,
                Err(Fault::Problem(reason)) => {
                    failed(reason);
                    continue;
                }
                Err(Fault::Gone | Fault::Unsupported) => continue,
            };
            if !whole {
                failed(ProblemReason::TooLong);
            }
            match file {
                NetFile::Igmp => up = netdev::parse_up(text, whole),
                NetFile::Dev => take_interfaces(netdev::parse(text), whole, &up, reading),
                NetFile::Snmp | NetFile::Netstat => {
                    scratch.headers.parse(text, reading.transport.get_or_insert_default());
                }
                NetFile::Sockstat | NetFile::Sockstat6 => {
                    transport::parse_sockets(text, &mut reading.transport.get_or_insert_default().sockets);
                }
            }
            let took = &mut reading.took;
            let part = match file {
                NetFile::Igmp | NetFile::Dev => &mut took.interfaces_ns,
                _ => &mut took.transport_ns,
            };
            *part += nanoseconds_since(began);
        }
    }
}

/// The lists of interfaces and of their groups are made line by line.
fn is_made_at_once(file: NetFile) -> bool {
    matches!(file, NetFile::Snmp | NetFile::Netstat | NetFile::Sockstat | NetFile::Sockstat6)
}

/// What was read of each is exact; how many were not read is not known where the file is longer than what was read of it.
fn take_interfaces(found: netdev::Interfaces, whole: bool, up: &netdev::Up, reading: &mut Reading) {
    let with_up = |mut interface: Interface| {
        interface.up = up.of(&interface.name);
        interface
    };
    reading.network = Some(found.first.into_iter().map(with_up).collect());
    reading.loopback = found.loopback.map(with_up);
    reading.interfaces_left_out = whole.then_some(found.left_out);
}
