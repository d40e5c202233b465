//! Becoming an instance, as far as opening its files goes: the credentials of the process that leads it.
//!
//! A thread that takes them on has no more authority over a file than that process has, and no way back. Uid 0 alone is not harmless:
//! without a user namespace it is the node's root, with all of the agent's capabilities unless they are laid down. So of those only
//! what opening a file asks for is kept, and only if the process has it too. Of a process in another user namespace
//! the capabilities are worth nothing outside of it, and none are kept.

use rustix::io::Errno;
use rustix::process::getuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

/// What lets root read what its mode bits forbid (capabilities(7)).
const TO_READ_FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Who a process is to the file system, in the node's own numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    capabilities: CapabilitySet,
}

impl Credentials {
    /// Out of `/proc/<pid>/status` (proc_pid_status(5)): the fourth number of `Uid` and `Gid`, which is the file system's, `Groups`, and
    /// `CapEff` where the process is in the agent's user namespace. `None` where a line is missing.
    pub(super) fn of(status: &str, own_user_namespace: bool) -> Option<Self> {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let fourth = |key: &str| line(key)?.split_whitespace().nth(3)?.parse::<u32>().ok();
        let groups = line("Groups:")?.split_whitespace().map(|group| group.parse().ok().map(Gid::from_raw));
        let effective = u64::from_str_radix(line("CapEff:")?.trim(), 16).ok()?;
        let worth = if own_user_namespace { effective } else { 0 };
        Some(Self {
            uid: Uid::from_raw(fourth("Uid:")?),
            gid: Gid::from_raw(fourth("Gid:")?),
            groups: groups.collect::<Option<_>>()?,
            capabilities: CapabilitySet::from_bits_retain(worth) & TO_READ_FILES,
        })
    }

    /// Makes them this thread's, for good.
    ///
    /// The *effective* user is who opens, connects and is seen by a peer. The real and the saved one stay the broker's: by those the
    /// kernel decides who may signal a thread and set its limits, which are the whole process's (kill(2), prlimit(2)), and a process of
    /// the instance's user that sees the broker's pid must not.
    pub(super) fn take_on(self) -> Result<(), Errno> {
        let own = getuid();
        set_thread_groups(&self.groups)?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(own, self.uid, own)?;
        let kept = capabilities(None)?.permitted & self.capabilities;
        set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tredis\nUid:\t100\t101\t102\t103\nGid:\t200\t201\t202\t203\nGroups:\t7 1000 \n\
                          CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n";

    #[test]
    fn the_file_systems_numbers_and_what_opening_asks_for() {
        let own = Credentials::of(STATUS, true).unwrap();
        assert_eq!((own.uid.as_raw(), own.gid.as_raw()), (103, 203));
        assert_eq!(own.groups, [Gid::from_raw(7), Gid::from_raw(1000)]);
        // runc's default set has CAP_DAC_OVERRIDE (bit 1) and not CAP_DAC_READ_SEARCH.
        assert_eq!(own.capabilities, CapabilitySet::DAC_OVERRIDE);
        assert!(Credentials::of(STATUS, false).unwrap().capabilities.is_empty());
        assert!(Credentials::of(&STATUS.replace("Groups:", "Gruppen:"), true).is_none());
        assert!(Credentials::of(&STATUS.replace("7 1000", "7 x"), true).is_none());
        assert!(Credentials::of("Uid:\t1\n", true).is_none());
    }

    #[test]
    fn root_keeps_no_more_than_it_is_given() {
        if !getuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let root = |capabilities: &str| {
            let status = format!("Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t5\nCapEff:\t{capabilities}\n");
            let taken = std::thread::spawn(move || {
                Credentials::of(&status, true).unwrap().take_on().unwrap();
                let groups = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                (capabilities_now(), groups.lines().any(|line| line.trim_end() == "Groups:\t5"))
            });
            taken.join().unwrap()
        };
        let before = capabilities_now();
        let none = CapabilitySet::empty();
        assert_eq!(root("0"), ((none, none), true));
        assert_eq!(root("ffffffffffffffff"), ((TO_READ_FILES & before.1, TO_READ_FILES & before.1), true));
        assert_eq!(capabilities_now(), before, "only the disposable thread has changed");
    }

    #[test]
    fn a_process_of_the_instances_user_cannot_signal_or_limit_the_broker() {
        if !getuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        /// Nobody's.
        const USER: u32 = 61_235;
        let status = format!("Uid:\t0\t0\t0\t{USER}\nGid:\t0\t0\t0\t{USER}\nGroups:\t\nCapEff:\t0\n");
        let (say, said) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let opener = std::thread::spawn(move || {
            Credentials::of(&status, true).unwrap().take_on().unwrap();
            say.send((rustix::thread::gettid(), rustix::process::geteuid().as_raw())).unwrap();
            let _ = held.recv();
        });
        let (thread, effective) = said.recv().unwrap();
        assert_eq!(effective, USER);
        let thread = thread.as_raw_nonzero().to_string();
        let works = |command: &[&str]| {
            let mut command = {
                let mut given = std::process::Command::new(command[0]);
                given.args(&command[1..]);
                given
            };
            std::os::unix::process::CommandExt::uid(&mut command, USER);
            command.stderr(std::process::Stdio::null()).status().unwrap().success()
        };
        assert!(works(&["sh", "-c", "kill -0 $$"]), "the tool is there");
        assert!(!works(&["sh", "-c", &format!("kill -0 {thread}")]), "it may be signalled");
        drop(release);
        opener.join().unwrap();
    }

    fn capabilities_now() -> (CapabilitySet, CapabilitySet) {
        let now = capabilities(None).unwrap();
        (now.effective, now.permitted)
    }
}
