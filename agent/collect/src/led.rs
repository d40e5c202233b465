//! What is kept open of a leader: its `stat`, and its network namespace's files.
//!
//! An open file of `/proc/<pid>/net` keeps that network namespace alive, so this is dropped as soon as the leader is no more. Of
//! each file of the namespace a bounded part is read, because who configures his own network decides how long they are; what
//! of it was read is exact, and that there is more is a problem that is counted.

use crate::leader::Leader;
use crate::mounts::Roots;
use crate::reading::{Interface, LeaderState, Reading};
use crate::source::{Buffer, Fault, FdBudget, Kept};
use crate::state::{ProblemReason, ReadProblem};
use crate::{netdev, process, starvation, transport};

/// The leader and what is kept open of it.
#[derive(Debug)]
pub(crate) struct Led {
    pub(crate) leader: Leader,
    stat: Option<Kept>,
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
    /// Opens what is read at each reading, as far as the budget goes; none if it has ended meanwhile: what was opened by number is the leader's
    /// only if it has not.
    pub(crate) fn open(leader: Leader, roots: &Roots, budget: &FdBudget) -> Option<Self> {
        let directory = leader.directory(roots);
        starvation::forget();
        let stat = Kept::new(directory.join("stat"), budget).ok();
        let own_network = leader.net_namespace.is_some() && !leader.shares_host_network(roots);
        let kept = |(file, name)| Some((file, Kept::new(directory.join(name), budget).ok()?));
        let network = if own_network { NET_FILES.into_iter().filter_map(kept).collect() } else { Vec::new() };
        leader.is_alive().then(|| Self { leader, stat, network, lacks_a_file: starvation::was_noted() })
    }

    /// As it is now.
    pub(crate) fn state(&self, buffer: &mut Buffer) -> Option<LeaderState> {
        let text = self.stat.as_ref()?.read(buffer).ok()?;
        let stat = process::parse_stat(text)?;
        (stat.start_ticks == self.leader.start_ticks).then_some(LeaderState { pid: stat.pid, state: stat.state })
    }

    /// Interfaces, transport and sockets into `reading`.
    pub(crate) fn read_network(&self, buffer: &mut Buffer, reading: &mut Reading) {
        let mut up = netdev::Up::default();
        for (file, kept) in &self.network {
            let mut failed = |reason| {
                let file = NET_FILES[*file as usize].1;
                reading.problems.push(ReadProblem { file, reason });
            };
            let (text, whole) = match kept.read_part(buffer, netdev::READ_MOST_BYTES) {
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
            let sockets = |reading: &mut Reading| {
                transport::parse_sockets(text, &mut reading.transport.get_or_insert_default().sockets);
            };
            match file {
                NetFile::Igmp => up = netdev::parse_up(text, whole),
                NetFile::Dev => take_interfaces(netdev::parse(text), whole, &up, reading),
                NetFile::Snmp | NetFile::Netstat => transport::parse(text, reading.transport.get_or_insert_default()),
                NetFile::Sockstat | NetFile::Sockstat6 => sockets(reading),
            }
        }
    }
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
