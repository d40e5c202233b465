//! The agent's own side: what it keeps, and what it can no longer get. In a child, since none of it can
//! be undone.

use std::fs;
use std::process::{Command, Stdio};

use sonde_jail::agent::{AgentError, CapabilitySet, keep_only, no_new_privileges, oom_score_adj};

use crate::Test;

pub const TESTS: &[Test] = &[("the_agent_keeps_what_it_lists", true, the_agent_keeps_what_it_lists)];

/// What a line of `/proc/self/status` says.
fn status(name: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().to_owned()
}

pub fn run() {
    let keep = CapabilitySet::KILL | CapabilitySet::SYS_PTRACE;
    oom_score_adj(100).unwrap();
    assert_eq!(fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim(), "100");
    keep_only(keep).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(u64::from_str_radix(&status(set), 16).unwrap(), keep.bits(), "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(set), 16).unwrap(), 0, "{set}");
    }
    // A second time the bounding set is out of reach, and the others go nevertheless.
    assert!(matches!(keep_only(CapabilitySet::KILL), Err(AgentError::Bounding(_))));
    assert_eq!(u64::from_str_radix(&status("CapEff"), 16).unwrap(), CapabilitySet::KILL.bits());
    no_new_privileges().unwrap();
    assert_eq!(status("NoNewPrivs"), "1");
    assert!(matches!(keep_only(CapabilitySet::SYS_ADMIN), Err(AgentError::Missing { .. })));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(keep_only(CapabilitySet::KILL), Err(AgentError::Threads { threads: 2 }))));
    });
}

fn the_agent_keeps_what_it_lists() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    assert!(command.arg("--agent").stdin(Stdio::null()).status().unwrap().success());
}
