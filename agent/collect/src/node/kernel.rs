//! What the kernel says of itself, and of the packets that its CPUs took from the network's devices.
//!
//! `uname` is what dashboards of node_exporter choose a machine by. `softnet_stat` tells of a saturated network what no
//! interface counts: packets that no queue had room for, and work left lying because its time was up.

use crate::bytes;

/// From uname(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uname {
    /// `Linux`.
    pub system: String,
    /// `6.1.0-13-amd64`.
    pub release: String,
    /// When and how the kernel was built.
    pub version: String,
    /// `x86_64`.
    pub machine: String,
    /// The host's name.
    pub node: String,
    /// The NIS domain, `(none)` where there is none.
    pub domain: String,
}

/// The kernel that runs.
pub fn uname() -> Uname {
    let it = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    Uname {
        system: text(it.sysname()),
        release: text(it.release()),
        version: text(it.version()),
        machine: text(it.machine()),
        node: text(it.nodename()),
        domain: text(it.domainname()),
    }
}

/// One CPU's packets, a line of `/proc/net/softnet_stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Softnet {
    /// The CPU's number, as text.
    pub cpu: String,
    /// Packets taken.
    pub processed: u64,
    /// Of those, dropped because the backlog was full.
    pub dropped: u64,
    /// How often work was left when its time or its share of packets was used up.
    pub squeezed: u64,
}

/// The column of the CPU's number, which kernels before 5.10 lack.
const CPU_COLUMN: usize = 12;

/// `/proc/net/softnet_stat`: hexadecimal columns without names. Without the CPU's own column the lines are the CPUs in order.
pub fn softnet(text: &[u8]) -> Vec<Softnet> {
    let parsed = (0u64..).zip(bytes::lines(text)).map(|(at, line)| {
        let mut columns = [None; CPU_COLUMN + 1];
        for (slot, field) in columns.iter_mut().zip(bytes::fields(line)) {
            *slot = hexadecimal(field);
        }
        let column = |at: usize| columns[at].map(u64::from);
        let cpu = column(CPU_COLUMN).unwrap_or(at).to_string();
        Some(Softnet { cpu, processed: column(0)?, dropped: column(1)?, squeezed: column(2)? })
    });
    parsed.flatten().collect()
}

fn hexadecimal(field: &[u8]) -> Option<u32> {
    // A sign, which the library would take, the kernel never writes.
    let digits = std::str::from_utf8(field).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softnet_table() {
        let new = "0000000a 00000001 0000000c 0 0 0 0 0 0 0 0 00000000 00000003 00000000 00000000\n";
        let one = |cpu: &str, processed| Softnet { cpu: cpu.into(), processed, dropped: 1, squeezed: 12 };
        assert_eq!(softnet(format!("{new}{new}").as_bytes()), [one("3", 10), one("3", 10)]);
        assert_eq!(
            softnet(b"0000000a 00000001 0000000c\nffffffff 00000001 0000000c 0\n"),
            [one("0", 10), one("1", 0xffff_ffff)]
        );
        for wrong in ["", "a 1\n", "a 1 c", "g 1 c\n", "a 1 1ffffffff\n", "-1 1 c\n", "+1 1 c\n"] {
            assert_eq!(softnet(wrong.as_bytes()), [], "{wrong}");
        }
    }

    #[test]
    fn this_kernel() {
        let here = uname();
        assert_eq!(here.system, std::fs::read_to_string("/proc/sys/kernel/ostype").unwrap().trim_end());
        assert_eq!(here.release, std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim_end());
    }
}
