//! The limits of a run: defaults and hard ceilings.
//!
//! Defaults are design §5.6's, sized for a sensor that asks one server a few questions. A manifest may
//! ask for more, up to the ceilings here, and the operator's policy cuts what it asks for. The
//! ceilings bound what *any* policy can let through by mistake: they are what one run can cost a
//! node without being noticed by its neighbours (a second of CPU, a few MiB).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Kibi and mebi, as the sizes below are written.
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The longest secret of a run: a key or a token, not a file. Who takes it in and who opens it agree on this.
pub const MOST_SECRET_BYTES: usize = 4 * KIB as usize;

/// How much memory a run may have: its linear memories and tables together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Class {
    /// 16 MiB: Rust, C, Zig.
    #[default]
    Small,
    /// 64 MiB: Go, a large relay.
    Medium,
    /// 256 MiB: JavaScript, Python. Only where the policy allows it.
    Large,
}

impl Class {
    /// All there are, the smallest first.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The bound in bytes.
    pub fn memory_bytes(self) -> u64 {
        match self {
            Self::Small => 16 * MIB,
            Self::Medium => 64 * MIB,
            Self::Large => 256 * MIB,
        }
    }

    /// The largest component: a Rust sensor is some 60 KiB, Go's a few MiB, JavaScript's a dozen.
    pub const fn component_bytes(self) -> u64 {
        match self {
            Self::Small => 4 * MIB,
            Self::Medium => 16 * MIB,
            Self::Large => 64 * MIB,
        }
    }

    /// As the manifest spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// What one run may use. `Default` is design §5.6.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// WebAssembly instructions, roughly: wasmtime's fuel.
    pub fuel: u64,
    /// Milliseconds of CPU that a run may take, the node's own work for it included: what fuel does not see, this does.
    pub cpu_ms: u64,
    /// From the start of the run to its end, waiting included.
    pub wall: Duration,
    /// Bytes that one call may carry across the boundary, either way.
    pub boundary_bytes: u64,
    /// Calls of the node by the sensor.
    pub host_calls: u64,
    /// Series returned: each bucket, quantile and state counts as one.
    pub series: u64,
    /// Labels of one series.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name_bytes: u64,
    /// Bytes of a label's value.
    pub label_value_bytes: u64,
    /// Families returned or described.
    pub families: u64,
    /// Bytes of what one run returns, as the node keeps it.
    pub result_bytes: u64,
    /// Series that were not in the result before, in an hour. A first result is free.
    pub new_series_per_hour: u64,
    /// Handles that a run may hold at once: connections, and the resources of its own components.
    pub handles: u64,
    /// Bytes of log lines.
    pub log_bytes: u64,
    /// Log lines.
    pub log_lines: u64,
    /// Streams and HTTP exchanges begun.
    pub sockets: u64,
    /// Bytes kept from run to run.
    pub state_bytes: u64,
    /// Bytes read from the instance's sockets and files.
    pub bytes_in: u64,
    /// Bytes sent to the instance's sockets.
    pub bytes_out: u64,
}

impl Limits {
    /// How many limits are plain numbers: all but `wall`.
    pub const NUMBERS: usize = 18;

