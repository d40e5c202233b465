//! What is kept open of the process that leads an instance: its `stat`, and through it the files of the network namespace.
//!
//! Who holds an open network file keeps the whole namespace alive, also when all its processes have ended. So these are
//! closed as soon as the leader is seen to be gone, before another is looked for. Those of the host's namespace are never opened: what
//! they tell is the node's.

use std::time::Instant;

use crate::cgroup_reader::nanoseconds_since;
use crate::found::Found;
use crate::leader::Leader;
use crate::mounts::Roots;
use crate::reader::Scratch;
use crate::reading::{LeaderState, Reading};
use crate::source::{Buffer, Fault, FdBudget, Kept};
use crate::state::ReadProblem;
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
    Dev,
    Snmp,
    Netstat,
    Sockstat,
    Sockstat6,
}

const NET_FILES: [(NetFile, &str); 5] = [
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
        let stat = Kept::new(directory.join("stat"), budget).ok();
        let own_network = leader.net_namespace.is_some() && !leader.shares_host_network(roots);
        let kept = |(file, name)| Some((file, Kept::new(directory.join(name), budget).ok()?));
        let network = if own_network { NET_FILES.into_iter().filter_map(kept).collect() } else { Vec::new() };
        leader.is_alive().then(|| Self { leader, stat, network, lacks_a_file: starvation::was_noted() })
    }

    /// Its state; none where it is gone.
    pub(crate) fn state(&self, buffer: &mut Buffer) -> Option<LeaderState> {
        let text = self.stat.as_ref()?.read(buffer).ok()?;
        let stat = process::parse_stat(text)?;
        (stat.start_ticks == self.leader.start_ticks).then_some(LeaderState { pid: stat.pid, state: stat.state })
    }

    /// What its network namespace tells.
    pub(crate) fn read_network(&self, scratch: &mut Scratch, reading: &mut Reading) {
        for (file, kept) in &self.network {
            let began = Instant::now();
            let text = match kept.read(&mut scratch.buffer) {
                Ok(text) => text,
                Err(Fault::Problem(reason)) => {
                    let file = NET_FILES[*file as usize].1;
                    reading.problems.push(ReadProblem { file, reason });
                    continue;
                }
                Err(Fault::Gone | Fault::Unsupported) => continue,
            };
            if let NetFile::Dev = file {
                let (interfaces, left_out) = netdev::parse(text);
                (reading.network, reading.interfaces_left_out) = (Some(interfaces), left_out);
                reading.loopback_transmit_dropped = netdev::loopback_transmit_dropped(text);
                reading.took.interfaces_ns += nanoseconds_since(began);
                continue;
            }
            let it = reading.transport.get_or_insert_default();
            match file {
                NetFile::Dev => {}
                NetFile::Snmp | NetFile::Netstat => scratch.headers.parse(text, it),
                NetFile::Sockstat | NetFile::Sockstat6 => transport::parse_sockets(text, &mut it.sockets),
            }
            reading.took.transport_ns += nanoseconds_since(began);
        }
    }
}
