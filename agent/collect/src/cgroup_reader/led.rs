//! The leader of a cgroup instance, and what is kept open of it: its state, and the files of its network namespace.
//!
//! An open file of a network namespace keeps that alive, so whoever finds the leader dead drops this before anything else.

use std::time::Instant;

use crate::leader::Leader;
use crate::process;
use crate::reading::{LeaderState, Reading};
use crate::source::{Buffer, Fault, Kept};
use crate::state::ReadProblem;
use crate::{netdev, transport};

use super::nanoseconds_since;

/// The leader and what is kept open of it.
#[derive(Debug)]
pub(super) struct Led {
    pub(super) leader: Leader,
    pub(super) stat: Option<Kept>,
    /// None in the host's network namespace.
    pub(super) network: Vec<(NetFile, Kept)>,
    /// Some of these could not be opened, for want of descriptors.
    pub(super) lacks_a_file: bool,
}

/// A file of a network namespace.
#[derive(Clone, Copy, Debug)]
pub(super) enum NetFile {
    Dev,
    Snmp,
    Netstat,
    Sockstat,
    Sockstat6,
}

pub(super) const NET_FILES: [(NetFile, &str); 5] = [
    (NetFile::Dev, "net/dev"),
    (NetFile::Snmp, "net/snmp"),
    (NetFile::Netstat, "net/netstat"),
    (NetFile::Sockstat, "net/sockstat"),
    (NetFile::Sockstat6, "net/sockstat6"),
];

impl Led {
    pub(super) fn state(&self, buffer: &mut Buffer) -> Option<LeaderState> {
        let text = self.stat.as_ref()?.read(buffer).ok()?;
        let stat = process::parse_stat(text)?;
        (stat.start_ticks == self.leader.start_ticks).then_some(LeaderState { pid: stat.pid, state: stat.state })
    }

    pub(super) fn read_network(&self, buffer: &mut Buffer, reading: &mut Reading) {
        for (file, kept) in &self.network {
            let began = Instant::now();
            let text = match kept.read(buffer) {
                Ok(text) => text,
                Err(Fault::Problem(reason)) => {
                    let file = NET_FILES[*file as usize].1;
                    reading.problems.push(ReadProblem { file, reason });
                    continue;
                }
                Err(Fault::Gone | Fault::Unsupported) => continue,
            };
            if let NetFile::Dev = file {
                reading.took.interfaces_ns += nanoseconds_since(began);
                let (interfaces, left_out) = netdev::parse(text);
                (reading.network, reading.interfaces_left_out) = (Some(interfaces), left_out);
                reading.loopback_transmit_dropped = netdev::loopback_transmit_dropped(text);
                continue;
            }
            let it = reading.transport.get_or_insert_default();
            match file {
                NetFile::Dev => {}
                NetFile::Snmp | NetFile::Netstat => transport::parse(text, it),
                NetFile::Sockstat | NetFile::Sockstat6 => transport::parse_sockets(text, &mut it.sockets),
            }
            reading.took.transport_ns += nanoseconds_since(began);
        }
    }
}