    /// Every limit that is a number, by the name that manifests and policies use. The one list: a field of the struct that is
    /// missing here does not compile, so no reader, comparison or printer can forget one. `wall`, a duration, is each caller's own line.
    pub fn fields_mut(&mut self) -> [(&'static str, &mut u64); Self::NUMBERS] {
        let Self {
            fuel,
            cpu_ms,
            wall: _,
            boundary_bytes,
            host_calls,
            series,
            labels,
            label_name_bytes,
            label_value_bytes,
            families,
            result_bytes,
            new_series_per_hour,
            handles,
            log_bytes,
            log_lines,
            sockets,
            state_bytes,
            bytes_in,
            bytes_out,
        } = self;
        [
            ("fuel", fuel),
            ("cpu_ms", cpu_ms),
            ("boundary_bytes", boundary_bytes),
            ("host_calls", host_calls),
            ("series", series),
            ("labels", labels),
            ("label_name_bytes", label_name_bytes),
            ("label_value_bytes", label_value_bytes),
            ("families", families),
            ("result_bytes", result_bytes),
            ("new_series_per_hour", new_series_per_hour),
            ("handles", handles),
            ("log_bytes", log_bytes),
            ("log_lines", log_lines),
            ("sockets", sockets),
            ("state_bytes", state_bytes),
            ("bytes_in", bytes_in),
            ("bytes_out", bytes_out),
        ]
    }

    /// The values of [`Limits::fields_mut`].
    pub fn fields(&self) -> [(&'static str, u64); Self::NUMBERS] {
        self.clone().fields_mut().map(|(name, value)| (name, *value))
    }

    /// About 20 ms of one core.
    pub const DEFAULT_FUEL: u64 = 20_000_000;
    /// Ten times what the fuel takes on a slow core: the second line, not the first.
    pub const DEFAULT_CPU_MS: u64 = 250;
    /// A probe that waits longer measures nothing that a scrape could use.
    pub const DEFAULT_WALL: Duration = Duration::from_secs(2);
    /// 500 series with labels fit four times over.
    pub const DEFAULT_BOUNDARY_BYTES: u64 = 256 * KIB;
    /// Twenty calls a series.
    pub const DEFAULT_HOST_CALLS: u64 = 10_000;
    /// Twice what the usual exporter of one server returns.
    pub const DEFAULT_SERIES: u64 = 500;
    /// More labels than this name a thing badly.
    pub const DEFAULT_LABELS: u64 = 16;
    /// The longest label names in wide use have under 40 bytes.
    pub const DEFAULT_LABEL_NAME_BYTES: u64 = 64;
    /// A path or an image's name fits.
    pub const DEFAULT_LABEL_VALUE_BYTES: u64 = 256;
    /// As many as series: a family without any is of no use.
    pub const DEFAULT_FAMILIES: u64 = 500;
    /// What crosses the boundary is never less than what is kept of it.
    pub const DEFAULT_RESULT_BYTES: u64 = 256 * KIB;
    /// All of them replaced ten times an hour.
    pub const DEFAULT_NEW_SERIES_PER_HOUR: u64 = 5_000;
    /// The sockets, and what a toolchain makes for itself.
    pub const DEFAULT_HANDLES: u64 = 64;
    /// 80 bytes a line, and as many lines as fit.
    pub const DEFAULT_LOG_BYTES: u64 = 8 * KIB;
    /// More than anybody reads of one run.
    pub const DEFAULT_LOG_LINES: u64 = 100;
    /// One server, and three more tries.
    pub const DEFAULT_SOCKETS: u64 = 4;
    /// A few counters and a cursor.
    pub const DEFAULT_STATE_BYTES: u64 = 4 * KIB;
    /// An exposition of some 5,000 lines; the same bound both ways.
    pub const DEFAULT_NETWORK_BYTES: u64 = MIB;

    /// The most that any manifest may ask for.
    pub const CEILING: Self = Self {
        fuel: 2_000_000_000,
        cpu_ms: 10_000,
        wall: Duration::from_secs(10),
        boundary_bytes: 8 * MIB,
        host_calls: 100_000,
        series: 50_000,
        labels: 64,
        label_name_bytes: 256,
        label_value_bytes: 4 * KIB,
        families: 10_000,
        result_bytes: 8 * MIB,
        new_series_per_hour: 1_000_000,
        handles: 1_024,
        log_bytes: 64 * KIB,
        log_lines: 1_000,
        sockets: 32,
        state_bytes: 64 * KIB,
        bytes_in: 16 * MIB,
        bytes_out: 16 * MIB,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: Self::DEFAULT_FUEL,
            cpu_ms: Self::DEFAULT_CPU_MS,
            wall: Self::DEFAULT_WALL,
            boundary_bytes: Self::DEFAULT_BOUNDARY_BYTES,
            host_calls: Self::DEFAULT_HOST_CALLS,
            series: Self::DEFAULT_SERIES,
            labels: Self::DEFAULT_LABELS,
            label_name_bytes: Self::DEFAULT_LABEL_NAME_BYTES,
            label_value_bytes: Self::DEFAULT_LABEL_VALUE_BYTES,
            families: Self::DEFAULT_FAMILIES,
            result_bytes: Self::DEFAULT_RESULT_BYTES,
            new_series_per_hour: Self::DEFAULT_NEW_SERIES_PER_HOUR,
            handles: Self::DEFAULT_HANDLES,
            log_bytes: Self::DEFAULT_LOG_BYTES,
            log_lines: Self::DEFAULT_LOG_LINES,
            sockets: Self::DEFAULT_SOCKETS,
            state_bytes: Self::DEFAULT_STATE_BYTES,
            bytes_in: Self::DEFAULT_NETWORK_BYTES,
            bytes_out: Self::DEFAULT_NETWORK_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_its_own_field() {
        let mut limits = Limits::default();
        for (at, (_, value)) in limits.fields_mut().into_iter().enumerate() {
            *value = at as u64;
        }
        let shown = format!("{limits:?}");
        for (at, (name, value)) in limits.fields().into_iter().enumerate() {
            assert_eq!(value, at as u64);
            assert!(shown.contains(&format!(" {name}: {at}")), "{name} is not field {at} of {shown}");
        }
    }

    #[test]
    fn defaults_are_under_the_ceiling() {
        for ((name, value), (_, most)) in Limits::default().fields().into_iter().zip(Limits::CEILING.fields()) {
            assert!(value <= most, "{name}");
        }
        assert!(Limits::default().wall <= Limits::CEILING.wall);
    }
}
